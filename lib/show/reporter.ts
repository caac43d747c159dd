/** What every view of a run has in common: the tree, plain lines and --json read the same events. */

import { type Failure, stackOf } from '../failure.ts'
import type { Event, Outcome } from '../graph/target.ts'
import { groupAlike, printable } from '../wording.ts'
import { ofKind } from './outcome.ts'
import type { Summary } from './summary.ts'

export interface Reporter {
  event(event: Event): void
  /** Information that belongs to no target: a wait for a lock, a mode that was tightened. */
  note(text: string): void
  /** Before anything can run: bad usage, a bad cluster.yaml, a refusal. */
  problem(failure: Failure, id?: string): void
  end(summary: Summary): Promise<void>
}

/** The message, prefixed with the target's id if there is one, and the remedy below it. */
export function formatFailure({ message, remedy }: Failure, id?: string): string {
  const lines = remedy?.split('\n').map((line) => `\n    ${line}`) ?? []
  return printable(`${id === undefined ? '' : `${id}: `}${message}${lines.join('')}`)
}

/** With --verbose, a bug's stack trace is added. */
export function formatProblem(failure: Failure, isVerbose: boolean, id?: string): string {
  const stack = isVerbose ? stackOf(failure) : undefined
  return [formatFailure(failure, id), ...(stack === undefined ? [] : [printable(stack)])].join('\n')
}

/** All failures at the end of a run, each with its target's id, unless several have one cause. */
export function formatFailures(outcomes: ReadonlyMap<string, Outcome>): string[] {
  const failures = ofKind(outcomes, 'failed').map(([id, { failure }]): [string, Failure] => [id, failure])
  return joinFailures(failures).map(([id, failure]) => formatFailure(failure, id))
}

/** Failures with the same cause become one, with one remedy and no target. */
export function joinFailures(failures: readonly [string, Failure][]): [string | undefined, Failure][] {
  return groupAlike(failures, ([id, failure]) => causeOf(failure) ?? id).map((group) => {
    const [first] = group
    if (group.length === 1) return first
    const [, failure] = first
    const places = new Map(group.map(([, { node = '', shared }]) => [shared?.who ?? node, shared?.place]))
    const who = [...places.keys()]
    const remedy = failure.shared?.remedyFor([...places.values()]) ?? failure.remedy
    const what = failure.shared?.what ?? failure.what
    const counted = `${who.length === 1 ? '' : `${who.length} nodes, `}${what}: ${who.join(', ')}`
    return [undefined, failure.with({ what: counted, node: undefined, remedy })]
  })
}

/** The key by which failures are joined; undefined if the failure belongs to no node. */
function causeOf({ shared, node, what, remedy }: Failure): string | undefined {
  return shared?.what ?? (node === undefined ? undefined : `${what}\n${remedy}`)
}

/** Stack traces of the targets that failed because of a bug in harderway. */
export function formatStacks(outcomes: ReadonlyMap<string, Outcome>): string[] {
  return ofKind(outcomes, 'failed').flatMap(([id, { failure }]) => {
    const stack = stackOf(failure)
    return stack === undefined ? [] : [printable(`${id}: ${stack}`)]
  })
}

/** The warnings of all targets, each with its target's id. */
export function warningsOf(outcomes: ReadonlyMap<string, Outcome>): string[] {
  return [...outcomes].flatMap(([id, outcome]) =>
    'warning' in outcome && outcome.warning ? [`${id}: ${outcome.warning}`] : [],
  )
}
