/**
 * Targets, units of work that can check whether they are fresh, and be built; and the graph of the edges between them.
 */
import type { LimitFunction } from 'p-limit'
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import { Failure, runAgain } from '../failure.ts'
import type { AuthDir } from '../files/auth-dir.ts'
import type { Node } from '../node/node.ts'
import { type Change, type CheckResult, type Finding, hasOwner, isRepair, type Reason, type Step } from '../results.ts'

export interface Run {
  readonly cluster: Cluster
  readonly auth: AuthDir
  /** One moment for the whole run. */
  readonly now: Date
  /** This machine's. */
  clock(): Date
  readonly waits: {
    /** Seconds that a process which was started meanwhile has to be healthy, at least. */
    readonly healthy: number
    /** Seconds after which a component that polls a file has read it. */
    readonly polled: number
    /** Seconds in which a client makes a request at least once. */
    readonly counted: number
  }
  /** The user's kubeconfig, or kubectl's list of them, in kubectl's order. */
  readonly kubeconfigs: () => readonly string[]
  /** Where kubectl looks by default, whatever cluster.yaml says: entries of ours may be left there. */
  readonly usualKubeconfigs: () => readonly string[]
  /** The node, by the one connection that its first command opens. */
  connect(node: ClusterNode): Promise<Node>
  /**
   * How much is done at once. Several nodes are queried through `limits.node`, but not by a node's own target: it holds
   * a slot already.
   */
  readonly limits: Readonly<Record<Target['where'], LimitFunction>>
  /** Closes it, where it was opened and not all nodes may be connected at once. Never throws. */
  disconnect(node: ClusterNode): Promise<void>
  /** A command for the user to type, for the cluster.yaml in use: `ca --force`. */
  command(task: string): string
  /** Reports something that belongs to no target. */
  note(text: string): void
  /** By `status` and `report`, which also ask what no target is made of. */
  readonly isObserved?: true
  /** In a plan: files of auth/ that would be written, so that every copy of them counts as different. */
  readonly pending?: ReadonlySet<string>
  /**
   * Throws a Failure if this machine's clock, by which certificates are dated, is not that of the nodes which the run
   * deploys to. They are asked once, and only if something is made.
   */
  readonly checkClocks?: () => Promise<void>
  /**
   * Why nodes were not reached by what looks at all of them first, by name: their own targets need not wait for that
   * again.
   */
  readonly unreached?: Map<string, Failure>
  /** What drives this run in stages, as it is typed: what that replaces need not match cluster.yaml yet. */
  readonly stagedBy?: string
  readonly options: {
    readonly replaceIdentity: boolean
    readonly prune: boolean
    /** Phases and targets, as they were typed. */
    readonly names: readonly string[]
  }
}

/** Whether less than certificates.renewBefore is left until then. */
export function endsSoon({ now, cluster }: Pick<Run, 'now' | 'cluster'>, end: Date): boolean {
  return end.getTime() - now.getTime() <= cluster.certificates.renewBefore
}

/**
 * rebuild: although fresh; replace: including what is irreplaceable in it; renew (the CA only): same key, new
 * certificate.
 */
export type Force = 'rebuild' | 'replace' | 'renew'

/** The results of the targets that ended before this one. */
export interface Earlier {
  /** What their checks found, without the targets that were built since. */
  readonly found: ReadonlyMap<string, unknown>
  readonly outcomes: ReadonlyMap<string, Outcome>
}

export interface Target<Found = unknown> {
  /** `node-certs/worker0`; the phase's own name where it has one target. */
  readonly id: string
  readonly phase: string
  /** The node that it belongs to, if it belongs to one. */
  readonly node?: string | undefined
  /** What it is made of: it is checked after them, so a rebuilt need can make it stale. */
  readonly needs: readonly string[]
  /** Ordering only: runs after these, and not if one was lost. They never make it stale. */
  readonly after?: readonly string[]
  /**
   * Replaces that rule: returns the ids that hold it back. Called before its check, and again with the check's result.
   */
  waitsFor?(before: Waiting<Found>): readonly string[]
  /** Only in a walk over all targets, on whose outcomes it relies. */
  readonly isOfWhole?: true
  /** Files that it makes, by their names in auth/. */
  readonly makes: readonly string[]
  /** The values that it is to have, by which plans are compared: without a time or a path of this machine. */
  readonly wanted?: object
  /** Its purpose in a few letters: a column of a table. */
  readonly purpose?: string
  /** Of a node: by `install`, in this run or the next, units get what is copied. */
  readonly isTakenOn?: boolean
  /** Where its files are: on this machine in auth/, on a node, or the user's own. Each has a limit of its own. */
  readonly where: 'auth' | 'node' | 'kubeconfig'
  /** Losing it, or the key in it, breaks a running cluster: it refuses to be replaced before anything is built. */
  readonly irreplaceable?: 'whole' | 'key' | undefined
  /** What it refuses stops the run before anything is built, as for what is irreplaceable. */
  readonly stopsRun?: boolean
  /** Reads only. Throws a Failure where what is there may not be replaced, or can't be looked at. */
  check(run: Run, force?: Force, before?: Earlier): CheckResult<Found> | Promise<CheckResult<Found>>
  /** Throws a refusal where it may not be replaced now: what will be replaced is not checked. */
  refuseReplacing?(run: Run): void
  /** Makes it; absent for targets that are only checked. What it finds takes the place of what the check has found. */
  build?(
    run: Run,
    work: Work<Found>,
  ): Promise<{ readonly change?: Change | undefined; readonly findings?: readonly Finding[] } | undefined>
  /** What a build would change, for a dry run. Reads only. */
  foresee?(run: Run, work: Work<Found>): Change | undefined | Promise<Change | undefined>
  /** After check and build, however they ended: closes what they opened and no later target uses. Never throws. */
  release?(run: Run): Promise<void>
}

