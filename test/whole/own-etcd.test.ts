/** A CA of etcd's own: in cluster.yaml, in auth/, on nodes, and what brings it back. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  callInit,
  copyPlace,
  type Edit,
  exits,
  harderway,
  labEdits,
  madePlace,
  oneOfEach,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const own: Edit = [['etcd', 'ca'], 'own']
const names = ['etcd-ca.pem', 'etcd-ca-key.pem', 'etcd.pem', 'etcd-key.pem']
const all = [...names, 'apiserver-etcd-client.pem', 'apiserver-etcd-client-key.pem']
const place = madePlace([own], 'certs', 'kubeconfigs', 'encryption-key')

const shared = madePlace([], 'certs')

test('verify: nobody but members and API servers is let in, and a shared one that is asked for is a failure', async (t) => {
  const { stdout } = await exits(0, place, 'verify')
  for (const who of ['worker', 'admin', 'api-server-itself'])
    assert.match(stdout, new RegExp(`etcd/${who}|${who} +rejected`))
  const { place: copied } = copyPlace(t, place, [own])
  // As `rotate etcd-ca` begins.
  for (const file of ['ca.pem', 'ca-key.pem'])
    copyFileSync(join(copied, 'auth', file), join(copied, 'auth', `etcd-${file}`))
  await exits(0, copied, 'certs')
  assert.match((await exits(1, copied, 'verify')).stdout, /authenticated as system:node:worker0 .*expected rejected/s)
  assert.match((await harderway(copied, 'ca')).stdout, /etcd still has the cluster CA; continue:\n.*rotate etcd-ca/)
  // It would leave etcd with the old one.
  const forced = await exits(3, copied, 'ca', '--force', '--yes')
  assert.match(forced.stdout + forced.stderr, /etcd uses the CA that would be replaced.*rotate etcd-ca/s)
})

test('a run gives no running cluster another one, and takes none back', async (t) => {
  const { place: before } = copyPlace(t, shared, [own])
  const { stderr } = await exits(3, before, 'certs')
  assert.match(stderr, /etcd shares the CA.*rotate etcd-ca.*ca\/etcd-ca --force.*etcd\.ca: shared/s)
  await exits(0, before, 'ca/etcd-ca', '--force', '--yes')
  await exits(0, before, 'certs')
  writeCluster(before)
  assert.match((await exits(3, before, 'certs')).stderr, /etcd has its own CA.*set etcd\.ca: own in cluster\.yaml/s)
  // Nor is a backup of it taken.
  const backup = join(before, 'backup')
  renameSync(join(before, 'auth'), backup)
  assert.match((await exits(3, before, 'recover', '--from', backup)).stderr, /etcd has its own CA/)
})

test('without its files nothing is made in their place', async (t) => {
  const { place: copied, auth } = copyPlace(t, place, [own])
  for (const name of ['etcd-ca.pem', 'etcd-ca-key.pem']) rmSync(join(auth, name))
  assert.match((await exits(3, copied, 'certs')).stderr, /no etcd-ca\.pem and etcd-ca-key\.pem.*recover --node/s)
  await exits(0, copied, 'recover', '--from', join(place, 'auth'))
  assert.deepEqual(readFileSync(join(auth, 'etcd-ca.pem')), readFileSync(join(place, 'auth/etcd-ca.pem')))
  await exits(0, copied, 'certs')
})

test('ca --force replaces the CA of the cluster, and not that of etcd; ca --renew renews both', async (t) => {
  const { place: copied, auth } = copyPlace(t, place, [own])
  const read = () => ['ca.pem', 'etcd-ca.pem'].map((name) => readFileSync(join(auth, name), 'utf8'))
  const before = read()
  await exits(0, copied, 'ca', '--renew')
  assert.ok(read().every((pem, i) => pem !== before[i]))
  const renewed = read()
  await exits(0, copied, 'ca', '--force', '--yes')
  assert.deepEqual(
    read().map((pem, i) => pem === renewed[i]),
    [false, true],
  )
})

test('init takes it over from an auth/ that has it', async () => {
  await callInit(place, ['adopted', '--from', 'auth'])
  assert.match(readFileSync(join(place, 'adopted/cluster.yaml'), 'utf8'), /^etcd:\n +ca: own$/m)
})

describe('on a control node', { skip: needs('ssh') }, () => {
  const made = localPlace('control0', 'worker0', 'gateway')

  test('it is deployed, and comes back from there', async () => {
    const { place, lab } = made
    writeCluster(place, [...oneOfEach, own, ...labEdits(lab)])
    await exits(0, place, 'bootstrap')
    const key = readFileSync(join(place, 'auth/etcd-ca-key.pem'))
    rmSync(join(place, 'auth'), { recursive: true })
    await exits(0, place, 'recover', '--node', 'control0')
    assert.deepEqual(readFileSync(join(place, 'auth/etcd-ca-key.pem')), key)
    await exits(0, place, 'bootstrap')
  })

  test('switched off again, --prune removes the key of its CA only where auth/ or its backup has it', async () => {
    const { place, lab } = made
    const [auth, away] = [join(place, 'auth'), join(place, 'away')]
    const onNode = () => readdirSync(lab.node('control0').home).filter((file) => all.includes(file))
    writeCluster(place, [...oneOfEach, own, ...labEdits(lab)])
    await exits(0, place, 'bootstrap')
    writeCluster(place, [...oneOfEach, ...labEdits(lab)])
    const refused = await exits(3, place, 'bootstrap')
    assert.match(
      refused.stdout + refused.stderr,
      /or, if etcd never had that CA, move etcd-ca\.pem and etcd-ca-key\.pem aside/,
    )
    mkdirSync(away)
    for (const file of names.slice(0, 2)) renameSync(join(auth, file), join(away, file))
    const { stdout } = await exits(0, place, 'bootstrap', '--prune')
    assert.match(stdout, /--prune leaves etcd-ca-key\.pem on control0/)
    assert.deepEqual(onNode(), ['etcd-ca-key.pem', 'etcd-ca.pem'])
    mkdirSync(join(auth, 'backup/2026-11-24T12-00-00-000Z'), { recursive: true })
    for (const file of names.slice(0, 2))
      renameSync(join(away, file), join(auth, 'backup/2026-11-24T12-00-00-000Z', file))
    await exits(0, place, 'bootstrap', '--prune')
    assert.deepEqual(onNode(), [])
  })
})
