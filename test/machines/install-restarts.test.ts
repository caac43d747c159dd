/**
 * Phase `install`, on real machines: which units are restarted, in which order, and what if one does not become
 * healthy.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { isSince } from '../lab/machines/shared.ts'
import { messageOf } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import {
  assertNothingLeft,
  everyInstall,
  everywhere,
  installs,
  mustRun,
  probe,
  readStarts,
  running,
  skip,
  startedSince,
  startRunning,
  unload,
} from '../support/running.ts'

describe('restarts on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--json')

  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

  describe('a node that a killed run has drained', () => {
    const told = (word: string) => `echo ${word} "$NODE" >>told`
    const mark = () => on('control0', 'mkdir -p /var/lib/harderway && touch /var/lib/harderway/drained')
    const saidThere = () => on('gateway', 'cat /home/ubuntu/told 2>/dev/null || true')
    const saying = (...words: string[]) => words.map((word) => `${word} control0\n`).join('')

    test('is undrained by the next one, after what it has to restart', async () => {
      lab.write(...running({ drain: told('drain'), undrain: told('undrain') }))
      await mark()
      assert.match(
        JSON.stringify((await must(4, 'install', '--dry-run')).events),
        /may be left drained by an interrupted/,
      )
      await must(0, 'install')
      assert.equal(await saidThere(), saying('undrain'))
      await mark()
      // Read by the API server alone.
      await unload(lab, 'control0', '/var/lib/kubernetes/service-account.pem')
      await on('gateway', 'rm -f /home/ubuntu/told')
      await must(0, 'install')
      assert.equal(await saidThere(), saying('drain', 'undrain'))
      await must(0, 'install', '--dry-run')
      await assertNothingLeft(lab)
    })
  })

  test('of several that are restarted at once one does not become healthy: all have their old files again, and the run stops', async () => {
    const unit = '/etc/systemd/system/kube-scheduler.service'
    const place = 'cat /var/lib/kubernetes/kube-*.kubeconfig /var/lib/kube-proxy/kubeconfig'
    await on('control0', `sed -i.good 's/--v=2/--no-such-flag/' ${unit}; systemctl daemon-reload`)
    const nodes = ['control0', 'control1']
    for (const name of nodes)
      await on(
        name,
        "for f in /var/lib/kubernetes/kube-*.kubeconfig /var/lib/kube-proxy/kubeconfig; do echo '# old' >>$f; done",
      )
    lab.write(...running({ timeout: '5s' }))
    const startsOf = async (name: string) => (await lab.machine('control0').journal(name)).split('\nStarted ').length
    const restarted = ['kube-controller-manager', 'kube-proxy']
    const [starts, before] = [await readStarts(lab), await Promise.all(restarted.map(startsOf))]
    const old = await Promise.all(nodes.map((name) => on(name, place)))
    const ran = await must(1, 'bootstrap')
    const message = String(messageOf(ran, 'install/control0'))
    assert.match(message, /kube-scheduler is not healthy; /)
    assert.match(
      message,
      /restored the old files, restarted kube-controller-manager, kube-scheduler, kube-proxy, but kube-scheduler not healthy/,
    )
    // The unit's last words, and the command that shows more.
    const told = JSON.stringify(ran.events.filter(({ id }) => id === 'install/control0'))
    assert.match(told, /unknown flag: --no-such-flag/)
    assert.match(told, /journalctl -u kube-scheduler/)
    // The others have nothing to restart.
    assert.deepEqual(installs(ran, 'skipped'), ['install/control1'])
    const units = ['kube-controller-manager', 'kube-proxy', 'kube-scheduler']
    assert.deepEqual(
      await startedSince(lab, starts),
      units.map((each) => `control0 ${each}`),
    )
    // With the new files, and with the old ones.
    assert.deepEqual(
      await Promise.all(restarted.map(startsOf)),
      before.map((count) => count + 2),
    )
    assert.deepEqual(await Promise.all(nodes.map((name) => on(name, place))), old)
    await on('control0', `mv ${unit}.good ${unit}; systemctl daemon-reload; systemctl restart kube-scheduler`)
    lab.write(...running())
    assert.deepEqual(installs(await must(0, 'bootstrap'), 'built'), ['install/control0', 'install/control1'])
    await assertNothingLeft(lab)
  })

  test('what its owner restarts while a run is busy on another node is not restarted again', async () => {
    const held = 'touch /run/held; until [ -e /run/released ]; do sleep 0.1; done'
    lab.write(...running({ units: { 'kube-scheduler': { restart: `${held}; systemctl restart kube-scheduler` } } }))
    const path = '/var/lib/kubernetes/kube-scheduler.kubeconfig'
    for (const name of ['control0', 'control1']) await on(name, `chmod 400 ${path} && chmod 600 ${path}`)
    const run = must(0, 'install')
    await eventually(() => on('control0', 'test -e /run/held'))
    await on('control1', 'touch /run/released; systemctl restart kube-scheduler')
    const starts = await readStarts(lab)
    await on('control0', 'touch /run/released')
    await run
    assert.deepEqual(await startedSince(lab, starts), ['control0 kube-scheduler'])
    lab.write(...running())
    for (const name of ['control0', 'control1']) await on(name, 'rm -f /run/held /run/released')
  })

  test('a CA that is renewed: etcd and what reads it at its start is restarted, one control node after the other', async () => {
    const starts = await readStarts(lab)
    await using probing = probe(lab)
    await must(0, 'ca', '--renew')
    const ran = await must(0, 'bootstrap')
    assert.deepEqual((await probing.end()).failures, [])
    assert.deepEqual(installs(ran, 'built'), everyInstall)
    const now = await readStarts(lab)
    // A kubelet and a proxy read the CA of their kubeconfig again from 1.36 on.
    const clients = ['kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit))
    const onWorkers = ['kubelet', 'kube-proxy'].flatMap((unit) => everywhere(unit, 'worker'))
    const servers = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'].flatMap((unit) =>
      everywhere(unit),
    )
    const before = isSince('1.36') ? [] : [...clients, ...onWorkers]
    assert.deepEqual(await startedSince(lab, starts), [...servers, ...before, 'gateway ldirectord'].toSorted())
    const times = (name: string) =>
      [...now].flatMap(([unit, time]) => (unit.startsWith(name) && time !== starts.get(unit) ? [time] : []))
    const order = ['gateway', 'control0', 'control1', 'control2', ...(before.length > 0 ? ['worker'] : [])]
    for (const [name, next] of order.slice(1).map((each, i) => [order[i] ?? '', each] as const))
      assert.ok(Math.max(...times(name)) < Math.min(...times(next)), `${name} before ${next}`)
    await assertNothingLeft(lab)
  })
})
