/** The aggregation layer: its CA and client in cluster.yaml, in auth/, on nodes, and what brings them back. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import {
  callInit,
  copyPlace,
  type Edit,
  exits,
  labEdits,
  madePlace,
  oneOfEach,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

const users: Edit = [['users'], [{ name: 'jane' }]]
const local: Edit = [['localKubeconfig'], false]
const on: Edit = [['aggregation'], true]
const edits = [users, local, on]
const names = ['front-proxy-ca.pem', 'front-proxy-ca-key.pem', 'front-proxy-client.pem', 'front-proxy-client-key.pem']
const place = madePlace(edits, 'certs', 'kubeconfigs', 'encryption-key')
const without = madePlace([users], 'certs', 'kubeconfigs', 'encryption-key')

test('verify: the front proxy is believed, and nobody else', async () => {
  const { stdout } = await exits(0, place, 'verify', '--verbose')
  assert.match(stdout, /front-proxy-client: authenticated as front-proxy-client .*any user and group/)
  for (const who of ['worker0', 'jane', 'admin', 'kubernetes'])
    assert.match(stdout, new RegExp(`front-proxy/${who}: rejected`))
  assert.doesNotMatch((await exits(0, without, 'verify', '--verbose')).stdout, /front-proxy/)
})

test('a cluster that is there already gets it by the next run; what was lost of it comes back from a backup', async (t) => {
  const { place: later, auth } = copyPlace(t, without, edits)
  await exits(0, later, 'certs')
  for (const name of names) assert.ok(existsSync(join(auth, name)), name)
  const backup = join(later, 'backup')
  cpSync(auth, backup, { recursive: true })
  for (const name of names.slice(0, 2)) rmSync(join(auth, name))
  assert.match((await exits(3, later, 'certs')).stderr, /no front-proxy-ca\.pem and front-proxy-ca-key\.pem/)
  await exits(0, later, 'recover', '--from', backup)
  for (const name of names) assert.deepEqual(readFileSync(join(auth, name)), readFileSync(join(backup, name)))
})

test('init takes it over from an auth/ that has it', async () => {
  await callInit(place, ['adopted', '--from', 'auth'])
  assert.match(readFileSync(join(place, 'adopted/cluster.yaml'), 'utf8'), /^aggregation: true$/m)
  await callInit(without, ['adopted', '--from', 'auth'])
  assert.match(readFileSync(join(without, 'adopted/cluster.yaml'), 'utf8'), /^aggregation: false$/m)
})

test('a rotation of its CA that 0.5.0 began is refused, until the CA is replaced at once', async (t) => {
  const { place: copied, auth } = copyPlace(t, place, edits)
  for (const end of ['.pem', '-key.pem'])
    cpSync(join(auth, `front-proxy-ca${end}`), join(auth, `front-proxy-ca-next${end}`))
  const { stderr } = await exits(3, copied, 'certs')
  assert.match(stderr, /front-proxy-ca-next\.pem.*0\.5\.0.*ca\/front-proxy-ca --force/s)
  await exits(0, copied, 'ca/front-proxy-ca', '--force', '--yes')
  await exits(0, copied, 'certs')
  assert.ok(!existsSync(join(auth, 'front-proxy-ca-next-key.pem')))
})

describe('on a control node', { skip: needs('ssh') }, () => {
  const made = localPlace('control0', 'worker0', 'gateway')

  test('the key of its CA does not come back from there: a backup has it, or another is made', async () => {
    const { place, lab } = made
    writeCluster(place, [...oneOfEach, on, ...labEdits(lab)])
    await exits(0, place, 'bootstrap')
    const read = () => readFileSync(join(place, 'auth/front-proxy-ca.pem'), 'utf8')
    const before = read()
    rmSync(join(place, 'auth'), { recursive: true })
    const { stdout, stderr } = await exits(3, place, 'recover', '--node', 'control0')
    assert.match(stdout + stderr, /front-proxy-ca-key\.pem is on no node; restore it from a backup/)
    const refused = await exits(3, place, 'bootstrap')
    assert.match(refused.stdout + refused.stderr, /another front-proxy CA in /)
    await exits(0, place, 'bootstrap', '--replace-identity', '--yes')
    assert.notEqual(read(), before)
  })

  test('its CA is replaced at once, once that is confirmed: nodes that have the old one get the new one', async () => {
    const { place, lab } = made
    writeCluster(place, [...oneOfEach, on, ...labEdits(lab)])
    await exits(0, place, 'bootstrap')
    const onNode = () => readFileSync(join(lab.node('control0').home, 'front-proxy-ca.pem'), 'utf8')
    const before = onNode()
    const refused = await exits(3, place, 'ca/front-proxy-ca', '--force')
    assert.match(refused.stderr, /aggregated APIs fail until each API server has the new CA/)
    await exits(0, place, 'ca/front-proxy-ca', '--force', '--yes')
    await exits(0, place, 'bootstrap')
    assert.notEqual(onNode(), before)
    assert.equal(onNode(), readFileSync(join(place, 'auth/front-proxy-ca.pem'), 'utf8'))
  })

  test('switched off again, its files are named until --prune has removed them', async () => {
    const { place, lab } = made
    const write = (...more: Edit[]) => writeCluster(place, [...oneOfEach, ...more, ...labEdits(lab)])
    const onNode = () => readdirSync(lab.node('control0').home).filter((file) => file.startsWith('front-proxy-'))
    write(on)
    await exits(0, place, 'bootstrap')
    const held = onNode()
    write()
    for (const args of [['--dry-run'], []])
      assert.match(
        (await exits(0, place, 'bootstrap', ...args)).stdout,
        /control0 has front-proxy-ca\.pem, front-proxy-client-key\.pem, front-proxy-client\.pem, which do not belong on it/,
      )
    assert.deepEqual(onNode(), held)
    await exits(0, place, 'bootstrap', '--prune')
    assert.deepEqual(onNode(), [])
    assert.match((await exits(0, place, 'bootstrap')).stdout, /: 0 changed, /)
    // Somebody else's, under the same name.
    writeFileSync(join(lab.node('control0').home, 'front-proxy-client-key.pem'), 'another')
    await exits(0, place, 'bootstrap', '--prune')
    assert.deepEqual(onNode(), ['front-proxy-client-key.pem'])
  })
})
