/** What is told of a run, whoever tells it: the tree, plain lines and --json read the same events. */

import { Failure } from '../failure.ts'
import { formatReasons, isRepair } from '../reason.ts'
import type { Outcome, RunEvent } from '../targets/executor.ts'
import type { Graph } from '../targets/graph.ts'
import type { Target, TargetId } from '../targets/target.ts'
import { formatDate, formatNames, groupAlike, printable } from '../wording.ts'

export interface Reporter {
  event(event: RunEvent): void
  /** Something to know that is no target's: a wait for a lock, a mode that was tightened. */
  note(text: string): void
  /** Before anything can run: bad usage, a bad cluster.yaml, a refusal. */
  problem(failure: Failure, id?: TargetId): void
  end(summary: Summary): Promise<void>
}

export type Summary = Readonly<ReturnType<typeof summarise>>

/** A phase as it is shown. */
export interface PhaseView {
  readonly name: string
  readonly title: string
  readonly targets: readonly Target[]
}

export function viewPhases(phases: readonly { name: string; title: string }[], graph: Graph): PhaseView[] {
  return phases
    .map(({ name, title }) => ({ name, title, targets: [...graph.values()].filter(({ phase }) => phase === name) }))
    .filter(({ targets }) => targets.length > 0)
}

export function summarise(outcomes: ReadonlyMap<TargetId, Outcome>, seconds: number, exit: number) {
  const count = (kind: Outcome['kind']) => [...outcomes.values()].filter((outcome) => outcome.kind === kind).length
  return {
    targets: outcomes.size,
    made: count('built'),
    fresh: count('fresh'),
    /** A dry run's: what would be made. */
    stale: count('stale'),
    failed: count('failed'),
    cancelled: count('cancelled'),
    seconds,
    exit,
    outcomes,
  }
}

/** "36 targets: 30 made, 6 fresh, 0 failed in 1.9 s" */
export function formatSummary({ targets, made, fresh, stale, failed, cancelled, seconds }: Summary): string {
  const counts = [
    stale > 0 ? `${stale} to make` : `${made} made`,
    `${fresh} fresh`,
    `${failed} failed`,
    ...(cancelled > 0 ? [`${cancelled} not reached`] : []),
  ]
  return `${targets} ${targets === 1 ? 'target' : 'targets'}: ${counts.join(', ')} in ${seconds.toFixed(1)} s`
}

/** What it did, or why it did nothing: "fresh until 2036-11-21", "made: SAN added: 192.168.1.22". */
export function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'fresh':
      return outcome.note ?? (outcome.until ? `fresh until ${formatDate(outcome.until)}` : 'fresh')
    case 'built':
      return `${isRepair(outcome.reasons) ? 'repaired' : 'made'}: ${formatReasons(outcome.reasons)}`
    case 'stale':
      return `to ${isRepair(outcome.reasons) ? 'repair' : 'make'}: ${formatReasons(outcome.reasons)}`
    case 'failed':
      return outcome.failure.message
    case 'cancelled':
      return outcome.because.length === 0 ? 'not reached' : `not reached: ${formatNames(outcome.because)} failed`
    default:
      return outcome satisfies never
  }
}

/** The message, behind the target where it is one's, and below it what to do now. */
export function formatFailure({ message, remedy }: Failure, id?: TargetId): string {
  const lines = remedy?.split('\n').map((line) => `\n    ${line}`) ?? []
  return printable(`${id === undefined ? '' : `${id}: `}${message}${lines.join('')}`)
}

/** All failures at the end of a run: those of several nodes by their cause, with one remedy. */
export function formatFailures(outcomes: ReadonlyMap<TargetId, Outcome>): string[] {
  const failures = [...outcomes].flatMap(([id, outcome]) =>
    outcome.kind === 'failed' ? [{ id, failure: outcome.failure }] : [],
  )
  return groupAlike(failures, ({ id, failure }) => failure.shared?.what ?? id).flatMap((group) => {
    const shared = group.flatMap(({ failure }) => failure.shared ?? [])
    const [first] = shared
    if (!first || shared.length === 1) return group.map(({ id, failure }) => formatFailure(failure, id))
    const places = new Map(shared.map(({ place }) => [`${place.host} ${place.port}`, place]))
    const remedy = first.remedyFor([...places.values()])
    const message = `${shared.length} nodes, ${first.what}: ${shared.map(({ who }) => who).join(', ')}`
    return [formatFailure(new Failure(message, { remedy }))]
  })
}

/** What their user should know of the targets in any case, each with its target's id. */
export function warningsOf(outcomes: ReadonlyMap<TargetId, Outcome>): string[] {
  return [...outcomes].flatMap(([id, outcome]) =>
    'warning' in outcome && outcome.warning ? [`${id}: ${outcome.warning}`] : [],
  )
}
