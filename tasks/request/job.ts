/** What a command found, and the exit status that follows: the numbers and their precedence are here alone. */
import type { Failure } from '../../lib/failure.ts'
import type { Outcome } from '../../lib/graph/target.ts'

/** A problem that was found. Without one, the status is 0. */
export type Finding = Failure['kind'] | 'stale'

/** In order of precedence. */
export const statuses: Readonly<Record<Finding, number>> = { usage: 2, refused: 3, failed: 1, stale: 4 }

/** `ended` is 128 + the signal that ended the run: only bad usage takes precedence over it. */
export function exitStatus(findings: readonly Finding[], ended?: number): number {
  if (findings.includes('usage')) return statuses.usage
  const first = (Object.keys(statuses) as Finding[]).find((finding) => findings.includes(finding))
  return ended ?? (first === undefined ? 0 : statuses[first])
}

export function findingsOf(outcomes: Iterable<Outcome>): Finding[] {
  return [...outcomes].flatMap((outcome) => findingOf(outcome) ?? [])
}

function findingOf(outcome: Outcome): Finding | undefined {
  switch (outcome.kind) {
    case 'failed':
      return outcome.failure.kind === 'refused' ? 'refused' : 'failed'
    case 'cancelled':
      return 'failed'
    case 'stale':
      return 'stale'
    case 'fresh':
    case 'built':
      return undefined
    default:
      return outcome satisfies never
  }
}
