/** The causes of an exit status, and which one follows: the numbers and their precedence are here alone. */
import type { Failure } from '../../lib/failure.ts'
import type { Outcome } from '../../lib/graph/target.ts'
import type { Finding } from '../../lib/results.ts'
import type { ClusterRow } from '../target.ts'

/** What a command found. Without one, the status is 0. */
export type ExitCause = Failure['kind'] | 'stale' | 'unfinished'

/** In order of precedence. */
export const statuses = { usage: 2, refused: 3, failed: 1, stale: 4, unfinished: 4 } satisfies Record<ExitCause, number>

/** `ended` is 128 + the signal that ended the run: only bad usage takes precedence over it. */
export function exitStatus(causes: readonly ExitCause[], ended?: number): number {
  if (causes.includes('usage')) return statuses.usage
  const first = (Object.keys(statuses) as ExitCause[]).find((cause) => causes.includes(cause))
  return ended ?? (first === undefined ? 0 : statuses[first])
}

/** Unless it was refused. */
const causes: Readonly<Record<Outcome['kind'], readonly ExitCause[]>> = {
  failed: ['failed'],
  cancelled: ['failed'],
  stale: ['stale'],
  fresh: [],
  built: [],
}

/**
 * The one rule of every view: each row counts that is not up to date, or leaves something to the user. `isLook`: nothing
 * was to run, so what could not be inspected because of another row is only not up to date.
 */
export function causesOf(rows: Iterable<ClusterRow>, { isLook = false } = {}): ExitCause[] {
  return [...rows].flatMap(({ kind, failure, findings }) => [
    ...(failure?.kind === 'refused' ? ['refused' as const] : causes[isLook && kind === 'cancelled' ? 'stale' : kind]),
    ...causesIn(findings),
  ])
}

export function causesIn(findings: readonly Finding[] = []): ExitCause[] {
  return findings.some(({ owner }) => owner === 'user') ? ['unfinished'] : []
}
