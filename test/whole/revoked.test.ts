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
  const suite = localPlace('control0', 'control1', 'worker0', 'gateway')
  const { place } = suite
  const auth = join(place, 'auth')
  const certificateOf = (name: string) => new X509Certificate(readFileSync(join(auth, `${name}.pem`)))
  const entryOf = (name: string) => `sha256:${certificateOf(name).fingerprint256.replaceAll(':', '').toLowerCase()}`
  const listAt = (folder: string) =>
    readRevoked(readFileSync(join(folder, 'authorization-config.yaml'), 'utf8')) ?? assert.fail('no list')
  const onControl = () => listAt(suite.lab.node('control0').home).entries
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
    assert.match(plan.stdout, /Revoked keys\n.*revoked: sha256:/)
    // Of phases alone, or of one node, the run can't know.
    for (const args of [
      ['revoked', 'install'],
      ['bootstrap', '--node', 'worker0'],
    ]) {
      const ran = await exits(4, place, ...args)
      assert.match(ran.stdout, /it revokes sha256:.* once the new keys are in use/)
      assert.deepEqual(onControl(), [])
    }
    await exits(4, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
    assert.ok(!certificateOf('worker0').publicKey.equals(old.publicKey))
    const key = readFileSync(join(suite.lab.node('worker0').home, 'worker0-key.pem'))
    assert.deepEqual(key, readFileSync(join(auth, 'worker0-key.pem')))
    const again = await exits(4, place, 'bootstrap')
    assert.match(again.stdout, / 0 made/)
    // No API server is there yet.
    assert.match(again.stdout, /To do +revoked is enforced on 0 of 1 control node; not on control0/)
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
        /worker0 may lose access with the old key \(it could not be reached\).*bootstrap -- --node worker0/,
      )
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').start()
    await exits(4, place, 'bootstrap')
  })

  test('of a unit that install leaves out it is named; and what is wrong with a node that reads none holds nothing', async () => {
    const leftOut: Edit = [['install'], { units: { 'kube-proxy': false } }]
    write([...listed, entryOf('kube-proxy')], leftOut)
    const plan = await exits(4, place, 'bootstrap', '--dry-run')
    assert.match(
      plan.stdout,
      /worker0 may lose access with the old key \(kube-proxy, which install\.units leaves out\)/,
    )
    listed.push(entryOf('jane'))
    write(listed, leftOut)
    await suite.lab.node('worker0').restart({ env: { PATH: '/nowhere' } })
    await exits(1, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').restart({ env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } })
  })

  test('is listed by nobody while no control node can be reached', async () => {
    write([...listed, entryOf('jane')], [['localKubeconfig'], false])
    await suite.lab.node('control0').stop()
    assert.match((await exits(1, place, 'bootstrap')).stdout, /it revokes sha256:/)
    assert.deepEqual(listAt(auth).entries, listed.toSorted())
    await suite.lab.node('control0').start()
  })

  test('holds a plan to its hash, in the run that lists it too', async () => {
    listed.push(entryOf('jane'))
    write(listed)
    const { stdout } = await exits(4, place, 'bootstrap', '--dry-run')
    const [, hash = ''] = /Plan hash: ([0-9a-f]{64})/.exec(stdout) ?? []
    await exits(4, place, 'bootstrap', '--expect-plan', hash)
    assert.deepEqual(onControl(), listed.toSorted())
  })

  test('a worker that fails does not decide when; a control node that fails holds it, and that is said', async () => {
    const broken = { env: { PATH: '/nowhere' } }
    const whole = { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } }
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('worker0').restart(broken)
    const ran = await exits(1, place, 'bootstrap')
    assert.match(ran.stdout, /worker0 may lose access with the old key \(it failed\).*bootstrap -- --node worker0/)
    assert.deepEqual(onControl(), listed.toSorted())
    await suite.lab.node('worker0').restart(whole)
    await exits(4, place, 'bootstrap')
    listed.push(entryOf('kube-proxy'))
    write(listed)
    await suite.lab.node('control0').restart(broken)
    const held = await exits(1, place, 'bootstrap')
    assert.match(held.stdout, /To do +run .*bootstrap; it revokes sha256:/)
    assert.match(
      held.stdout,
      /until a run reaches control0, its API server may refuse new certificates of .*system:node:worker0/,
    )
    assert.deepEqual(listAt(auth).entries, listed.slice(0, -1).toSorted())
    await suite.lab.node('control0').restart(whole)
    await exits(4, place, 'bootstrap')
    assert.deepEqual(onControl(), listed.toSorted())
  })

  test('of one node: its new certificate is said to be refused until a run over everything, and other nodes are not judged', async () => {
    const nodes = (...sans: string[]): Edit => [
      ['nodes'],
      [
        { name: 'control0', role: 'control', ip: '192.168.1.11' },
        { name: 'control1', role: 'control', ip: '192.168.1.12' },
        { name: 'worker0', role: 'worker', ip: '192.168.1.14', sans },
        { name: 'gateway', role: 'gateway', ip: '192.168.1.10' },
      ],
    ]
    write(listed, nodes())
    await exits(4, place, 'bootstrap')
    const first = await exits(4, place, 'bootstrap', '--node', 'control0')
    assert.match(first.stdout, /To do +revoked is enforced on 0 of 1 control node; not on control0\n/)
    await exits(0, place, 'bootstrap', '--node', 'worker0')
    write(listed, nodes('worker0.example.org'))
    const { stdout } = await exits(4, place, 'bootstrap', '--node', 'worker0')
    assert.match(
      stdout,
      /To do +run npm run bootstrap; until then API servers refuse the new certificate of system:node:worker0\n/,
    )
    assert.doesNotMatch((await exits(4, place, 'bootstrap')).stdout, /until then API servers refuse/)
    await exits(0, place, 'bootstrap', '--node', 'worker0')
    write(listed, nodes())
    await exits(4, place, 'bootstrap')
  })

  test('stays listed with each certificate over it, even if auth/backup and the list are gone', async () => {
    const before = listAt(auth)
    for (const folder of readdirSync(join(auth, 'backup'))) rmSync(join(auth, 'backup', folder), { recursive: true })
    await exits(4, place, 'bootstrap')
    assert.deepEqual(listAt(auth), before)
    rmSync(join(auth, 'authorization-config.yaml'))
    const { stderr, stdout } = await exits(3, place, 'bootstrap')
    assert.match(stderr + stdout, /would be let in again.*\n.*read it back: /)
    assert.deepEqual(listAt(suite.lab.node('control0').home), before)
  })
})
