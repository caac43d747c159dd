/** Phase `install`, on real machines: what runs has loaded what is asked for, and nothing else is restarted. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Diff, namesOf } from '../../lib/results.ts'
import { installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import { messageOf, type Ran, withStatus } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import {
  assertAsked,
  assertNothingLeft,
  everyInstall,
  everywhere,
  fingerprint,
  installs,
  mustRun,
  probe,
  readStarts,
  restartedKubelets,
  running,
  shownBy,
  skip,
  startedSince,
  unload,
} from '../support/running.ts'

/** `control0 etcd` of each restart that is planned, sorted. */
const restartsIn = ({ events }: Ran) =>
  events
    .filter(({ type }) => type === 'stale')
    .flatMap(({ id, diffs }) =>
      namesOf(diffs as Diff[], 'restart').map((unit) => `${String(id).replace('install/', '')} ${unit}`),
    )
    .toSorted()
const stepsOf = ({ events }: Ran, id: string) =>
  events.flatMap((event) => (event.type === 'step' && event.id === id ? [event.step] : []))
const controls = ['install/control0', 'install/control1', 'install/control2']
const clients = [
  ...['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit)),
  ...['kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit, 'worker')),
].toSorted()
const restartedOf = (name: string) => restartedKubelets.filter((unit) => unit === `${name} kubelet`)
const ofComponents = [...controls, 'install/worker0', 'install/worker1']

describe('install on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--json')
  const rights = (name: string, may: boolean) =>
    on(name, may ? 'mv /root/rights /etc/sudoers.d/ubuntu' : 'mv /etc/sudoers.d/ubuntu /root/rights')
  const serving = '/var/lib/kubernetes/service-account.pem'

  before(async () => {
    lab = await startMachines(join(import.meta.dirname, '../support/short-waits.ts'))
    lab.write(...running())
  })
  after(() => lab?.stop())

  test('on the first day does nothing, and asks for nothing that needs root', async () => {
    for (const { name } of lab.all) await rights(name, false)
    const ran = await must(0, 'bootstrap')
    assert.deepEqual(installs(ran, 'fresh'), everyInstall)
    for (const id of everyInstall) assert.match(String(messageOf(ran, id)), /not installed yet/)
    assert.equal((await must(0, 'bootstrap', '--dry-run')).status, 0)
    for (const { name } of lab.all) await rights(name, true)
  })

  test("makes the guide's kubeconfigs name their pairs by file, with one restart of those who read them", async () => {
    await installAll(lab)
    const starts = await readStarts(lab)
    const planned = await must(4, 'install', '--dry-run')
    assert.deepEqual(installs(await must(0, 'install'), 'built'), ofComponents)
    assert.deepEqual(await startedSince(lab, starts), clients)
    assert.deepEqual(restartsIn(planned), clients)
    const again = await readStarts(lab)
    assert.deepEqual(installs(await must(0, 'install'), 'fresh'), everyInstall)
    assert.deepEqual(await startedSince(lab, again), [])
    await assertNothingLeft(lab)
  })

  test('says where it may not become root, and what to do, once for all such nodes', async () => {
    for (const name of ['worker0', 'worker1']) await rights(name, false)
    const ran = await lab.run('install', '--verbose')
    for (const name of ['worker0', 'worker1']) await rights(name, true)
    assert.equal(ran.status, 1, ran.stdout)
    assert.match(ran.stdout, /install\/control2: .* up to date/)
    assert.match(ran.stdout + ran.stderr, /can't become root with sudo -n \(sudo: a password is required/)
    assert.equal((ran.stdout + ran.stderr).split('NOPASSWD').length, 2, ran.stdout + ran.stderr)
  })

  test('each gateway is told of each API server, and none before it is its turn', async () => {
    const nodes = lab.all.map(({ name, role, ip }) => ({ name, role: name === 'worker1' ? 'gateway' : role, ip }))
    const told = (word: string) => `echo ${word} "$NODE $ADDRESS" >>told`
    lab.write(...running({ drain: told('drain'), undrain: told('undrain') }), [['nodes'], nodes])
    const ran = await must(0, 'install', '--node', 'control0', '--node', 'control1', '--force')
    assert.deepEqual(stepsOf(ran, 'install/control0').slice(0, 11), [
      'installing 24 files',
      'restarting etcd',
      'waiting for /health of etcd',
      'draining control0',
      'restarting kube-apiserver',
      'waiting for /readyz of kube-apiserver',
      'undraining control0',
      // None of these queries another: at once.
      ...['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'].map((unit) => `restarting ${unit}`),
    ])
    const expected = ['control0 192.168.1.11', 'control1 192.168.1.12'].flatMap((name) => [
      `drain ${name}`,
      `undrain ${name}`,
    ])
    for (const name of ['gateway', 'worker1'])
      assert.deepEqual((await on(name, 'cat /home/ubuntu/told')).split('\n').slice(0, -1), expected, name)
    lab.write(...running())
    // As a worker again it has a new key.
    await must(0, 'bootstrap')
  })

  test('a SAN that is added is served by every API server and etcd, without a restart', async () => {
    const starts = await readStarts(lab)
    lab.write(...running({}, [['api', 'extraSANs'], ['api.example.org']]))
    const planned = await must(4, 'bootstrap', '--dry-run')
    assert.deepEqual(installs(planned, 'stale'), controls, String(messageOf(planned, 'install/worker1')))
    const { diffs } = planned.events.findLast(({ type }) => type === 'stale') ?? {}
    const installed = ['/etc/etcd/kubernetes.pem', '/var/lib/kubernetes/kubernetes.pem']
    assert.deepEqual([namesOf(diffs as Diff[], 'install'), restartsIn(planned)], [installed, []])
    assert.deepEqual(installs(await must(0, 'bootstrap'), 'built'), controls)
    const asked = await fingerprint(lab, 'kubernetes')
    for (const { name } of lab.of('control'))
      for (const port of [6443, 2379, 2380]) assert.equal(await shownBy(lab, name, port), asked, `${name}:${port}`)
    assert.deepEqual(await startedSince(lab, starts), [])
    await assertNothingLeft(lab)
  })

  test('renews every certificate: no process but a kubelet before 1.36 is restarted, and no request fails', async () => {
    lab.write(...running())
    await on('worker1', 'systemctl stop kube-proxy')
    await using probing = probe(lab)
    const starts = await readStarts(lab)
    await must(0, 'certs', '--force')
    const planned = await must(4, 'bootstrap', '--dry-run')
    assert.deepEqual(restartsIn(planned), [])
    assert.match(String(messageOf(planned, 'install/worker0')), /w.* differ in \/var\/lib\/kubelet; reload kubelet/)
    const ran = await must(0, 'bootstrap')
    assert.deepEqual(installs(ran, 'built'), ofComponents)
    assert.deepEqual(await startedSince(lab, starts), restartedKubelets)
    assert.match(JSON.stringify(ran.events), /"kube-proxy does not run; its files are installed"/)
    const { counts, failures, cut } = await probing.end()
    assert.deepEqual([failures, cut], [[], 0])
    assertAsked(counts)
    for (const { name } of lab.of('control'))
      for (const port of [6443, 2379, 2380])
        assert.equal(await shownBy(lab, name, port), await fingerprint(lab, 'kubernetes'), `${name}:${port}`)
    // A kubelet would serve its new pair to none but clients that name it, unless it was restarted.
    const pair = await on('worker0', 'cat /var/lib/kubelet/worker0-client.pem')
    assert.equal(pair, await lab.exec('cat auth/worker0.pem; echo; cat auth/worker0-key.pem; echo'))
    assert.equal(await shownBy(lab, 'worker0', 10250), await fingerprint(lab, 'worker0'))
    // A unit that its owner has stopped stays so, with the new pair in its place.
    assert.equal(await on('worker1', 'systemctl is-active kube-proxy || true'), 'inactive\n')
    assert.equal(
      await on('worker1', 'cat /var/lib/kube-proxy/kube-proxy-client.pem'),
      await lab.exec('cat auth/kube-proxy.pem; echo; cat auth/kube-proxy-key.pem; echo'),
    )
    await on('worker1', 'systemctl start kube-proxy')
    // For as long as the program waits for units that read a pair again at some time.
    const settled = await withStatus(0, start(lab.place, ['install', '--dry-run', '--json'], { by: lab.within }).ended)
    assert.deepEqual(installs(settled, 'fresh'), everyInstall)
    await assertNothingLeft(lab)
  })

  test('a node whose API server can not be drained is left as it runs, undrained; the next run knows what is not loaded', async () => {
    await unload(lab, 'control0', serving)
    lab.write(...running({ drain: 'echo no such backend >&2; exit 3' }))
    const starts = await readStarts(lab)
    const ran = await must(1, 'install')
    assert.match(
      JSON.stringify(ran.events),
      /gateway: install.drain for control0 ended with status 3 \(no such backend/,
    )
    assert.deepEqual(await startedSince(lab, starts), [])
    await assertNothingLeft(lab)
    lab.write(...running())
    const planned = await must(4, 'install', '--dry-run')
    assert.match(
      String(messageOf(planned, 'install/control0')),
      /kube-apiserver has not loaded service-account.pem; drain and restart kube-apiserver/,
    )
    await must(0, 'install')
    assert.deepEqual(await startedSince(lab, starts), ['control0 kube-apiserver'])
  })

  test('while a control node is down a renewal is loaded elsewhere; what restarts a unit waits, unless its node is named', async () => {
    await on('control0', 'systemctl stop ssh.socket ssh.service; systemctl mask --runtime --quiet ssh.service')
    await lab.run('node-certs/worker0', '--force')
    const starts = await readStarts(lab)
    const renewed = await lab.run('bootstrap', '--json')
    assert.deepEqual([renewed.status, installs(renewed, 'built')], [1, ['install/worker0']], renewed.stdout)
    await unload(lab, 'worker1', '/var/lib/kube-proxy/kubeconfig')
    const ran = await lab.run('bootstrap')
    assert.equal(ran.status, 1, ran.stdout)
    assert.deepEqual(await startedSince(lab, starts), restartedOf('worker0'))
    assert.match(ran.stdout, /^install\/worker1: skipped; .* must succeed first/m)
    const without = await must(0, 'install', '--node', 'worker1')
    assert.deepEqual(installs(without, 'built'), ['install/worker1'])
    assert.deepEqual(await startedSince(lab, starts), [...restartedOf('worker0'), 'worker1 kube-proxy'])
    await on('control0', 'systemctl unmask --runtime --quiet ssh.service; systemctl start ssh.service')
    await must(0, 'install')
  })
})
