/** The causes of an exit status, and which one follows: the numbers and their precedence are here alone. */
import type { Failure } from '../../lib/failure.ts'
import type { Row } from '../../lib/graph/target.ts'
import type { Notice } from '../../lib/show/rows.ts'
import type { ClusterRow } from '../target.ts'

/** What a command found. Without one, the status is 0. */
export type ExitCause = Failure['kind'] | 'stale' | 'unfinished'

export const statuses = { usage: 2, refused: 3, failed: 1, stale: 4, unfinished: 4 } satisfies Record<ExitCause, number>

/** `ended` is 128 + the signal that ended the run: only bad usage takes precedence over it. */
export function exitStatus(causes: readonly ExitCause[], ended?: number): number {
  if (causes.includes('usage')) return statuses.usage
  const first = (Object.keys(statuses) as ExitCause[]).find((cause) => causes.includes(cause))
  return ended ?? (first === undefined ? 0 : statuses[first])
}

const causes: Readonly<Record<Row['state'], readonly ExitCause[]>> = {
  failed: ['failed'],
  skipped: ['failed'],
  stale: ['stale'],
  fresh: [],
  built: [],
}

/** The one rule of every view: each row counts that is not up to date, or leaves something to the user. */
export function causesOf(rows: Iterable<ClusterRow>): ExitCause[] {
  return [...rows].flatMap(({ state, failure, todo = [] }): ExitCause[] => [
    ...(failure?.kind === 'refused' ? ['refused' as const] : causes[state]),
    ...(todo.length > 0 ? ['unfinished' as const] : []),
  ])
}

export function causesIn(notices: readonly Notice[] = []): ExitCause[] {
  return notices.some(({ kind }) => kind === 'todo') ? ['unfinished'] : []
}
