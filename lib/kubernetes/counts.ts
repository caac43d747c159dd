/** What an API server counts, in its metrics: requests by certificates that were replaced, and those that it refused to who is revoked. */
import type { Use } from '../reason.ts'
import { authorizerName, type Counted, counterOf, type RevokedList } from './authorization.ts'

/** Of one process. */
export interface Counts {
  /** By the node's clock. */
  readonly started: Date
  /** By the name of an authorizer; of one without a request there is none. */
  readonly errors: ReadonlyMap<string, number>
  /** Requests whose credentials it did not accept. */
  readonly unauthenticated: number
}

/** https://kubernetes.io/docs/reference/instrumenting/metrics/ */
export function parseCounts(metrics: string): Counts | undefined {
  const rows = (name: string) =>
    [...metrics.matchAll(new RegExp(`^${name}(?:\\{([^}]*)\\})? (\\S+)$`, 'gm'))].map(
      ([, labels = '', value]) => [labels, Number(value)] as const,
    )
  const [[, started] = ['', Number.NaN]] = rows('process_start_time_seconds')
  if (Number.isNaN(started)) return undefined
  const errors = rows('apiserver_authorization_match_condition_evaluation_errors_total').map(
    ([labels, value]) => [/(?:^|,)name="([^"]*)"/.exec(labels)?.[1] ?? '', value] as const,
  )
  const failed = rows('authentication_attempts').filter(([labels]) => labels.includes('result="error"'))
  return {
    started: new Date(started * 1000),
    errors: new Map(errors),
    unauthenticated: failed.reduce((sum, [, value]) => sum + value, 0),
  }
}

export function countOf({ errors }: Counts, group: Counted): number {
  return errors.get(counterOf(group)) ?? 0
}

export function refusedBy({ errors }: Counts): number {
  return errors.get(authorizerName) ?? 0
}

/** Names of groups that have counted. */
export function countingIn({ counted = [] }: RevokedList, counts: readonly Counts[]): Set<string> {
  return new Set(counted.filter((group) => counts.some((each) => countOf(each, group) > 0)).map(counterOf))
}

/** One for each group, with its requests since it was listed, or since the API server was started. */
export function usesIn({ counted = [] }: RevokedList, counts: Counts): Use[] {
  return counted.map((group) => ({
    users: [...new Set(group.certificates.map(({ user }) => user))],
    until: new Date(Math.max(...group.certificates.map(({ end }) => Number(end)))),
    count: countOf(counts, group),
    since: new Date(Math.max(Number(group.since), Number(counts.started))),
  }))
}
