/** A key that is revoked, from the run that makes a new one to the list: on nodes where no unit runs. test/machines has API servers. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readRevoked } from '../../lib/kubernetes/authorization.ts'
import { type Edit, exits, labEdits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'

describe('a key that is revoked', () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite
  const auth = join(place, 'auth')
  const certificateOf = (name: string) => new X509Certificate(readFileSync(join(auth, `${name}.pem`)))
  const entryOf = (name: string) => `sha256:${certificateOf(name).fingerprint256.replaceAll(':', '').toLowerCase()}`
  const listAt = (folder: string) =>
    readRevoked(readFileSync(join(folder, 'authorization-config.yaml'), 'utf8')) ?? assert.fail('no list')
  const onControl = () => [...listAt(suite.lab.node('control0').home).keys()]
  const write = (revoked: readonly string[], ...more: Edit[]) =>
    writeCluster(place, [
      ...oneOfEach,
      ...labEdits(suite.lab),
      [['install'], true],
      [['etcd'], { ca: 'own' }],
      [['users'], [{ name: 'jane' }]],
      [['revoked'], revoked],
      ...more,
    ])
  const listed: string[] = []

  test('is listed after all that can be reached has the new pair, and the next run has nothing to do', async () => {
    write([])
    await exits(0, place, 'bootstrap')
    const old = certificateOf('worker0')
    listed.push(entryOf('worker0'), entryOf('jane'))
    write(listed)
    const plan = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(plan.stdout, /cut off last, once the new keys are in use: sha256:/)
    // Of phases alone, or of one node, the run can't know.
    for (const args of [
      ['revoked', 'install'],
      ['bootstrap', '--node', 'worker0'],
    ]) {
      const ran = await exits(4, place, ...args)
      assert.match(ran.stdout, /not cut off yet: a run over everything does it/)
      assert.deepEqual(onControl(), [])
    }
    const ran = await exits(0, place, 'bootstrap')
    assert.match(ran.stdout + ran.stderr, /the new keys are in use, so the old ones are listed now: sha256:/)
    assert.deepEqual(onControl(), listed)
    assert.ok(!certificateOf('worker0').publicKey.equals(old.publicKey))
    const key = readFileSync(join(suite.lab.node('worker0').home, 'worker0-key.pem'))
    assert.deepEqual(key, readFileSync(join(auth, 'worker0-key.pem')))
    assert.match((await exits(0, place, 'bootstrap')).stdout, / 0 made/)
  })

  test('is listed although a node is down, and who is cut off with it is named', async () => {
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('worker0').stop()
    const plan = await exits(1, place, 'bootstrap', '--dry-run')
    const ran = await exits(1, place, 'bootstrap')
    for (const { stdout } of [plan, ran])
      assert.match(
        stdout,
        /To do +worker0 may be cut off with the old key \(it could not be reached\).*bootstrap -- --node worker0/,
      )
    assert.deepEqual(onControl(), listed)
    await suite.lab.node('worker0').start()
    await exits(0, place, 'bootstrap')
  })

  test('of a unit that install leaves out it is named; and what is wrong with a node that reads none holds nothing', async () => {
    const leftOut: Edit = [['install'], { units: { 'kube-proxy': false } }]
    write([...listed, entryOf('kube-proxy')], leftOut)
    const plan = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(
      plan.stdout,
      /To do +worker0 may be cut off with the old key \(kube-proxy, which install\.units leaves out\)/,
    )
    listed.push(entryOf('jane'))
    write(listed, leftOut)
    await suite.lab.node('worker0').restart({ env: { PATH: '/nowhere' } })
    await exits(1, place, 'bootstrap')
    assert.deepEqual(onControl(), listed)
    await suite.lab.node('worker0').restart({ env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
  })

  test('is listed by nobody while no control node can be reached', async () => {
    write([...listed, entryOf('jane')], [['localKubeconfig'], false])
    await suite.lab.node('control0').stop()
    assert.match((await exits(1, place, 'bootstrap')).stdout, /not cut off yet/)
    assert.deepEqual([...listAt(auth).keys()], listed)
    await suite.lab.node('control0').start()
  })

  test('holds a plan to its hash, in the run that lists it too', async () => {
    listed.push(entryOf('jane'))
    write(listed)
    const { stdout } = await exits(4, place, 'bootstrap', '--dry-run')
    const [hash = ''] = /[0-9a-f]{64}/.exec(stdout) ?? []
    await exits(0, place, 'bootstrap', '--expect-plan', hash)
    assert.deepEqual(onControl(), listed)
  })

  test('is not listed where something else failed', async () => {
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('worker0').restart({ env: { PATH: '/nowhere' } })
    const ran = await exits(1, place, 'bootstrap')
    assert.match(ran.stdout, /To do +sha256:.* not cut off yet: /)
    assert.deepEqual(onControl(), listed.slice(0, -1))
    await suite.lab.node('worker0').restart({ env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
    await exits(0, place, 'bootstrap')
    assert.deepEqual(onControl(), listed)
  })

  test('stays listed with each certificate over it, even if auth/backup and the list are gone', async () => {
    const before = listAt(auth)
    for (const folder of readdirSync(join(auth, 'backup'))) rmSync(join(auth, 'backup', folder), { recursive: true })
    await exits(0, place, 'bootstrap')
    assert.deepEqual(listAt(auth), before)
    rmSync(join(auth, 'authorization-config.yaml'))
    const { stderr, stdout } = await exits(3, place, 'bootstrap')
    assert.match(stderr + stdout, /would be let in again.*\n.*read it back: /)
    assert.deepEqual([...listAt(suite.lab.node('control0').home)], [...before])
  })
})