/** By which a target decides what holds it back. */
export interface Waiting<Found = unknown> extends Pick<Earlier, 'outcomes'> {
  /** Whether its build failed, or one that it waited for: the next ones may fail like it. */
  readonly hasStopped: (id: string) => boolean
  /** Undefined before its check. */
  readonly reasons?: readonly Reason[]
  readonly found?: Found | undefined
}

/** What a build is given, and what foresees it. */
export interface Work<Found = unknown> {
  /** From the check just before; where force is `replace`, there was none. */
  readonly found: Found
  readonly reasons: readonly Reason[]
  readonly force: Force | undefined
  readonly signal: AbortSignal
  /** Reports what it is doing now. */
  readonly tell: (step: Step) => void
}

/** The result of a target; in a dry run `stale` means that it would be built. */
export type Outcome =
  | ({ readonly kind: 'fresh' } & CheckResult)
  | ({ readonly kind: 'built'; readonly change?: Change } & CheckResult)
  | ({ readonly kind: 'stale'; readonly change?: Change } & CheckResult)
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** A target that it needs or comes after failed, or the run was interrupted. */
  | {
      readonly kind: 'cancelled'
      readonly because: readonly string[]
      /** Its build had begun: the next run checks how far it came. */
      readonly isBegun?: true
    }

/** A target and its outcome, whose kind is the state: every view prints rows, or a fold of them. */
export type Row = Outcome &
  Partial<CheckResult> & {
    readonly id: string
    readonly phase: string
    /** The name of the node that it belongs to. */
    readonly node: string
    readonly target: Target
    readonly reasons: readonly Reason[]
    readonly findings: readonly Finding[]
    readonly change?: Change
    readonly failure?: Failure
  }

/** By id, each after all that it comes after. */
export type Rows = ReadonlyMap<string, Row>

export function rowOf(target: Target, outcome: Outcome): Row {
  const { id, phase, node = '' } = target
  return { reasons: [], findings: [], ...outcome, id, phase, node, target }
}

/** It failed, or was not reached. */
export function isLost(outcome: Outcome | undefined): boolean {
  return outcome?.kind === 'failed' || outcome?.kind === 'cancelled'
}

/** It is as wanted, or in a dry run would be made so. */
export function isDone(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && !isLost(outcome)
}

export function textsOf(row: Pick<Row, 'findings'> | undefined, kind: Finding['kind']): string[] {
  return row?.findings.flatMap((each) => (each.kind === kind ? each.text : [])) ?? []
}

/** Its user has to change something first. */
export function isLeftToUser(outcome: Outcome | undefined): boolean {
  return outcome !== undefined && 'findings' in outcome && hasOwner(outcome.findings, 'user')
}

export type Event =
  | { readonly type: 'started'; readonly id: string }
  /** It is to be built, and waits for a slot. */
  | { readonly type: 'queued'; readonly id: string }
  | { readonly type: 'building'; readonly id: string; readonly reasons: readonly Reason[] }
  | {
      readonly type: 'step'
      readonly id: string
      /** What its build is doing now. */
      readonly step: Step
    }
  | { readonly type: 'ended'; readonly id: string; readonly row: Row }

/** A step of the guide. */
export interface Phase {
  readonly name: string
  readonly title: string
  /** In a few words, for --list. */
  readonly makes: string
  /** The module that has its targets; none if cluster.yaml does not use the phase. */
  targets(cluster: Cluster): Promise<PhaseFile> | false | undefined
}

export interface PhaseFile {
  /** `earlier`: the targets of the phases before it. */
  targets(cluster: Cluster, of: { readonly phase: string; readonly earlier: readonly Target[] }): Target[]
}

export function nameInPhase({ id, phase }: Target): string {
  return id.startsWith(`${phase}/`) ? id.slice(phase.length + 1) : id
}

/** Each target after all that it needs or comes after. */
export type Graph = ReadonlyMap<string, Target>

