/**
 * Phase `install`, on real machines: which units are restarted, in which order, and what if one does not become
 * healthy.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { isSince } from '../lab/machines/shared.ts'
import { messageOf } from '../support/harderway.ts'
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

  test('a node that a killed run has drained is undrained by the next one, after what it has to restart', async () => {
    const told = (word: string) => `echo ${word} "$NODE" >>told`
    const mark = () => on('control0', 'mkdir -p /var/lib/harderway && touch /var/lib/harderway/drained')
    const saidThere = () => on('gateway', 'cat /home/ubuntu/told 2>/dev/null || true')
    const saying = (...words: string[]) => words.map((word) => `${word} control0\n`).join('')
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

  test('what a killed run left, and a unit does not start with: the old files are tried, and the unit is healthy with them', async () => {
    const place = '/var/lib/kubernetes/kube-scheduler.kubeconfig'
    await on(
      'control0',
      `cp ${place} /root/new; echo '# old' >>${place}; cp ${place} /root/good; cp -p ${place} ${place}.harderway-old`,
    )
    const program = '/usr/local/bin/kube-scheduler'
    await on('control0', `cp ${program} /root/scheduler; sed -i '2i cmp -s /root/good ${place} || exit 1' ${program}`)
    await on('control0', `cp /root/new ${place}; systemctl restart kube-scheduler || true`)
    lab.write(...running({ timeout: '5s' }))
    const ran = await must(1, 'install', '--node', 'control0')
    assert.match(String(messageOf(ran, 'install/control0')), /kube-scheduler healthy again/)
    assert.equal(await on('control0', `cmp ${place} /root/good; systemctl is-active kube-scheduler`), 'active\n')
    await on('control0', `cp /root/scheduler ${program}`)
    lab.write(...running())
    await must(0, 'bootstrap')
    await assertNothingLeft(lab)
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
