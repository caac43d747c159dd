/** Which certificates are listed to be counted, and what is read of an API server's metrics. */
import assert from 'node:assert/strict'
import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { backUp } from '../../../lib/files/auth-dir.ts'
import { counterOf, nobody, type RevokedList, type Shown } from '../../../lib/kubernetes/authorization.ts'
import {
  countingIn,
  isCounting,
  parseCounts,
  replacedCertificates,
  usesIn,
  withCounts,
} from '../../../lib/kubernetes/counts.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import { makeEverything, now, temporaryAuth, year } from '../../support/certificates.ts'
import { and, parsed } from '../../support/files.ts'

const minutes = (many: number) => new Date(now.getTime() + many * 60_000)

/** All leaves were replaced at that moment. */
async function replaced(t: TestContext) {
  const auth = temporaryAuth(t)
  const cluster = parsed(and('users: [{ name: jane }, { name: bob }]\ncertificates: { key: ecdsa-p256 }'))
  const rows = await makeEverything(auth, cluster, minutes(-60))
  backUp(
    auth,
    rows.map(({ name }) => auth.files.certificate(name)),
    now,
  )
  const issuer = readIssuer(auth)
  for (const { name, profile } of rows) await makePair(auth, name, { profile, issuer, now, validity: year })
  const listed = (at: Date, list: RevokedList = nobody, counting = new Set<string>()) =>
    withCounts({ auth, now: at }, list, { seconds: 330, counting })
  return { auth, listed }
}

const usersOf = ({ counted = [] }: RevokedList) =>
  counted.map(({ label, certificates }) => [label, ...certificates.map(({ user }) => user).toSorted()]).toSorted()

test('what was replaced is counted in groups, once whoever reads its files again has the new one; not the admin, whom no authorizer sees', async (t) => {
  const { auth, listed } = await replaced(t)
  assert.equal(listed(minutes(5)), nobody)
  const list = listed(minutes(6))
  assert.deepEqual(
    usersOf(list).filter(([label]) => label !== 'users'),
    [
      ['kube-controller-manager', 'system:kube-controller-manager'],
      ['kube-proxy', 'system:kube-proxy'],
      ['kube-scheduler', 'system:kube-scheduler'],
      ['nodes', 'system:node:c0'],
    ],
  )
  const [users = []] = usersOf(list).filter(([label]) => label === 'users')
  assert.deepEqual(
    ['jane', 'bob', 'admin'].map((name) => users.includes(name)),
    [true, true, false],
  )
  // It stays as it is, with its counts.
  assert.equal(listed(minutes(60), list), list)
  assert.equal(listed(new Date(now.getTime() + 2 * year), list), list)
  assert.deepEqual(
    replacedCertificates({ auth, now: minutes(1) }).flatMap(({ user }) => (user === 'jane' ? user : [])),
    ['jane'],
  )
})

test('what was copied to a folder without a time, or with one to come, was replaced long ago', async (t) => {
  const { auth, listed } = await replaced(t)
  const list = listed(minutes(6))
  const backup = join(auth.path, 'backup')
  const [folder = ''] = readdirSync(backup)
  for (const name of ['old-laptop', '2999-01-01T00-00-00-000Z', '2026-99-99T00-00-00-000Z'])
    cpSync(join(backup, folder), join(backup, name), { recursive: true })
  assert.deepEqual(usersOf(listed(minutes(6))), usersOf(list))
})

test('a group that counts is split by user, then by certificate, from nought; what is let in no more is left out', async (t) => {
  const { auth, listed } = await replaced(t)
  const list = listed(minutes(6))
  const all = list.counted?.map(counterOf) ?? []
  const split = listed(minutes(60), list, new Set(all))
  const single = (each: RevokedList) => usersOf(each).filter((group) => group.length === 2).length
  assert.deepEqual(single(split), usersOf(split).length)
  const left = split.counted?.map(counterOf).filter((name) => all.includes(name)) ?? []
  assert.deepEqual(left.length, single(list))
  assert.ok(
    left.every((name) => !name.includes('users')),
    'counts of before the split stay with the group',
  )
  const [{ certificates: [jane] = [] } = {}] = split.counted?.filter(({ label }) => label === 'users') ?? []
  const two = { label: 'users', since: now, certificates: [jane, { ...jane, fingerprint: 'f'.repeat(64) }] as Shown[] }
  const both = { ...nobody, counted: [two] }
  const lists = [listed(minutes(5), both), listed(minutes(5), both, new Set([counterOf(two)]))]
  assert.deepEqual(
    lists.map(({ counted = [] }) => counted.map(({ certificates }) => certificates.length)),
    [[2], [1, 1]],
  )
  const revoked = { ...split, entries: ['jane'] }
  assert.deepEqual(
    usersOf(listed(minutes(61), revoked))
      .flat()
      .includes('jane'),
    false,
  )
  // Of another CA.
  await makeEverything(auth, parsed(and('certificates: { key: ecdsa-p256 }')), minutes(90))
  assert.equal(listed(minutes(120), split).counted, undefined)
})

test('counts are read from metrics: since the listing, or the start of the API server', async (t) => {
  const { listed } = await replaced(t)
  const list = listed(minutes(6))
  const name = list.counted?.map(counterOf).find((each) => each.includes('kube-proxy')) ?? assert.fail()
  const metrics = (started: Date, more = '') => `# TYPE process_start_time_seconds gauge
process_start_time_seconds ${started.getTime() / 1000}
apiserver_authorization_match_condition_evaluation_errors_total{name="${name}",type="Webhook"} 12
apiserver_authorization_match_condition_evaluation_errors_total{name="revoked",type="Webhook"} 3
apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds{apiserver_id_hash="sha256:0",status="success"} ${minutes(7).getTime() / 1000}
authentication_attempts{result="error"} 4
authentication_attempts{result="success"} 400
${more}`
  const proxyOf = (started: Date) => {
    const counts = parseCounts(metrics(started)) ?? assert.fail()
    return usesIn(list, counts).find(({ users }) => users.includes('system:kube-proxy'))
  }
  assert.deepEqual([proxyOf(minutes(1))?.count, proxyOf(minutes(1))?.since], [12, minutes(6)])
  assert.deepEqual(proxyOf(minutes(9))?.since, minutes(9))
  const counts = parseCounts(metrics(now)) ?? assert.fail()
  assert.equal(counts.unauthenticated, 4)
  assert.deepEqual([counts.started, counts.loaded], [now, minutes(7)])
  assert.deepEqual([...countingIn(list, [counts])], [name])
  assert.equal(isCounting(counts), false)
  assert.equal(isCounting(parseCounts(metrics(now).replace('"revoked"', '"revoked-list"')) ?? assert.fail()), true)
  const start = String(now.getTime() / 1000)
  for (const unreadable of ['no metrics', metrics(now).replace('} 12', '} many'), metrics(now).replace(start, '1e300')])
    assert.equal(parseCounts(unreadable), undefined)
  // A node may answer with anything, in 64 MB: each line is read once.
  assert.ok(parseCounts(metrics(now, 'authentication_attempts{\n'.repeat(200_000))))
})
