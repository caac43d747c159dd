/** A rotation of the CA of a live cluster that is refused, undone or stopped, on real machines. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import {
  fingerprint,
  mustRun,
  running,
  shownBy,
  shutdownDelay,
  skip,
  startRunning,
  statusOf,
  unnoticed,
} from '../support/running.ts'

describe('a rotation of the CA that is stopped, on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)

  before(async () => {
    lab = await startRunning(shutdownDelay)
  })
  after(() => lab?.stop())

  test('an API server that cluster.yaml does not have holds every rotation, by name, before anything is changed', async () => {
    const identity = 'sha256sum auth/ca*.pem auth/service-account*.pem auth/encryption-config.yaml'
    const before = await lab.exec(identity)
    const nodes = lab.all.map(({ name, role, ip: address }) => ({ name, role, ip: address }))
    const held = async (words: RegExp) => {
      for (const name of ['ca', 'service-account', 'encryption-key'])
        assert.match((await mustRun(lab, 3, 'rotate', name, '--force')).stderr.replace(/\s+/g, ' '), words)
    }
    lab.write(...running(), [['nodes'], nodes.filter(({ name }) => name !== 'control2')])
    await held(
      /can't reach all that need the change.* the API server on control2, which is no control node's of cluster\.yaml.*the etcd member control2 \(/,
    )
    // One that is stopped is gone; its etcd is still a member.
    await on('control2', 'systemctl stop kube-apiserver')
    await eventually(async () => {
      const { stderr } = await lab.run('rotate', 'ca', '--force', '--yes')
      assert.doesNotMatch(stderr, /the API server on control2/)
    })
    await held(/can't reach all that need the change[^;]* the etcd member control2 \(/)
    await on('control2', 'systemctl start kube-apiserver')
    lab.write(...running({ units: { 'kube-apiserver': false } }))
    await held(/kube-apiserver on each control node; add it to install\.units/)
    assert.equal(await lab.exec(identity), before)
    lab.write(...running())
    await mustRun(lab, 0, 'bootstrap')
  })

  test('a next CA, also to a node that comes in the middle, can be undone: the same certificates are accepted', async () => {
    await unnoticed(lab, async () => {
      const nodes = lab.all.map(({ name, role, ip: address }) => ({ name, role, ip: address }))
      lab.write(...running(), [['nodes'], nodes.filter(({ name }) => name !== 'worker1')])
      await mustRun(lab, 0, 'rotate', 'ca', '--force', '--yes')
      const earlier = await shownBy(lab, 'worker1', 10250)
      // A node that comes in the middle is brought to the present stage before anything else begins.
      lab.write(...running())
      await mustRun(lab, 0, 'rotate', 'ca')
      assert.notEqual(await shownBy(lab, 'worker1', 10250), earlier)
      assert.equal(await shownBy(lab, 'worker1', 10250), await fingerprint(lab, 'worker1'))
      const refused = await mustRun(lab, 3, 'rotate', 'encryption-key')
      assert.match(refused.stderr, /a rotation of the CA is in progress/)
      await mustRun(lab, 0, 'rotate', 'ca', '--undo')
    })
    await lab.exec('test ! -e auth/ca-next.pem -a ! -e auth/ca-next-key.pem -a ! -e auth/ca-cross.pem')
    await eventually(() => mustRun(lab, 0, 'bootstrap', '--dry-run'))
    for (const { name, ip } of lab.of('control'))
      assert.equal(await statusOf(lab, `https://${ip}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
  })
})
