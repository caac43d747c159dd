/**
 * What a command does once its request is valid: it works while it holds auth/, or reads while nobody does. Its findings
 * decide the exit status: the numbers and their precedence are here alone.
 */

import type { Failure } from '../../lib/failure.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Outcome } from '../../lib/graph/target.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import type { Closing } from '../../lib/show/summary.ts'
import type { Session } from './session.ts'

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

/** Works while no other run can change auth/. */
export interface Writing {
  /** With the nodes that may be contacted. */
  readonly graph?: Graph
  /** Without one, a failure ends the command, and a wait for another run is reported on stderr. */
  readonly reporter?: Pick<Reporter, 'note' | 'problem' | 'end'>
  readonly work: (session: Session) => Promise<Worked>
  /** After the work, whether or not it failed. */
  readonly closing?: (run: Run, outcomes: Worked['outcomes']) => Closing
}

export interface Worked {
  readonly outcomes: ReadonlyMap<string, Outcome>
  readonly findings: readonly Finding[]
}

/** Reads while no run holds auth/, and once more if one began meanwhile. */
export interface Reading {
  /** With the nodes that may be contacted. */
  readonly graph?: Graph
  /** Returns what shows the findings: it is called when they are certain. */
  readonly read: (session: Session) => Promise<() => Promise<readonly Finding[]>>
}
