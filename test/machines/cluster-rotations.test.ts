/**
 * A rotation of the CA in a live cluster, on real machines, while a client sends requests all the time: none fails. No
 * file that a unit reads is where the guide has it, and cluster.yaml names none. Other rotations there:
 * test/long/rotations.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { isSince, realBinaries } from '../lab/machines/shared.ts'
import { eventually } from '../support/programs.ts'
import { recipes } from '../support/recipe.ts'
import {
  assertNothingLeft,
  everywhere,
  getObject,
  mustRun as mustRunOn,
  ownPaths,
  readStarts,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const clients = ['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy']
const ofClients = [...clients.flatMap((unit) => everywhere(unit)), ...everywhere('kubelet', 'worker')]
const allClients = [...ofClients, ...everywhere('kube-proxy', 'worker')].toSorted()
/** From 1.36 on a kubelet and a proxy say that they read the CA of their kubeconfig again. */
const ofControl = ['kube-controller-manager', 'kube-scheduler'].flatMap((unit) => everywhere(unit)).toSorted()
const restarted = isSince('1.36') ? ofControl : allClients

/** What was typed, but for the program. */
const typed = new Set<string>()
const mustRun: typeof mustRunOn = (lab, status, ...args) => {
  typed.add(args.join(' '))
  return mustRunOn(lab, status, ...args)
}

describe('a rotation of the CA on six machines', { skip }, () => {
  let lab: Machines
  const ip = (name: string) => lab.machine(name).ip

  /** What the stand-in does not play: the controller manager signs with the CA, and publishes it to pods. */
  const assertControllersKnowCA = async () => {
    const request = await lab.exec(
      'openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout csr-key.pem -subj /CN=someone 2>/dev/null | base64 -w0',
    )
    const spec = { request, signerName: 'kubernetes.io/kube-apiserver-client', usages: ['client auth'] }
    const csr = {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: 'one' },
      spec,
    }
    await lab.exec(`echo '${JSON.stringify(csr)}' | kubectl create -f - && kubectl certificate approve one`)
    await eventually(() =>
      lab.exec(
        'kubectl get csr one -o jsonpath={.status.certificate} | base64 -d >csr.pem && openssl verify -CAfile auth/ca.pem csr.pem',
      ),
    )
    await eventually(async () => {
      const { data } = await getObject(lab, 'control1', '/api/v1/namespaces/default/configmaps/kube-root-ca.crt')
      assert.equal(data['ca.crt'], await lab.exec('cat auth/ca.pem'))
    })
  }

  /**
   * On a busy computer a real leader may lose its lease and end: that is reported until systemd has started it again
   * for a while.
   */
  const assertNothingToDo = () => eventually(() => mustRun(lab, 0, 'bootstrap', '--dry-run'))

  before(async () => {
    lab = await startRunning(`${ownPaths}\n${shutdownDelay}`)
  })
  after(() => lab?.stop())

  test('the CA goes over to the next by a cross certificate, after new keys; every unit starts as often as is said', async () => {
    await lab.exec('mkdir old; cp auth/*.pem old')
    const opensEtcd = (pair: string) => statusOf(lab, `https://${ip('control0')}:2379/health`, pair)
    await unnoticed(lab, async () => {
      const starts = await readStarts(lab)
      await mustRun(lab, 0, 'certs', '--force')
      assert.match((await mustRun(lab, 0, 'rotate', 'ca')).stdout, /rotate ca --finish/)
      assert.deepEqual(await startedSince(lab, starts), restarted)
      for (const file of ['kubernetes', 'control0', 'worker0', 'admin'])
        for (const trusted of ['old/ca.pem', 'auth/ca-next.pem'])
          await lab.exec(`openssl verify -CAfile ${trusted} -untrusted auth/ca-cross.pem auth/${file}.pem`)
      assert.match((await mustRun(lab, 0, 'status')).stdout, /rotation of the CA in progress/)
      // What has leaked is accepted until --finish.
      assert.equal(await statusOf(lab, `https://${ip('control0')}:6443/api/v1/nodes`, 'old/admin'), '200')
      assert.equal(await opensEtcd('old/worker0'), '200')
      const again = await readStarts(lab)
      await mustRun(lab, 0, 'rotate', 'ca', '--finish')
      const servers = ['etcd', 'kube-apiserver', 'kube-controller-manager'].flatMap((unit) => everywhere(unit))
      const all = new Set([...restarted, ...servers, 'gateway ldirectord'])
      assert.deepEqual(await startedSince(lab, again), [...all].toSorted())
    })
    for (const name of controls) {
      assert.equal(await statusOf(lab, `https://${ip(name)}:6443/api/v1/nodes`, 'old/admin'), '401', name)
      assert.equal(await statusOf(lab, `https://${ip(name)}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
      for (const pair of ['old/kubernetes', 'old/worker0'])
        assert.equal(await statusOf(lab, `https://${ip(name)}:2379/health`, pair), '000', name)
      assert.equal(await statusOf(lab, `https://${ip(name)}:2379/health`, 'auth/kubernetes'), '200', name)
    }
    assert.equal(await statusOf(lab, `https://${ip('worker0')}:10250/healthz`, 'old/kubernetes'), '401')
    const { data } = await getObject(
      lab,
      'control0',
      '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication',
    )
    assert.equal(data['client-ca-file'], await lab.exec('cat auth/ca.pem'))
    if (realBinaries) await assertControllersKnowCA()
    await assertNothingToDo()
    await mustRun(lab, 0, 'verify')
    await assertNothingLeft(lab)
  })

  test('those were the commands of the recipe for a control node of which a key may have leaked', () => {
    const commands = recipes.get('A control node, auth/, or a backup of it')?.map((words) => words.join(' ')) ?? []
    // The others: kubernetes-hard-way.test.ts, and test/long/rotations.test.ts.
    const ofCa = commands.filter((command) => / ca\b|certs/.test(command))
    assert.deepEqual([ofCa.length, commands.length], [3, 10])
    for (const command of ofCa) assert.ok(typed.has(command), command)
  })
})
