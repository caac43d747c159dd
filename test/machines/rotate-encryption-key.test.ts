/** A rotation of the encryption key of a live cluster, on real machines, while a client sends requests all the time. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Machines } from '../lab/machines/machines.ts'
import {
  assertNothingLeft,
  getObject,
  mustRun,
  readStarts,
  removeDeployed,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  unnoticed,
} from '../support/running.ts'

describe('a rotation of the encryption key on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const ip = (name: string) => lab.machine(name).ip
  const json = "-H 'Content-Type: application/json'"
  const etcdctl = (command: string) =>
    lab.exec(
      `etcdctl --endpoints=https://${ip('control0')}:2379 --cacert=auth/ca.pem --cert=auth/kubernetes.pem --key=auth/kubernetes-key.pem ${command}`,
    )
  /** `k8s:enc:aescbc:v1:key1` → how many Secrets begin so in etcd. */
  const seals = async () => {
    const told = await etcdctl(
      `get --prefix /registry/secrets/ --print-value-only | grep -ao 'k8s:enc:[a-z]*:v1:[a-z0-9]*' | sort | uniq -c`,
    )
    return new Map(
      told
        .split('\n')
        .filter(Boolean)
        .map((line) => line.trim().split(' ').reverse() as [string, string]),
    )
  }

  before(async () => {
    lab = await startRunning(shutdownDelay)
  })
  after(() => lab?.stop())

  test('an API server that reads another file than the installed one is named, and holds the rotation', async () => {
    const [place, other] = ['/var/lib/kubernetes/encryption-config.yaml', '/etc/enc.yaml']
    const read = (from: string, to: string) =>
      on(
        'control1',
        `sed -i 's,--encryption-provider-config=${from},--encryption-provider-config=${to},' /etc/systemd/system/kube-apiserver.service && systemctl daemon-reload && systemctl restart kube-apiserver`,
      )
    await on('control1', `cp -p ${place} ${other}`)
    await read(place, other)
    assert.match((await mustRun(lab, 0, 'bootstrap')).stdout, /control1: kube-apiserver reads \/etc\/enc\.yaml/)
    const { stderr } = await mustRun(lab, 3, 'rotate', 'encryption-key')
    assert.match(stderr, /the API server of control1 reads \/etc\/enc\.yaml: set its place in install\.units/)
    assert.doesNotMatch(await lab.exec('cat auth/encryption-config.yaml'), /key2/)
    await read(other, place)
  })

  test('the next encryption key decrypts before it encrypts, and every stored Secret is encrypted with it in the end', async () => {
    const admin = '--cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem'
    const url = `https://${ip('control0')}:6443/api/v1/namespaces/default/secrets`
    // More than are read at once.
    await lab.exec(
      `for s in $(seq 120); do curl -sf ${json} -o /dev/null ${admin} -d '{"metadata":{"name":"s'$s'"},"stringData":{"a":"s'$s'"}}' ${url} || exit 1; done`,
    )
    await lab.exec('cp -a auth earlier')
    const count = (await seals()).get('k8s:enc:aescbc:v1:key1')
    assert.ok(Number(count) >= 120)
    await etcdctl('get --print-value-only /registry/secrets/default/s1 >sealed-before')
    await unnoticed(lab, async () => {
      await mustRun(lab, 0, 'rotate', 'encryption-key')
    })
    assert.deepEqual([...(await seals())], [['k8s:enc:aescbc:v1:key2', count]])
    // Objects are sealed by it: it stays in the list.
    assert.match(
      (await mustRun(lab, 0, 'rotate', 'encryption-key', '--undo')).stdout,
      /both stay in use.*encrypted with key2/,
    )
    assert.match(await lab.exec('cat auth/encryption-config.yaml'), /key1[\s\S]*key2/)
    await lab.exec('cp -a auth half')
    await unnoticed(lab, async () => {
      await mustRun(lab, 0, 'rotate', 'encryption-key')
      // What is of none of encryption.resources is nobody's to write anew, and may be of worth all the same.
      await etcdctl('put /registry/leftover/s1 <sealed-before')
      assert.match(
        (await mustRun(lab, 3, 'rotate', 'encryption-key', '--finish')).stderr,
        /still used by 1 stored object encrypted with key1/,
      )
      await etcdctl('del /registry/leftover/s1')
      await mustRun(lab, 0, 'rotate', 'encryption-key', '--finish')
    })
    assert.doesNotMatch(await on('control2', 'cat /var/lib/kubernetes/encryption-config.yaml'), /key1/)
    const { data } = await getObject(lab, 'control2', '/api/v1/namespaces/default/secrets/s7')
    assert.equal(Buffer.from(data.a, 'base64').toString(), 's7')
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
    await assertNothingLeft(lab)
  })

  test('an auth/ from a stage of the finished rotation, or from before it, and tidy homes: nothing is overwritten', async () => {
    await removeDeployed(lab)
    await lab.exec('mv auth current')
    const config = () => on('control0', 'cat /var/lib/kubernetes/encryption-config.yaml')
    const [before, starts] = [await config(), await readStarts(lab)]
    for (const auth of ['half', 'earlier']) {
      await lab.exec(`rm -rf auth && mv ${auth} auth`)
      for (const args of [['bootstrap', '--dry-run'], ['bootstrap']]) {
        const { stdout, stderr } = await mustRun(lab, 3, ...args)
        assert.match(stdout + stderr, /another encryption key than /)
      }
    }
    assert.equal(await config(), before)
    assert.deepEqual(await startedSince(lab, starts), [])
  })
})
