/** The exit status, from what a command found: the one place that knows the numbers and their order. Pure. */
import type { FailureKind } from '../../lib/failure.ts'
import type { Outcome } from '../../lib/graph/executor.ts'

/** What is not as it should be; nothing of it is 0. */
export type Finding = FailureKind | 'stale'

/** In the order in which they count. */
export const statuses: Readonly<Record<Finding, number>> = { usage: 2, refused: 3, failed: 1, stale: 4 }

/** `ended`: 128 + the signal that ended the run, which counts more than all but bad usage. */
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
