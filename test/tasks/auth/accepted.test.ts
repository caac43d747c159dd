/** Who may still be let in, by auth/, its backup and cluster.yaml alone. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { backUp } from '../../../lib/files/auth-dir.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import { holdersOf } from '../../../tasks/auth/accepted.ts'
import { makeEverything, now, temporaryAuth, year } from '../../support/certificates.ts'
import { and, parsed } from '../../support/files.ts'

const clusterOf = (text: string) => parsed(and(`${text}\ninstall: true\ncertificates: { key: ecdsa-p256 }`))

/** All leaves were replaced now. */
async function replaced(t: TestContext) {
  const auth = temporaryAuth(t)
  const cluster = clusterOf('users: [{ name: jane, groups: [devs] }, { name: bob }]')
  const rows = await makeEverything(auth, cluster, new Date(now.getTime() - 3_600_000))
  backUp(
    auth,
    rows.flatMap(({ name }) => [auth.files.certificate(name), auth.files.key(name)]),
    now,
  )
  const issuer = readIssuer(auth)
  for (const { name, profile } of rows) await makePair(auth, name, { profile, issuer, now, validity: year })
  return { auth, cluster, now }
}

const toldOf = (run: Parameters<typeof holdersOf>[0]) =>
  holdersOf(run)
    .map(({ name, why }) => `${name} ${why}`)
    .toSorted()

test('users and the admin may have the certificate that was replaced; components and nodes take their new one', async (t) => {
  const run = await replaced(t)
  assert.deepEqual(toldOf(run), ['admin replaced', 'bob replaced', 'jane replaced'])
  assert.deepEqual(toldOf({ ...run, now: new Date(now.getTime() + 11 * year) }), [])
})

test('why: a name or a group that cluster.yaml no longer has; and not whose name is revoked', async (t) => {
  const run = await replaced(t)
  const toldWith = (text: string) => toldOf({ ...run, cluster: clusterOf(text) })
  assert.deepEqual(toldWith('users: [{ name: bob }]'), ['admin replaced', 'bob replaced', 'jane removed'])
  assert.deepEqual(toldWith('users: [{ name: bob }]\nrevoked: [jane]'), ['admin replaced', 'bob replaced'])
  assert.deepEqual(toldWith('users: [{ name: jane }, { name: bob }]'), [
    'admin replaced',
    'bob replaced',
    'jane group removed',
  ])
})

test('what another CA has signed lets nobody in', async (t) => {
  const [run, other] = [await replaced(t), await replaced(t)]
  run.auth.write('ca.pem', other.auth.bytes('ca.pem'), 0o644)
  assert.deepEqual(toldOf(run), [])
})
