/**
 * On real machines: what the units of a running cluster read is guarded where they read it, whatever stands in the
 * nodes' folders. What is refused by a look alone: test/tasks/deploy/guards.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { messageOf, type Ran } from '../support/harderway.ts'
import {
  assertNothingLeft,
  fingerprint,
  mustRun,
  readStarts,
  running,
  shownBy,
  skip,
  startedSince,
  startRunning,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const printed = ({ stdout, stderr }: Ran) => stdout + stderr

describe('what units read, on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args)

  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

  test('an etcd of a user of its own keeps its files, and gets renewed ones that it can read; what others can read, or it can not, is repaired', async () => {
    for (const name of controls) {
      await on(name, 'id etcd >/dev/null 2>&1 || useradd --system --no-create-home etcd')
      lab.machine(name).write('/etc/systemd/system/etcd.service.d/user.conf', '[Service]\nUser=etcd\n')
      await on(
        name,
        'chown -R etcd:etcd /var/lib/etcd /etc/etcd; chmod 600 /etc/etcd/kubernetes-key.pem; systemctl daemon-reload; systemctl restart etcd',
      )
      await allWell(lab)
    }
    const starts = await readStarts(lab)
    // A change of owner is one that etcd may have read before or after.
    await must(0, 'install')
    assert.deepEqual(
      (await startedSince(lab, starts)).filter((unit) => unit.endsWith('etcd')),
      [],
    )
    const access = (name: string) => on(name, 'stat -c "%U %a %n" /etc/etcd/*.pem')
    const expected =
      'etcd 644 /etc/etcd/ca.pem\netcd 600 /etc/etcd/kubernetes-key.pem\netcd 644 /etc/etcd/kubernetes.pem\n'
    for (const name of controls) assert.equal(await access(name), expected)
    await must(0, 'cluster-cert', '--force')
    await must(0, 'bootstrap')
    for (const name of controls) {
      assert.equal(await access(name), expected)
      assert.equal(await shownBy(lab, name, 2379), await fingerprint(lab, 'kubernetes'))
    }
    await on(
      'control0',
      'chmod 644 /etc/etcd/kubernetes-key.pem; chown root:root /etc/etcd/kubernetes.pem; chmod 600 /etc/etcd/kubernetes.pem',
    )
    await must(0, 'install')
    assert.equal(await access('control0'), expected)
    await allWell(lab)
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
    const ran = await lab.run('install', '--node', 'control0', '--json')
    assert.equal(ran.status, 1, printed(ran))
    assert.match(String(messageOf(ran, 'install/control0')), /kube-scheduler healthy again/)
    assert.equal(await on('control0', `cmp ${place} /root/good; systemctl is-active kube-scheduler`), 'active\n')
    await on('control0', `cp /root/scheduler ${program}`)
    lab.write(...running())
    await must(0, 'bootstrap')
    await assertNothingLeft(lab)
  })
})
