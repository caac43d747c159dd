/** What an API server has counted by the list, as its metrics say. Pure. */
import { authorizerName, markName } from './authorization.ts'
import { type Counter, countersOf } from './counters.ts'
import { labelIn, samplesOf } from './metrics.ts'
import type { RevokedList } from './revoked-list.ts'

/** Of one process; times by the node's clock. */
export interface Counts {
  readonly started: Date
  /** When it last loaded the list; its start, if not since. */
  readonly loaded: Date
  /** By the name of an authorizer; of one without a request there is none. */
  readonly errors: ReadonlyMap<string, number>
  /** Requests whose credentials it did not accept. */
  readonly unauthenticated: number
}

/** Undefined if they can't be read. https://kubernetes.io/docs/reference/instrumenting/metrics/ */
export function parseCounts(metrics: string): Counts | undefined {
  const [{ value: start } = { value: Number.NaN }] = samplesOf(metrics, 'process_start_time_seconds')
  const loads = samplesOf(
    metrics,
    'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
  ).filter((each) => labelIn(each, 'status') === 'success')
  const errors = samplesOf(metrics, 'apiserver_authorization_match_condition_evaluation_errors_total')
  const failed = samplesOf(metrics, 'authentication_attempts').filter((each) => labelIn(each, 'result') === 'error')
  const started = new Date(start * 1000)
  const loaded = new Date(Math.max(start, ...loads.map(({ value }) => value)) * 1000)
  const isKnown = [...errors, ...failed].every(({ value }) => Number.isFinite(value))
  if (!isKnown || [started, loaded].some((time) => Number.isNaN(time.getTime()))) return undefined
  return {
    ...{ started, loaded },
    errors: new Map(errors.map((each) => [labelIn(each, 'name') ?? '', each.value])),
    unauthenticated: failed.reduce((sum, { value }) => sum + value, 0),
  }
}

/** Whether it counts at all: our own review, which it denies, is counted as well. */
export function isCounting({ errors }: Counts): boolean {
  return (errors.get(markName) ?? 0) > 0
}

export function countOf({ errors }: Counts, { name }: Pick<Counter, 'name'>): number {
  return errors.get(name) ?? 0
}

export function refusedBy({ errors }: Counts): number {
  return errors.get(authorizerName) ?? 0
}

/** Requests that a counter has counted in one process. */
export interface CounterUse {
  readonly counter: Counter
  readonly count: number
  /** They were made, or none was, after this time. */
  readonly since: Date
  /** When the last of its certificates expires. */
  readonly until: Date
}

/** For each counter of the list. An API server keeps a count when it loads another list, until its process ends. */
export function usesIn(list: RevokedList, counts: Counts): CounterUse[] {
  return countersOf(list).map((counter) => {
    const count = countOf(counts, counter)
    const until = new Date(Math.max(0, ...counter.certificates.map(({ end }) => Number(end))))
    // It may have been loaded with the last list first: what it did not count before that is not known.
    return { counter, count, since: count > 0 ? counts.started : counts.loaded, until }
  })
}
