/** Targets, units of work that can be checked and built, and the graph of the edges between them. */
import type { LimitFunction } from 'p-limit'
import type { Failure } from '../failure.ts'
import type { Check, Diff } from '../results.ts'

export interface AnyRun {
  readonly limits: Readonly<Record<string, LimitFunction>>
  /** What a plan builds as well: in memory, so that the checks after it see what there would be. */
  readonly builtInPlan: string
}

/** rebuild: although fresh; replace: including what is irreplaceable in it; renew: all but that. */
export type Force = 'rebuild' | 'replace' | 'renew'

export interface Earlier {
  /** Those of the checks that ended, without the targets that were built since. */
  readonly findings: ReadonlyMap<string, unknown>
  readonly rows: Rows
  /** Begins another target, unless that has begun, and resolves when it has ended; undefined if it is not in the walk. */
  whenEnded(id: string): Promise<Row> | undefined
}

/** Thrown by a check or a build: the target is left out because these were lost. */
export class Skipped extends Error {
  readonly because: readonly string[]

  constructor(because: readonly string[]) {
    super(`skipped because of ${because.join(', ')}`)
    this.because = because
  }
}

/** `Run`: what a walk hands to it; without one it is only shown. `Findings`: what its check hands on to its build. */
export interface Target<Run extends AnyRun = never, Findings = unknown> {
  /** As it is typed: `<phase>/<name>`, or the phase's own name where it has one target. */
  readonly id: string
  readonly phase: string
  readonly node?: string | undefined
  /** Of earlier phases or its own: it is checked after them, and not if one was lost. They make nothing stale. */
  readonly needs: readonly string[]
  readonly makes: readonly string[]
  /** Where its files are: each place has a limit of its own. */
  readonly where: keyof Run['limits'] & string
  /** Reads only. A refusal that it throws stops the run, and its plan, before the first phase. */
  refuse?(run: Run, force?: Force): void | Promise<void>
  /** Reads only. Throws a Failure where what is there may not be replaced, or can't be looked at. */
  check(run: Run, force?: Force, earlier?: Earlier): Check<Findings> | Promise<Check<Findings>>
  /** Resolves when it is its turn: true if it is to be checked again. Throws Skipped where no turn comes. */
  waitForTurn?(waiting: Waiting): Promise<boolean>
  /** Makes it; absent for targets that are only checked. What it returns takes the place of what the check has found. */
  build?(run: Run, work: BuildContext<Findings>): Promise<Built | undefined>
  /** After check and build, however they ended: closes what they opened and no later target uses. Never throws. */
  release?(run: Run): Promise<void>
}

export type Built = Partial<Pick<Check, 'diffs' | 'note' | 'todo' | 'warn'>>

export interface Waiting extends Pick<BuildContext, 'diffs' | 'force' | 'earlier'> {
  readonly wait: () => void
}

export interface BuildContext<Findings = unknown> {
  /** From the check just before; where force is `replace`, there was none. */
  readonly findings: Findings
  readonly diffs: readonly Diff[]
  readonly force: Force | undefined
  readonly earlier: Earlier
  readonly signal: AbortSignal
  readonly tell: (step: string) => void
}

/** A target and what became of it: every view prints rows, or a fold of them. */
export interface Row<Of extends Target = Target> extends Check, Ended {
  readonly id: string
  readonly target: Of
}

interface Ended {
  /** `stale`: a plan would build it, or nothing can. `skipped`: a target that it needs was lost, or the run was interrupted. */
  readonly state: 'fresh' | 'built' | 'stale' | 'failed' | 'skipped'
  readonly failure?: Failure
  readonly because?: readonly string[]
  /** Its build had begun when it failed or was interrupted. */
  readonly isBegun?: true
}

export type Outcome = Ended & Partial<Check>

/** By id, each after all that it needs. */
export type Rows<Of extends Target = Target> = ReadonlyMap<string, Row<Of>>

export function isFailedOrSkipped(row: Pick<Row, 'state'> | undefined): boolean {
  return row?.state === 'failed' || row?.state === 'skipped'
}

/** It is as desired, or in a dry run would be made so. */
export function isDone(row: Row | undefined): boolean {
  return row !== undefined && !isFailedOrSkipped(row)
}

export type Event =
  | { readonly type: 'started'; readonly id: string }
  | { readonly type: 'queued'; readonly id: string }
  | { readonly type: 'building'; readonly id: string; readonly diffs: readonly Diff[] }
  | {
      readonly type: 'step'
      readonly id: string
      readonly step: string
    }
  | { readonly type: 'ended'; readonly id: string; readonly row: Row }

export function nameInPhase({ id, phase }: Pick<Target, 'id' | 'phase'>): string {
  return id.startsWith(`${phase}/`) ? id.slice(phase.length + 1) : id
}

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
  for (const { id, needs } of targets)
    for (const need of needs) if (!byId.has(need)) throw new Error(`${id} needs ${need}, which does not exist`)
  return inOrder(byId, byId.keys())
}

/** The targets and all that they need, in an order that their needs allow, else in the one given. */
export function closure<Of extends Target>(graph: Graph<Of>, ids: readonly string[]): Graph<Of> {
  for (const id of ids) if (!graph.has(id)) throw new Error(`${id} does not exist`)
  return inOrder(graph, ids)
}

/** Depth first along needs; those outside the graph are ignored. */
function inOrder<Of extends Target>(targets: Graph<Of>, ids: Iterable<string>): Graph<Of> {
  const ordered = new Map<string, Of>()
  const visiting: string[] = []
  const visit = (id: string): void => {
    const target = targets.get(id)
    if (!target || ordered.has(id)) return
    if (visiting.includes(id)) throw new Error(`targets need each other: ${[...visiting, id].join(' > ')}`)
    visiting.push(id)
    for (const need of target.needs) visit(need)
    visiting.pop()
    ordered.set(id, target)
  }
  for (const id of ids) visit(id)
  return ordered
}
