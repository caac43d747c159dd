/** Kubernetes The Hard Way on real machines, on its first day and after its last: test/machines/kubernetes-hard-way.test.ts. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { hardWay } from '../lab/machines/hard-way.ts'
import { onlyMachines, startMachines } from '../lab/machines/machines.ts'
import { idsOf } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import { assertNothingLeft, mustRun, skip } from '../support/running.ts'
import { entry, startFollowed, takeOver } from '../support/taken-over.ts'

describe('Kubernetes The Hard Way on its first day', { skip }, () => {
  test('a worker with folders and no units gets its files, and then there is nothing to do', async () => {
    await using lab = await startMachines(entry, onlyMachines(hardWay, 'server', 'node-0'))
    lab.write([['certificates', 'key'], 'ecdsa-p256'], [['install'], true])
    await lab.machine('node-0').exec('mkdir -p /var/lib/kubelet /var/lib/kube-proxy')
    await mustRun(lab, 0, 'bootstrap')
    const placed = ['kubelet/kubelet.crt', 'kubelet/kubelet.key', 'kubelet/kubeconfig', 'kube-proxy/kubeconfig']
    await lab.machine('node-0').exec(`cd /var/lib && ls -- ${placed.join(' ')}`)
    assert.deepEqual(idsOf(await mustRun(lab, 0, 'bootstrap', '--json'), 'built'), [])
    await mustRun(lab, 0, 'status', '--on-nodes')
    await assertNothingLeft(lab)
  })
})

describe('Kubernetes The Hard Way with everything expired', { skip }, () => {
  test('works again after the three commands that are printed', async () => {
    const day = 86_400_000
    await using lab = await startFollowed({ days: 365, now: new Date(Date.now() - 400 * day) })
    assert.match(await takeOver(lab), /the CA expired on .*; renew it:\n.* ca --renew\nthen run:\n.* bootstrap/)
    await mustRun(lab, 0, 'ca', '--renew')
    await mustRun(lab, 0, 'bootstrap')
    await eventually(() => mustRun(lab, 0, 'status', '--on-nodes'))
    assert.equal(await lab.exec('kubectl get nodes -o name'), 'node/node-0\nnode/node-1\n')
  })
})
