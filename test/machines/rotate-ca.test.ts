/** A rotation of the CA of a live cluster, on real machines, while a client sends requests all the time: none fails. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { eventually } from '../support/eventually.ts'
import {
  assertNothingLeft,
  everywhere,
  fingerprint,
  getObject,
  mustRun,
  readStarts,
  running,
  shownBy,
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

  before(async () => {
    lab = await startRunning(shutdownDelay)
  })
  after(() => lab?.stop())

  test('the plan tells each stage, what it does to which unit, the proof and the way back, and touches nothing', async () => {
    const before = await lab.exec('ls auth')
    const { stdout } = await mustRun(lab, 4, 'rotate', 'ca', '--dry-run')
    assert.match(
      stdout,
      /Stage 1 of 2 \(to do\)[\s\S]*control0, control1, control2\n +etcd: by itself \(kubernetes\.pem\)/,
    )
    assert.match(stdout, /Stage 2 of 2 \(with --finish\)[\s\S]*kube-apiserver: by restart, drained/)
    assert.equal(await lab.exec('ls auth'), before)
  })

  test('the CA goes over to the next by a cross certificate; every unit starts as often as is said', async () => {
    await lab.exec('mkdir old; cp auth/*.pem old')
    await unnoticed(lab, async () => {
      const starts = await readStarts(lab)
      assert.match((await mustRun(lab, 0, 'rotate', 'ca')).stdout, /rotate ca --finish/)
      assert.deepEqual(await startedSince(lab, starts), allClients)
      for (const file of ['kubernetes', 'control0', 'worker0', 'admin'])
        for (const trusted of ['old/ca.pem', 'auth/ca-next.pem'])
          await lab.exec(`openssl verify -CAfile ${trusted} -untrusted auth/ca-cross.pem auth/${file}.pem`)
      assert.match((await mustRun(lab, 0, 'status')).stdout, /rotation of the CA is under way/)
      const again = await readStarts(lab)
      await mustRun(lab, 0, 'rotate', 'ca')
      assert.deepEqual(await startedSince(lab, again), [])
      await mustRun(lab, 0, 'rotate', 'ca', '--finish')
      const servers = [...everywhere('etcd'), ...everywhere('kube-apiserver'), 'gateway ldirectord']
      assert.deepEqual(await startedSince(lab, again), [...allClients, ...servers].toSorted())
    })
    for (const name of controls) {
      assert.equal(await statusOf(lab, `https://${ip(name)}:6443/api/v1/nodes`, 'old/admin'), '401', name)
      assert.equal(await statusOf(lab, `https://${ip(name)}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
      assert.equal(await statusOf(lab, `https://${ip(name)}:2379/health`, 'old/kubernetes'), '000', name)
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
    assert.equal((await mustRun(lab, 0, 'bootstrap', '--dry-run')).status, 0)
    await mustRun(lab, 0, 'verify')
    assert.match((await mustRun(lab, 0, 'rotate', 'ca', '--finish')).stdout, /no rotation of the CA is under way/)
    await assertNothingLeft(lab)
  })

  test('a next CA, also to a node that comes in the middle, can be undone: the same certificates are accepted', async () => {
    await unnoticed(lab, async () => {
      const nodes = lab.all.map(({ name, role, ip: address }) => ({ name, role, ip: address }))
      lab.write(...running(), [['nodes'], nodes.filter(({ name }) => name !== 'worker1')])
      await mustRun(lab, 0, 'rotate', 'ca', '--force')
      const earlier = await shownBy(lab, 'worker1', 10250)
      // A node that comes in the middle is brought to the present stage before anything else begins.
      lab.write(...running())
      await mustRun(lab, 0, 'rotate', 'ca')
      assert.notEqual(await shownBy(lab, 'worker1', 10250), earlier)
      assert.equal(await shownBy(lab, 'worker1', 10250), await fingerprint(lab, 'worker1'))
      const refused = await mustRun(lab, 3, 'rotate', 'encryption-key')
      assert.match(refused.stderr, /a rotation of the CA is under way/)
      await mustRun(lab, 0, 'rotate', 'ca', '--undo')
    })
    await lab.exec('test ! -e auth/ca-next.pem -a ! -e auth/ca-next-key.pem -a ! -e auth/ca-cross.pem')
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
    for (const name of controls)
      assert.equal(await statusOf(lab, `https://${ip(name)}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
  })
})
