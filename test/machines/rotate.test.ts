/** Rotations of a live cluster, on real machines, with somebody asking all the time: nothing that is asked fails. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { eventually } from '../support/eventually.ts'
import type { Ran } from '../support/harderway.ts'
import { clock, start } from '../support/process.ts'
import {
  assertNothingLeft,
  delayShutdown,
  everywhere,
  fingerprint,
  probe,
  readStarts,
  running,
  shownBy,
  skip,
  startedSince,
} from '../support/running.ts'

/** Without what is fresh. */
const toldOf = ({ stdout, stderr }: Ran) =>
  stdout.replaceAll(/^.*(as in auth|fresh|expires .*|renews from .*)$\n/gm, '') + stderr
const controls = ['control0', 'control1', 'control2']
const clients = ['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy']
const ofClients = [...clients.flatMap((unit) => everywhere(unit)), ...everywhere('kubelet', 'worker')]
const allClients = [...ofClients, ...everywhere('kube-proxy', 'worker')].toSorted()

describe('rotations on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = async (status: number, ...args: string[]) => {
    const ran = await lab.run(...args)
    assert.equal(ran.status, status, toldOf(ran))
    return ran
  }
  const ip = (name: string) => lab.machine(name).ip
  /** The status of an answer; 000 where the handshake was refused. */
  const curl = (url: string, pair: string, ...more: string[]) =>
    lab.exec(
      `curl -s -o /dev/null -w '%{http_code}' --cacert auth/ca.pem --cert ${pair}.pem --key ${pair}-key.pem ${more.join(' ')} ${url} || true`,
    )
  const json = "-H 'Content-Type: application/json'"
  const get = async (name: string, path: string, ...more: string[]) =>
    JSON.parse(
      await lab.exec(
        `curl -sf ${json} --cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem ${more.join(' ')} https://${ip(name)}:6443${path}`,
      ),
    )
  /** `k8s:enc:aescbc:v1:key1` → how many Secrets begin so in etcd. */
  const etcdctl = (command: string) =>
    lab.exec(
      `etcdctl --endpoints=https://${ip('control0')}:2379 --cacert=auth/ca.pem --cert=auth/kubernetes.pem --key=auth/kubernetes-key.pem ${command}`,
    )
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
  /** Who asks all the time, while the work is done. */
  const unnoticed = async (work: () => Promise<void>) => {
    await using probing = probe(lab)
    await work()
    const { counts, failures, cut } = await probing.end()
    assert.deepEqual(failures, [])
    assert.ok(cut <= 3, `${cut} writes cut off by three restarts of etcd`)
    assert.ok(
      counts.every((count) => count > 10),
      counts.join(),
    )
  }

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
      const { data } = await get('control1', '/api/v1/namespaces/default/configmaps/kube-root-ca.crt')
      assert.equal(data['ca.crt'], await lab.exec('cat auth/ca.pem'))
    })
  }

  before(async () => {
    lab = await startMachines()
    lab.write(...running())
    await must(0, 'bootstrap')
    await installAll(lab)
    await delayShutdown(lab)
    await must(0, 'bootstrap')
  })
  after(() => lab?.stop())

  test('the plan tells each stage, what it does to which unit, the proof and the way back, and touches nothing', async () => {
    const before = await lab.exec('ls auth')
    const { stdout } = await must(4, 'rotate', 'ca', '--dry-run')
    assert.match(
      stdout,
      /Stage 1 of 2 \(to do\)[\s\S]*control0, control1, control2\n +etcd: by itself \(kubernetes\.pem\)/,
    )
    assert.match(stdout, /Stage 2 of 2 \(with --finish\)[\s\S]*kube-apiserver: by restart, drained/)
    assert.equal(await lab.exec('ls auth'), before)
  })

  test('the CA goes over to the next by a cross certificate; every unit starts as often as is said', async () => {
    await lab.exec('mkdir old; cp auth/*.pem old')
    await unnoticed(async () => {
      const starts = await readStarts(lab)
      assert.match((await must(0, 'rotate', 'ca')).stdout, /rotate ca --finish/)
      assert.deepEqual(await startedSince(lab, starts), allClients)
      for (const file of ['kubernetes', 'control0', 'worker0', 'admin'])
        for (const trusted of ['old/ca.pem', 'auth/ca-next.pem'])
          await lab.exec(`openssl verify -CAfile ${trusted} -untrusted auth/ca-cross.pem auth/${file}.pem`)
      assert.match((await must(0, 'status')).stdout, /rotation of the CA is under way/)
      const again = await readStarts(lab)
      await must(0, 'rotate', 'ca')
      assert.deepEqual(await startedSince(lab, again), [])
      await must(0, 'rotate', 'ca', '--finish')
      const servers = [...everywhere('etcd'), ...everywhere('kube-apiserver'), 'gateway ldirectord']
      assert.deepEqual(await startedSince(lab, again), [...allClients, ...servers].toSorted())
    })
    for (const name of controls) {
      assert.equal(await curl(`https://${ip(name)}:6443/api/v1/nodes`, 'old/admin'), '401', name)
      assert.equal(await curl(`https://${ip(name)}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
      assert.equal(await curl(`https://${ip(name)}:2379/health`, 'old/kubernetes'), '000', name)
      assert.equal(await curl(`https://${ip(name)}:2379/health`, 'auth/kubernetes'), '200', name)
    }
    assert.equal(await curl(`https://${ip('worker0')}:10250/healthz`, 'old/kubernetes'), '401')
    const { data } = await get(
      'control0',
      '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication',
    )
    assert.equal(data['client-ca-file'], await lab.exec('cat auth/ca.pem'))
    if (realBinaries) await assertControllersKnowCA()
    assert.equal((await must(0, 'bootstrap', '--dry-run')).status, 0)
    await must(0, 'verify')
    assert.match((await must(0, 'rotate', 'ca', '--finish')).stdout, /no rotation of the CA is under way/)
    await assertNothingLeft(lab)
  })

  test('an API server that cluster.yaml does not have holds every rotation, by name, before anything is changed', async () => {
    const identity = 'sha256sum auth/ca*.pem auth/service-account*.pem auth/encryption-config.yaml'
    const before = await lab.exec(identity)
    const nodes = lab.all.map(({ name, role, ip: address }) => ({ name, role, ip: address }))
    const held = async (words: RegExp) => {
      for (const name of ['ca', 'service-account', 'encryption-key'])
        assert.match((await must(3, 'rotate', name, '--force')).stderr.replace(/\s+/g, ' '), words)
    }
    lab.write(...running(), [['nodes'], nodes.filter(({ name }) => name !== 'control2')])
    await held(/does not reach every API server.* an API server on control2 \(lease .*the etcd member control2 \(/)
    // One that is stopped is gone; its etcd is still a member.
    await on('control2', 'systemctl stop kube-apiserver')
    await eventually(async () => {
      const { stderr } = await lab.run('rotate', 'ca', '--force')
      assert.doesNotMatch(stderr, /an API server on control2/)
    })
    await held(/does not reach every API server[^;]* the etcd member control2 \(/)
    await on('control2', 'systemctl start kube-apiserver')
    lab.write(...running({ units: { 'kube-apiserver': false } }))
    await held(/kube-apiserver on each control node: install\.units .* leaves it out/)
    assert.equal(await lab.exec(identity), before)
    lab.write(...running())
    await must(0, 'bootstrap')
  })

  test('a next CA, also to a node that comes in the middle, can be undone: the same certificates are accepted', async () => {
    const cross = await lab.exec('cat auth/ca-cross.pem')
    await unnoticed(async () => {
      const nodes = lab.all.map(({ name, role, ip: address }) => ({ name, role, ip: address }))
      lab.write(...running(), [['nodes'], nodes.filter(({ name }) => name !== 'worker1')])
      await must(0, 'rotate', 'ca', '--force')
      const earlier = await shownBy(lab, 'worker1', 10250)
      // A node that comes in the middle is brought to the present stage before anything else begins.
      lab.write(...running())
      await must(0, 'rotate', 'ca')
      assert.notEqual(await shownBy(lab, 'worker1', 10250), earlier)
      assert.equal(await shownBy(lab, 'worker1', 10250), await fingerprint(lab, 'worker1'))
      const refused = await must(3, 'rotate', 'encryption-key')
      assert.match(refused.stderr, /a rotation of the CA is under way/)
      await must(0, 'rotate', 'ca', '--undo')
    })
    await lab.exec('test ! -e auth/ca-next.pem -a ! -e auth/ca-next-key.pem')
    assert.equal(await lab.exec('cat auth/ca-cross.pem'), cross)
    await must(0, 'bootstrap', '--dry-run')
    for (const name of controls)
      assert.equal(await curl(`https://${ip(name)}:6443/api/v1/nodes`, 'auth/admin'), '200', name)
  })

  test('the next service-account key is accepted before it signs; tokens of the old one are valid until --finish', async () => {
    const kidsOf = async (name: string) => (await get(name, '/openid/v1/jwks')).keys.length
    const token = async () => {
      const { status } = await get(
        'control1',
        '/api/v1/namespaces/default/serviceaccounts/default/token',
        '-X POST -d {}',
      )
      return status.token as string
    }
    const ask = async (name: string, bearer: string) =>
      lab.exec(
        `curl -s -o /dev/null -w '%{http_code}' --cacert auth/ca.pem -H 'authorization: Bearer ${bearer}' https://${ip(name)}:6443/openid/v1/jwks`,
      )
    const early = await token()
    await unnoticed(async () => {
      const starts = await readStarts(lab)
      await must(0, 'rotate', 'service-account')
      assert.deepEqual(
        await startedSince(lab, starts),
        [...everywhere('kube-apiserver'), ...everywhere('kube-controller-manager')].toSorted(),
      )
      for (const name of controls) assert.equal(await kidsOf(name), 2)
    })
    const late = await token()
    for (const name of controls) for (const each of [early, late]) assert.equal(await ask(name, each), '200')
    // What was signed by it stays good: only one step back can be made.
    await must(0, 'rotate', 'service-account', '--undo')
    for (const name of controls) assert.equal(await ask(name, late), '200')
    assert.match((await must(3, 'rotate', 'service-account', '--undo')).stderr, /has signed already/)
    await must(0, 'rotate', 'service-account')
    const legacy = {
      metadata: { name: 'legacy', annotations: { 'kubernetes.io/service-account.name': 'default' } },
      type: 'kubernetes.io/service-account-token',
      data: { token: Buffer.from(early).toString('base64') },
    }
    await get('control0', '/api/v1/namespaces/default/secrets', `-X POST -d '${JSON.stringify(legacy)}'`)
    assert.doesNotMatch((await must(0, 'status')).stdout, /still used by/)
    const told = (await must(0, 'status', '--on-nodes')).stdout.replace(/\s+/g, ' ')
    assert.match(told, /still used by the token in Secret default\/legacy.*not seen from here: processes that read/)
    const held = await must(3, 'rotate', 'service-account', '--finish')
    assert.match(held.stderr, /Secret default\/legacy.*has signed with the next key for/s)
    await must(0, 'rotate', 'service-account', '--finish', '--force')
    for (const name of controls) {
      assert.equal(await kidsOf(name), 1)
      assert.equal(await ask(name, early), '401')
      assert.equal(await ask(name, late), '200')
    }
    await must(0, 'bootstrap', '--dry-run')
  })

  test('the next encryption key decrypts before it encrypts, and every stored Secret is encrypted with it in the end', async () => {
    const admin = '--cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem'
    const url = `https://${ip('control0')}:6443/api/v1/namespaces/default/secrets`
    // More than are read at once.
    await lab.exec(
      `for s in $(seq 120); do curl -sf ${json} -o /dev/null ${admin} -d '{"metadata":{"name":"s'$s'"},"stringData":{"a":"s'$s'"}}' ${url} || exit 1; done`,
    )
    const count = (await seals()).get('k8s:enc:aescbc:v1:key1')
    assert.ok(Number(count) >= 120)
    await etcdctl('get --print-value-only /registry/secrets/default/s1 >sealed-before')
    await unnoticed(async () => {
      await must(0, 'rotate', 'encryption-key')
    })
    assert.deepEqual([...(await seals())], [['k8s:enc:aescbc:v1:key2', count]])
    // Objects are sealed by it: it stays in the list.
    assert.match((await must(0, 'rotate', 'encryption-key', '--undo')).stdout, /both stay in use.*encrypted with key2/)
    assert.match(await lab.exec('cat auth/encryption-config.yaml'), /key1[\s\S]*key2/)
    await unnoticed(async () => {
      await must(0, 'rotate', 'encryption-key')
      // What is of none of encryption.resources is nobody's to write anew, and may be of worth all the same.
      await etcdctl('put /registry/leftover/s1 <sealed-before')
      assert.match(
        (await must(3, 'rotate', 'encryption-key', '--finish')).stderr,
        /still used by 1 stored object encrypted with key1/,
      )
      await etcdctl('del /registry/leftover/s1')
      await must(0, 'rotate', 'encryption-key', '--finish')
    })
    assert.doesNotMatch(await on('control2', 'cat /var/lib/kubernetes/encryption-config.yaml'), /key1/)
    const { data } = await get('control2', '/api/v1/namespaces/default/secrets/s7')
    assert.equal(Buffer.from(data.a, 'base64').toString(), 's7')
    await must(0, 'bootstrap', '--dry-run')
    await assertNothingLeft(lab)
  })

  test('a disk that is full, and a node that goes away, stop a stage; the same command goes on', async () => {
    await unnoticed(async () => {
      const full =
        'mount -t tmpfs -o size=16k tmpfs /etc/etcd; cp -a /root/etcd/. /etc/etcd/; cat /dev/zero >/etc/etcd/full'
      await on('control1', `cp -a /etc/etcd /root/etcd; ${full} 2>/dev/null || true`)
      assert.match(
        toldOf(await must(1, 'rotate', 'ca', '--force')),
        /control1: .*every file is as it was.*No space left on device/,
      )
      await on('control1', 'rm /etc/etcd/full; umount -l /etc/etcd; systemctl restart etcd')
      await on('worker1', 'systemctl stop ssh.socket ssh.service; systemctl mask --runtime --quiet ssh.service')
      assert.match(toldOf(await must(1, 'rotate', 'ca', '--force')), /worker1/)
      await on('worker1', 'systemctl unmask --runtime --quiet ssh.service; systemctl start ssh.service')
      await must(0, 'rotate', 'ca', '--force')
      await must(0, 'rotate', 'ca', '--undo')
    })
  })

  test('a clock that is an hour ahead stops a stage before anything is placed; set right, the same command goes on', async () => {
    const ahead = clock(new Date(Date.now() + 3_600_000))
    const stopped = await start(lab.place, ['rotate', 'ca', '--force'], { by: [...lab.within, ...ahead] }).ended
    assert.equal(stopped.status, 1, toldOf(stopped))
    assert.match(toldOf(stopped), /by its clock these are not valid yet: kubernetes\.pem/)
    assert.match(await on('control0', 'openssl verify -CAfile /etc/etcd/ca.pem /etc/etcd/kubernetes.pem'), /OK/)
    await must(0, 'rotate', 'ca', '--force')
    await must(0, 'rotate', 'ca', '--undo')
  })

  test('is refused where it can not be: no name, two, an unknown one, without install', async () => {
    assert.match((await must(2, 'rotate')).stderr, /rotate needs a name/)
    assert.match((await must(2, 'rotate', 'ca', 'service-account')).stderr, /one name at a time/)
    assert.match((await must(2, 'rotate', 'service-acount')).stderr, /did you mean service-account/)
    assert.match((await must(2, 'rotate', 'ca', '--finish', '--undo')).stderr, /can't be combined/)
    lab.write(...running({}, [['install'], false]))
    assert.match((await must(2, 'rotate', 'ca')).stderr, /needs install in cluster\.yaml/)
    lab.write(...running())
  })
})
