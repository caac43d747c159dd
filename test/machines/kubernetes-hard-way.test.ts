/** Kubernetes The Hard Way on real machines: set up by its documents, taken over, renewed, rotated, recovered. */
import assert from 'node:assert/strict'
import { cpSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { isSince, realBinaries } from '../lab/machines/shared.ts'
import { idsOf, writeCluster } from '../support/harderway.ts'
import {
  assertNothingLeft,
  mustRun,
  onlyWhileDown,
  readStarts,
  skip,
  startedSince,
  unnoticed,
} from '../support/running.ts'
import { startFollowed, takeOver } from '../support/taken-over.ts'

const workers = ['node-0', 'node-1']
const inAuth = ['certs', 'kubeconfigs', 'encryption-key']
/** Kubeconfigs name their pairs by file from now on. */
const clients = [
  ...workers.flatMap((name) => [`${name} kube-proxy`, `${name} kubelet`]),
  ...['server kube-controller-manager', 'server kube-scheduler'],
]

describe('Kubernetes The Hard Way on three machines', { skip }, () => {
  let lab: Machines
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args)
  const etcdctl = (command: string) =>
    lab.exec(`nsenter --target ${lab.machine('server').pid} --net etcdctl --endpoints=http://127.0.0.1:2379 ${command}`)
  const encryptedBy = () =>
    etcdctl('get --prefix /registry/secrets/ --print-value-only | grep -ao "k8s:enc:[a-z]*:v1:[a-z0-9]*" | sort -u')
  const word = () => lab.exec('kubectl get secret one -o jsonpath={.data.word} | base64 -d')
  const assertSettled = async () => {
    await must(0, 'bootstrap', '--dry-run')
    await must(0, 'status', '--on-nodes')
    await must(0, 'verify')
    await assertNothingLeft(lab)
  }

  before(async () => {
    lab = await startFollowed()
    await allWell(lab)
  })
  after(() => lab?.stop())

  test('is taken over: nothing is made anew, and every unit but etcd starts once', async () => {
    await takeOver(lab)
    const planned = await must(0, ...inAuth, '--dry-run', '--json')
    assert.equal(idsOf(planned, 'fresh').length, 16)
    const starts = await readStarts(lab)
    await onlyWhileDown(lab, 'server', async () => {
      await must(0, 'bootstrap')
    })
    // Its encryption config was open to every user of the machine.
    assert.deepEqual(await startedSince(lab, starts), [...clients, 'server kube-apiserver'].toSorted())
    await lab.exec(
      'kubectl create secret generic one --from-literal=word=witaj --dry-run=client -o json | kubectl create --validate=false -f -',
    )
    await assertSettled()
  })

  test('is renewed: no process but a kubelet before 1.36 is restarted, no request fails, and new certificates are served', async () => {
    const starts = await readStarts(lab)
    await unnoticed(lab, async () => {
      await must(0, 'certs', '--force')
      await must(0, 'bootstrap')
    })
    assert.deepEqual(await startedSince(lab, starts), isSince('1.36') ? [] : workers.map((name) => `${name} kubelet`))
    const served = [['server', 6443, 'kube-api-server'], ...workers.map((name) => [name, 10250, name])]
    for (const [host, port, file] of served)
      assert.equal(
        await lab.exec(`openssl s_client -connect ${host}:${port} </dev/null 2>/dev/null | openssl x509`),
        await lab.exec(`openssl x509 -in auth/${file}.crt`),
      )
    await must(0, 'bootstrap', '--dry-run')
  })

  test('has its encryption key rotated, half-way back, and to the end: every Secret is encrypted with the next key, and an auth/ from in between is refused', async () => {
    assert.equal(await encryptedBy(), 'k8s:enc:aescbc:v1:key1\n')
    await must(4, 'rotate', 'encryption-key', '--dry-run')
    await etcdctl('get --print-value-only /registry/secrets/default/one >sealed')
    const starts = await readStarts(lab)
    await onlyWhileDown(lab, 'server', async () => {
      await must(0, 'rotate', 'encryption-key')
      assert.equal(await encryptedBy(), 'k8s:enc:aescbc:v1:key2\n')
      const undone = (await must(0, 'rotate', 'encryption-key', '--undo')).stdout
      assert.match(undone, /undid stage 2 of the rotation/)
      assert.match(readFileSync(join(lab.place, 'auth/encryption-config.yaml'), 'utf8'), /key1[\s\S]*key2/)
      await lab.exec('cp -a auth half')
      await must(0, 'rotate', 'encryption-key')
      // What is of none of encryption.resources is nobody's to write anew.
      await etcdctl('put /registry/leftover/s1 <sealed')
      const { stderr } = await must(3, 'rotate', 'encryption-key', '--finish')
      assert.match(stderr, /still used by 1 stored object encrypted with key1/)
      await etcdctl('del /registry/leftover/s1')
      await must(0, 'rotate', 'encryption-key', '--finish')
    })
    // The only API server is away for a minute: who holds a lease there loses it, and systemd starts them again.
    const holders = realBinaries ? ['server kube-controller-manager', 'server kube-scheduler'] : []
    assert.deepEqual(await startedSince(lab, starts), ['server kube-apiserver', ...holders])
    assert.equal(await word(), 'witaj')
    // An auth/ from a stage of the finished rotation, and a tidy home.
    await lab.machine('server').exec('rm /root/encryption-config.yaml')
    await lab.exec('mv auth current && mv half auth')
    const settled = await readStarts(lab)
    for (const args of [['bootstrap', '--dry-run'], ['bootstrap']]) {
      const { stdout, stderr } = await must(3, ...args)
      assert.match(stdout + stderr, /another encryption key (than|in) /)
    }
    assert.deepEqual(await startedSince(lab, settled), [])
    await lab.exec('rm -r auth && mv current auth')
    await must(0, 'bootstrap')
    await must(0, 'bootstrap', '--dry-run')
  })

  test('has its service-account key and its CA rotated', async () => {
    cpSync(join(lab.place, 'auth'), join(lab.place, 'earlier'), { recursive: true })
    const starts = await readStarts(lab)
    await onlyWhileDown(lab, 'server', async () => {
      await must(0, 'rotate', 'service-account')
    })
    // Tokens of the old key are refused from then on.
    assert.match((await must(3, 'rotate', 'service-account', '--finish')).stderr, /has signed with the next key for/)
    await must(0, 'rotate', 'service-account', '--finish', '--force')
    await onlyWhileDown(lab, 'server', async () => {
      await must(0, 'rotate', 'ca')
      await must(0, 'rotate', 'ca', '--finish')
    })
    const restarted = isSince('1.36') ? ['server kube-controller-manager', 'server kube-scheduler'] : clients
    assert.deepEqual(await startedSince(lab, starts), [...restarted, 'server kube-apiserver'].toSorted())
    const api =
      'kubectl --kubeconfig=/dev/null get --raw=/version --server=https://server.kubernetes.local:6443 --certificate-authority=auth/ca.crt'
    const as = (folder: string) => `${api} --client-certificate=${folder}/admin.crt --client-key=${folder}/admin.key`
    await lab.exec(as('auth'))
    await assert.rejects(lab.exec(as('earlier')), /Unauthorized|must be logged in/)
    assert.equal(await word(), 'witaj')
    await must(0, 'bootstrap', '--dry-run')
  })

  test('is recovered from where its units read, after auth/ was lost; until then nothing is made', async () => {
    await lab.exec('mv auth lost')
    const text = readFileSync(join(lab.place, 'cluster.yaml'), 'utf8')
    // As the guide leaves it: nothing in home folders, and no install.
    for (const machine of lab.all)
      await machine.exec('rm -f /root/*.crt /root/*.key /root/*.kubeconfig /root/encryption-config.yaml')
    writeCluster(lab.place, [[['install'], undefined]], text)
    const refused = await must(3, 'bootstrap')
    assert.match(refused.stderr, /ca\.crt.* on server, but .* has no CA; nothing was created/)
    await must(0, 'recover', '--node', 'server')
    writeCluster(lab.place, [], text)
    const starts = await readStarts(lab)
    await must(0, 'bootstrap')
    assert.deepEqual(
      (await startedSince(lab, starts)).filter((unit) => /etcd|apiserver/.test(unit)),
      [],
    )
    await must(0, 'bootstrap', '--dry-run')
    for (const file of ['ca.key', 'service-accounts.key', 'encryption-config.yaml'])
      await lab.exec(`cmp auth/${file} lost/${file}`)
  })
})