/** The targets of all phases. */
export async function clusterGraph(phases: readonly Phase[], cluster: Cluster): Promise<Graph> {
  const files = await Promise.all(phases.map((phase) => phase.targets(cluster)))
  const all: Target[] = []
  for (const [i, { name }] of phases.entries()) {
    const file = files[i]
    if (file) all.push(...file.targets(cluster, { phase: name, earlier: all }))
  }
  return buildGraph(all)
}

/** The targets of each phase that has any, by its title. Throws an Error for a target of no such phase. */
export function byPhase(
  phases: readonly Pick<Phase, 'name' | 'title'>[],
  graph: Graph,
): Map<string, readonly Target[]> {
  const targets = Map.groupBy(graph.values(), ({ phase }) => phase)
  for (const phase of targets.keys())
    if (!phases.some(({ name }) => name === phase)) throw new Error(`there is no phase ${phase} in the table`)
  const all = phases.map(({ name, title }) => [title, targets.get(name) ?? []] as const)
  return new Map(all.filter(([, own]) => own.length > 0))
}

/** Throws an Error (a mistake in the table of targets) for a repeated id or file, an unknown edge or a cycle. */
export function buildGraph(targets: readonly Target[]): Graph {
  const byId = new Map<string, Target>()
  const makers = new Map<string, string>()
  for (const target of targets) {
    const { id, makes } = target
    if (byId.has(id)) throw new Error(`two targets are called ${id}`)
    byId.set(id, target)
    for (const file of makes) {
      if (makers.has(file)) throw new Error(`${makers.get(file)} and ${id} both make ${file}`)
      makers.set(file, id)
    }
  }
  for (const { id, needs, after = [] } of targets)
    for (const edge of [...needs, ...after])
      if (!byId.has(edge)) throw new Error(`${id} needs or comes after ${edge}, which does not exist`)
  return inOrder(byId, byId.keys())
}

/** The targets and all that they need, in an order that all edges between them allow, else in the one given. */
export function closure(graph: Graph, ids: Iterable<string>): Graph {
  const roots = [...ids]
  const wanted = new Map<string, Target>()
  const reach = (id: string): void => {
    const target = graph.get(id)
    if (!target) throw new Error(`${id} does not exist`)
    if (wanted.has(id)) return
    wanted.set(id, target)
    target.needs.forEach(reach)
  }
  roots.forEach(reach)
  return inOrder(wanted, roots)
}

/** Depth first along needs and after; edges to other targets are ignored. */
function inOrder(targets: Graph, ids: Iterable<string>): Graph {
  const ordered = new Map<string, Target>()
  const visiting: string[] = []
  const visit = (id: string): void => {
    const target = targets.get(id)
    if (!target || ordered.has(id)) return
    if (visiting.includes(id)) throw new Error(`targets need each other: ${[...visiting, id].join(' > ')}`)
    visiting.push(id)
    for (const edge of edgesOf(target)) visit(edge)
    visiting.pop()
    ordered.set(id, target)
  }
  for (const id of ids) visit(id)
  return ordered
}

/** The targets that must end before it begins. */
export function edgesOf({ needs, after = [] }: Target): readonly string[] {
  return after.length === 0 ? needs : [...needs, ...after]
}

/**
 * Wraps a target: refuses a folder in the place of a file, repairs modes, and skips the build if only modes were wrong.
 */
export function authTarget<Found>(target: Target<Found>): Target<Found> {
  return {
    ...target,
    check: async (run, force, before) => {
      const look = await target.check(run, force, before)
      refuseFolders(target, run)
      return look
    },
    build: async (run, work) => {
      refuseFolders(target, run)
      for (const reason of work.reasons) if (reason.kind === 'wrong-mode') run.auth.setMode(reason.path, reason.wanted)
      if (isRepair(work.reasons)) return undefined
      await run.checkClocks?.()
      const built = await target.build?.(run, work)
      return built?.change ? { ...built, change: asReplaced(built.change, work) } : built
    },
    ...(target.foresee && {
      foresee: async (run, work) => {
        await run.checkClocks?.()
        return asReplaced(await target.foresee?.(run, work), work)
      },
    }),
  }
}

/** The change that writing one file is. */
export function changeOfFile({ auth }: Pick<Run, 'auth'>, file: string): Change {
  return { kind: 'made', files: [file], isNew: auth.read(file) === undefined }
}

function asReplaced(change: Change | undefined, { force }: Pick<Work, 'force'>): Change | undefined {
  const isReplaced = change?.kind === 'made' && !change.isNew && force === 'replace'
  return isReplaced ? { ...change, isReplaced } : change
}

/** A rename replaces anything but a folder, which may be the user's. */
function refuseFolders({ makes }: Pick<Target, 'makes'>, { auth }: Run): void {
  const folder = makes.find((name) => auth.read(name)?.kind === 'folder')
  if (folder !== undefined)
    throw new Failure(`${auth.path}/${folder} is a directory, not a file`, {
      remedy: `move it aside, then ${runAgain}`,
    })
}
