/**
 * Targets, units of work that can check whether they are fresh, and be built; and the graph of the edges between them.
 */
import type { LimitFunction } from 'p-limit'
import type { Failure } from '../failure.ts'
import { type Change, type CheckResult, type Finding, hasOwner, type Reason, type Step } from '../results.ts'

/** What a walk needs of the run that it hands to targets. */
export interface AnyRun {
  /** How much is done at once, by where. */
  readonly limits: Readonly<Record<string, LimitFunction>>
  /** Where a check needs a connection, and in a plan compares with what would be written. */
  readonly remote: string
  /** In a plan: files that would be written, as the walk has found. */
  readonly pending?: ReadonlySet<string>
}

/** rebuild: although fresh; replace: including what is irreplaceable in it; renew: all but that. */
export type Force = 'rebuild' | 'replace' | 'renew'

/** The results of the targets that ended before this one. */
export interface Earlier {
  /** What their checks found, without the targets that were built since. */
  readonly found: ReadonlyMap<string, unknown>
  readonly outcomes: ReadonlyMap<string, Outcome>
}

/** `Run`: what a walk hands to it; without one it is only shown. `Found`: what its check hands on to its build. */
export interface Target<Run extends AnyRun = never, Found = unknown> {
  /** The phase and a name, as in `phase/name`; the phase's own name where it has one target. */
  readonly id: string
  readonly phase: string
  /** What it is made of: it is checked after them, so a rebuilt need can make it stale. */
  readonly needs: readonly string[]
  /** Ordering only: runs after these, and not if one was lost. They never make it stale. */
  readonly after?: readonly string[]
  /**
   * Decides in place of that rule which lost targets of `after` hold this one back, and returns their ids; lost `needs`
   * still cancel it. Called before the check, and again with the check's result.
   */
  waitsFor?(before: Waiting<Found>): readonly string[]
  /** Files that it makes, by their names. */
  readonly makes: readonly string[]
  /** Where its files are: each place has a limit of its own. */
  readonly where: keyof Run['limits'] & string
  /** What it refuses stops the run before anything is built. */
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
export type Row<Of extends Target = Target> = Outcome &
  Partial<CheckResult> & {
    readonly id: string
    readonly phase: string
    readonly target: Of
    readonly reasons: readonly Reason[]
    readonly findings: readonly Finding[]
    readonly change?: Change
    readonly failure?: Failure
  }

/** By id, each after all that it comes after. */
export type Rows<Of extends Target = Target> = ReadonlyMap<string, Row<Of>>

export function rowOf<Of extends Target>(target: Of, outcome: Outcome): Row<Of> {
  const { id, phase } = target
  return { reasons: [], findings: [], ...outcome, id, phase, target }
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

export function nameInPhase({ id, phase }: Pick<Target, 'id' | 'phase'>): string {
  return id.startsWith(`${phase}/`) ? id.slice(phase.length + 1) : id
}

/** Each target after all that it needs or comes after. */
export type Graph<Of extends Target = Target> = ReadonlyMap<string, Of>

/** The targets of each phase that has any, by its title. Throws an Error for a target of no such phase. */
export function byPhase<Of extends Target>(
  phases: readonly { readonly name: string; readonly title: string }[],
  graph: Graph<Of>,
): Map<string, readonly Of[]> {
  const targets = Map.groupBy(graph.values(), ({ phase }) => phase)
  for (const phase of targets.keys())
    if (!phases.some(({ name }) => name === phase)) throw new Error(`there is no phase ${phase} in the table`)
  const all = phases.map(({ name, title }) => [title, targets.get(name) ?? []] as const)
  return new Map(all.filter(([, own]) => own.length > 0))
}

/** Throws an Error (a mistake in the table of targets) for a repeated id or file, an unknown edge or a cycle. */
export function buildGraph<Of extends Target>(targets: readonly Of[]): Graph<Of> {
  const byId = new Map<string, Of>()
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
export function closure<Of extends Target>(graph: Graph<Of>, ids: Iterable<string>): Graph<Of> {
  const roots = [...ids]
  const wanted = new Map<string, Of>()
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
function inOrder<Of extends Target>(targets: Graph<Of>, ids: Iterable<string>): Graph<Of> {
  const ordered = new Map<string, Of>()
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
