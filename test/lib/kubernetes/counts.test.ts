/** What is read of an API server's metrics. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { countersOf } from '../../../lib/kubernetes/counters.ts'
import { isCounting, parseCounts, usesIn } from '../../../lib/kubernetes/counts.ts'
import { nobody } from '../../../lib/kubernetes/revoked-list.ts'
import { now } from '../../support/certificates.ts'

const minutes = (many: number) => new Date(now.getTime() + many * 60_000)

test('counts are read from metrics: a request was made since the start of the API server, and none since its last load', () => {
  const end = minutes(90)
  const shown = (user: string, digit: string) => ({ user, end, fingerprint: digit.repeat(64) })
  const list = { ...nobody, counted: [shown('jane', '1'), shown('bob', '2')] }
  const jane = countersOf(list).find(({ users }) => users.includes('jane'))?.name
  const metrics = (started: Date, more = '') => `# TYPE process_start_time_seconds gauge
process_start_time_seconds ${started.getTime() / 1000}
apiserver_authorization_match_condition_evaluation_errors_total{name="${jane}",type="Webhook"} 12
apiserver_authorization_match_condition_evaluation_errors_total{name="revoked",type="Webhook"} 3
apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds{apiserver_id_hash="sha256:0",status="success"} ${minutes(7).getTime() / 1000}
authentication_attempts{result="error"} 4
authentication_attempts{result="success"} 400
${more}`
  const countsOf = (...of: Parameters<typeof metrics>) => parseCounts(metrics(...of)) ?? assert.fail()
  const uses = usesIn(list, countsOf(now)).map(({ counter, count, since, until }) => [
    counter.users,
    count,
    since,
    until,
  ])
  assert.deepEqual(uses, [
    [['jane'], 12, now, end],
    [['bob'], 0, minutes(7), end],
  ])
  assert.deepEqual(usesIn(list, countsOf(minutes(9)))[1]?.since, minutes(9))
  assert.equal(countsOf(now).unauthenticated, 4)
  assert.deepEqual([countsOf(now).started, countsOf(now).loaded], [now, minutes(7)])
  assert.equal(isCounting(countsOf(now)), false)
  assert.equal(isCounting(parseCounts(metrics(now).replace('"revoked"', '"revoked-list"')) ?? assert.fail()), true)
  const start = String(now.getTime() / 1000)
  for (const unreadable of ['no metrics', metrics(now).replace('} 12', '} many'), metrics(now).replace(start, '1e300')])
    assert.equal(parseCounts(unreadable), undefined)
  // A node may answer with anything, in 64 MB: each line is read once.
  assert.ok(parseCounts(metrics(now, 'authentication_attempts{\n'.repeat(200_000))))
})
