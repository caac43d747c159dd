/** Who may still be let in, by auth/, its backup and cluster.yaml alone; and what API servers are to count. */
import assert from 'node:assert/strict'
import { cpSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { authorizationConfigFile, backUp } from '../../../lib/files/auth-dir.ts'
import { formatAuthorization, withCounted } from '../../../lib/kubernetes/authorization.ts'
import { wantedList } from '../../../lib/kubernetes/revocation.ts'
import { nobody, type RevokedList } from '../../../lib/kubernetes/revoked-list.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import { type AcceptedCertificate, acceptedCertificates, withReplaced } from '../../../tasks/auth/accepted.ts'
import { lostCounts } from '../../../tasks/day2/revoked/guard-list.ts'
import { makeEverything, now, temporaryAuth, year } from '../../support/certificates.ts'
import { and, parsed } from '../../support/files.ts'

const minutes = (many: number) => new Date(now.getTime() + many * 60_000)
const clusterOf = (text: string) => parsed(and(`${text}\ninstall: true\ncertificates: { key: ecdsa-p256 }`))
const users = 'users: [{ name: jane, groups: [devs] }, { name: bob }]\nrevoked: []'

/** All leaves were replaced now. */
async function replaced(t: TestContext) {
  const auth = temporaryAuth(t)
  const cluster = clusterOf(users)
  const rows = await makeEverything(auth, cluster, minutes(-60))
  const names = rows.map(({ name }) => name)
  backUp(
    auth,
    names.flatMap((name) => [auth.files.certificate(name), auth.files.key(name)]),
    now,
  )
  const issuer = readIssuer(auth)
  for (const { name, profile } of rows) await makePair(auth, name, { profile, issuer, now, validity: year })
  const run = { auth, cluster, now }
  const listing = (list: RevokedList) => auth.write(authorizationConfigFile, formatAuthorization(list, '/k'), 0o600)
  return { run, auth, cluster, listing }
}

/** "jane replaced", of those that cluster.yaml would not issue now. */
const whyIn = (all: readonly AcceptedCertificate[]) =>
  all.flatMap(({ user, why, isDenied }) => (why ? [`${user} ${why}${isDenied ? ', denied' : ''}`] : [])).toSorted()
const of = (name: string, all: readonly string[]) => all.filter((each) => each.startsWith(`${name} `))

test('each certificate in use is needed; each that was replaced is accepted until it expires', async (t) => {
  const { run } = await replaced(t)
  const all = whyIn(acceptedCertificates(run))
  for (const user of ['jane', 'bob', 'system:kube-proxy', 'system:node:c0', 'admin'])
    assert.deepEqual(of(user, all), [`${user} replaced`])
  assert.deepEqual(acceptedCertificates(run).filter(({ user, why }) => user === 'jane' && !why).length, 1)
  assert.deepEqual(whyIn(acceptedCertificates({ ...run, now: new Date(now.getTime() + 11 * year) })), [])
})

test('why: a name or a group that cluster.yaml no longer has, a key that is revoked', async (t) => {
  const { run } = await replaced(t)
  const whyWith = (text: string) => whyIn(acceptedCertificates({ ...run, cluster: clusterOf(text) }))
  assert.deepEqual(of('jane', whyWith('users: [{ name: bob }]')), ['jane name removed', 'jane name removed'])
  assert.deepEqual(of('jane', whyWith('users: [{ name: jane }, { name: bob }]')), [
    'jane group removed',
    'jane group removed',
  ])
  assert.deepEqual(of('jane', whyWith('users: [{ name: bob }]\nrevoked: [jane]')), [
    'jane name removed, denied',
    'jane name removed, denied',
  ])
  const [old] = acceptedCertificates(run).filter(({ user, why }) => user === 'jane' && why)
  assert.deepEqual(of('jane', whyWith(`${users.replace('[]', `['sha256:${old?.fingerprint}']`)}`)), [
    'jane key revoked, denied',
  ])
})

test('what another CA has signed lets nobody in', async (t) => {
  const { run, cluster } = await replaced(t)
  await makeEverything(run.auth, cluster, minutes(90))
  assert.deepEqual(whyIn(acceptedCertificates(run)), [])
})

test('one that only the list of another auth/ knows is accepted too', async (t) => {
  const { run, listing } = await replaced(t)
  const foreign = { fingerprint: 'f'.repeat(64), user: 'bob', end: minutes(90) }
  listing({ ...nobody, counted: [foreign] })
  assert.deepEqual(of('bob', whyIn(acceptedCertificates(run))), ['bob replaced', 'bob replaced'])
})

test('API servers count what was replaced, for each user, at once; not the admin, whom no authorizer sees', async (t) => {
  const { run } = await replaced(t)
  const { counted = [] } = withReplaced(run, wantedList(run))
  const counts = (user: string) => counted.filter((each) => each.user === user).length
  assert.deepEqual(
    ['jane', 'bob', 'system:kube-proxy', 'system:kube-scheduler', 'system:node:c0', 'admin'].map(counts),
    [1, 1, 1, 1, 1, 0],
  )
  // Who is denied asks nothing.
  const without = withReplaced(run, { ...nobody, entries: ['jane'] })
  assert.deepEqual(
    without.counted?.some(({ user }) => user === 'jane'),
    false,
  )
})

test('the list keeps what another auth/ has listed to be counted, whatever this one knows', async (t) => {
  const { run, auth, listing } = await replaced(t)
  const foreign = [
    { fingerprint: 'e'.repeat(64), user: 'bob', end: minutes(90) },
    { fingerprint: 'f'.repeat(64), user: 'eve', end: minutes(90) },
  ]
  listing({ ...nobody, counted: foreign })
  const kept = (each: RevokedList) =>
    foreign.every(({ fingerprint }) => each.counted?.some((one) => one.fingerprint === fingerprint))
  assert.ok(kept(withReplaced(run, wantedList(run))))
  // auth/ without its backup, as after `recover`.
  renameSync(join(auth.path, 'backup'), `${auth.path}-elsewhere`)
  assert.ok(kept(withReplaced(run, wantedList(run))))
})

test('time alone changes no list, and no name of a folder in the backup does', async (t) => {
  const { run, auth, listing } = await replaced(t)
  const list = withReplaced(run, wantedList(run))
  listing(list)
  const end = Math.min(...(list.counted ?? []).map((each) => Number(each.end)))
  for (const at of [minutes(1), minutes(9e5), new Date(end - 1), new Date(end + 1)]) {
    const later = { ...run, now: at }
    assert.deepEqual(withReplaced(later, wantedList(later)), list)
  }
  const backup = join(auth.path, 'backup')
  const [folder = ''] = readdirSync(backup)
  for (const name of ['old-laptop', '2999-01-01T00-00-00-000Z', '2026-99-99T00-00-00-000Z'])
    cpSync(join(backup, folder), join(backup, name), { recursive: true })
  assert.deepEqual(withReplaced(run, wantedList(run)), list)
})

test('a list without room counts whom it can, and the next run makes the same', async (t) => {
  const { run, listing } = await replaced(t)
  const many = Array.from({ length: 1400 }, (_, i) => ({
    ...{ fingerprint: String(i).padStart(64, '0'), user: `system:node:w${i % 350}` },
    end: minutes(90),
  }))
  const list = withCounted(nobody, many)
  assert.equal(list.counted, undefined)
  listing({ ...nobody, counted: many.slice(0, 300) })
  const next = withReplaced(run, wantedList(run))
  listing(next)
  assert.deepEqual(withReplaced(run, wantedList(run)), next)
})

test('two auth/ whose certificates find no room together come to one list, and refuse each other no longer', async (t) => {
  const cluster = clusterOf(users.replace('revoked: []', 'revoked: [gone]'))
  const sides = await Promise.all([replaced(t), replaced(t)])
  const listOf = (entries: number): RevokedList => ({
    entries: ['gone'],
    certificates: Array.from({ length: entries }, (_, i) => ({
      ...{ fingerprint: String(i).padStart(64, '0'), keyId: String(i).padStart(64, 'a') },
      ...{ user: 'gone', end: minutes(9e6) },
    })),
  })
  const perEntry = (formatAuthorization(listOf(200), '/k').length - formatAuthorization(listOf(100), '/k').length) / 100
  // From room for nothing to room for all.
  for (let room = 0; room < 16_000; room += 2_000) {
    const list = listOf(Math.floor((199_000 - room) / perEntry))
    for (const { listing } of sides) listing(list)
    let onNode = list
    const told: string[] = []
    for (let turn = 0; turn < 14; turn++) {
      const { run: ofSide, listing } = sides[turn % 2] ?? assert.fail()
      const run = { ...ofSide, cluster }
      const own = withReplaced(run, wantedList(run))
      listing(own)
      const lost = lostCounts(run, onNode)
      const isSame = isDeepStrictEqual(own.counted, onNode.counted)
      told.push(lost.length > 0 ? `lacks ${lost}` : isSame ? 'is right' : 'writes')
      // As the printed command does, `recover --node`.
      if (lost.length > 0) listing(onNode)
      else onNode = own
    }
    assert.deepEqual(told.slice(-4), Array(4).fill('is right'), `${room}: ${told.join('; ')}`)
  }
})
