/**
 * Rotations of keys, and of the CAs of the front proxy and of etcd, in a live cluster, on real machines, while a client
 * sends requests all the time: none fails. No file that a unit reads is where the guide has it, and cluster.yaml names
 * none. The cluster's CA: test/machines/cluster-rotations.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import {
  assertNothingLeft,
  declare,
  everywhere,
  getObject,
  mustRun,
  namedBy,
  ownPaths,
  paste,
  probedOwn,
  readStarts,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startedSince,
  startRunning,
  statusOf,
  unnoticed,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']

describe('more rotations on six machines', { skip }, () => {
  let lab: Machines
  const ip = (name: string) => lab.machine(name).ip
  const on = (name: string, command: string) => lab.machine(name).exec(command)
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

  const environmentFile = '/etc/default/kube-apiserver'
  /**
   * As in the guide: what the API server shows etcd is what it serves. The first one's unit has it in lines that end in
   * a backslash, the second's among quotes, blanks, escapes and comments of others, in a drop-in too, and the third's
   * in a file of its environment.
   */
  const shareEtcdFiles = async () => {
    const odd = String.raw`'--audit-log-path=/var/log/a "b"  c' "--audit-log-path=/it's 100%% \x41\\" \
# --etcd-cafile=/nowhere
  --audit-log-format\x3djson`
    const path = '/etc/systemd/system/kube-apiserver.service'
    const ofEtcd = { '--etcd-cafile': '--client-ca-file', '--etcd-certfile': '--tls-cert-file' }
    const all = { ...ofEtcd, '--etcd-keyfile': '--tls-private-key-file' }
    for (const name of controls) {
      const machine = lab.machine(name)
      let text = await on(name, `cat ${path}`)
      for (const [flag, other] of Object.entries(all))
        text = text.replace(RegExp(`${flag}=\\S*`), `${flag}=${RegExp(`${other}=(\\S*)`).exec(text)?.[1]}`)
      if (name === 'control1') {
        text = text.replace('--allow-privileged=true', () => odd)
        const start = text.slice(text.indexOf('ExecStart='), text.indexOf('\nRestart='))
        machine.write(`${path}.d/override.conf`, `[Service]\nExecStart=\n${start}\n`)
      }
      if (name === 'control2') {
        const flags = /--etcd-(ca|cert|key)file=(\S*)/g
        const lines = [...text.matchAll(flags)].map(([, flag, value]) => `ETCD_${flag}=${value}\n`)
        machine.write(environmentFile, lines.join(''))
        text = text
          .replace(flags, (_, flag) => `--etcd-${flag}file=\${ETCD_${flag}}`)
          .replace('[Service]', `$&\nEnvironmentFile=${environmentFile}`)
      }
      machine.write(path, text)
      await on(name, 'systemctl daemon-reload; systemctl restart kube-apiserver')
    }
    await allWell(lab)
    return await readStarts(lab)
  }
  const argsOf = async (name: string) => {
    const process = '/proc/$(systemctl show --value -p MainPID kube-apiserver)'
    return (await on(name, `tr '\\0' '\\n' <${process}/cmdline`)).split('\n')
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

  test('the next service-account key is accepted before it signs; tokens of the old one are valid until --finish', async () => {
    const kidsOf = async (name: string) => (await getObject(lab, name, '/openid/v1/jwks')).keys.length
    const token = async () => {
      const { status } = await getObject(
        lab,
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
    await unnoticed(lab, async () => {
      const starts = await readStarts(lab)
      await mustRun(lab, 0, 'rotate', 'service-account')
      assert.deepEqual(
        await startedSince(lab, starts),
        [...everywhere('kube-apiserver'), ...everywhere('kube-controller-manager')].toSorted(),
      )
      for (const name of controls) assert.equal(await kidsOf(name), 2)
    })
    const late = await token()
    for (const name of controls) for (const each of [early, late]) assert.equal(await ask(name, each), '200')
    const legacy = {
      metadata: { name: 'legacy', annotations: { 'kubernetes.io/service-account.name': 'default' } },
      type: 'kubernetes.io/service-account-token',
      data: { token: Buffer.from(early).toString('base64') },
    }
    await getObject(lab, 'control0', '/api/v1/namespaces/default/secrets', `-X POST -d '${JSON.stringify(legacy)}'`)
    const held = await mustRun(lab, 3, 'rotate', 'service-account', '--finish')
    assert.match(held.stderr, /Secret default\/legacy.*has signed with the next key for/s)
    await mustRun(lab, 0, 'rotate', 'service-account', '--finish', '--force')
    for (const name of controls) {
      assert.equal(await kidsOf(name), 1)
      assert.equal(await ask(name, early), '401')
      assert.equal(await ask(name, late), '200')
    }
    await assertNothingToDo()
  })

  test('the next encryption key decrypts before it encrypts, and every stored Secret is encrypted with it in the end', async () => {
    // More than are read at once.
    const items = Array.from({ length: 120 }, (_, i) => {
      const name = `s${i + 1}`
      return { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData: { a: name } }
    })
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    await lab.exec(`echo '${list}' | kubectl create --validate=false -f -`)
    const count = (await seals()).get('k8s:enc:aescbc:v1:key1')
    assert.ok(Number(count) >= 120)
    await etcdctl('get --print-value-only /registry/secrets/default/s1 >sealed-before')
    await unnoticed(lab, async () => {
      await mustRun(lab, 0, 'rotate', 'encryption-key')
    })
    assert.deepEqual([...(await seals())], [['k8s:enc:aescbc:v1:key2', count]])
    await unnoticed(lab, async () => {
      // What is of none of encryption.resources is nobody's to write anew, and may be of worth all the same.
      await etcdctl('put /registry/leftover/s1 <sealed-before')
      assert.match(
        (await mustRun(lab, 3, 'rotate', 'encryption-key', '--finish')).stderr,
        /still used by 1 stored object encrypted with key1/,
      )
      await etcdctl('del /registry/leftover/s1')
      await mustRun(lab, 0, 'rotate', 'encryption-key', '--finish')
    })
    assert.doesNotMatch(await on('control2', 'cat /srv/kube-apiserver/*encryption-config.yaml'), /key1/)
    const { data } = await getObject(lab, 'control2', '/api/v1/namespaces/default/secrets/s7')
    assert.equal(Buffer.from(data.a, 'base64').toString(), 's7')
    await assertNothingToDo()
    await assertNothingLeft(lab)
  })

  test('the front proxy gets its flags, and only its own client is believed: no request fails', async () => {
    // Where the guide has them there is no folder.
    for (const file of ['front-proxy-ca.pem', 'front-proxy-client.pem', 'front-proxy-client-key.pem'])
      declare(lab, 'kube-apiserver', file, `/srv/kube-apiserver/${file}`)
    lab.write(...running({}, [['users'], [{ name: 'jane' }]], [['aggregation'], true]))
    const starts = await readStarts(lab)
    await setFlags(lab, await mustRun(lab, 4, 'bootstrap'), controls)
    await unnoticed(lab, async () => {
      await mustRun(lab, 0, 'bootstrap')
      assert.deepEqual(await startedSince(lab, starts), everywhere('kube-apiserver'))
    })
    for (const name of controls) {
      for (const who of ['admin', 'jane', 'worker0', 'kubernetes'])
        assert.notEqual(await namedBy(lab, name, who), 'somebody', who)
      assert.equal(await namedBy(lab, name, 'front-proxy-client'), 'somebody')
    }
    const map = '/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication'
    const { data } = await getObject(lab, 'control0', map)
    assert.equal(data['requestheader-client-ca-file'], await lab.exec('cat auth/front-proxy-ca.pem'))
    await assertNothingToDo()
    await assertNothingLeft(lab)
  })

  test('etcd gets a CA of its own: nobody but its members and the API servers opens it any more, and no request fails', async () => {
    const write = () =>
      lab.write(...running({}, [['etcd', 'ca'], 'own'], [['users'], [{ name: 'jane' }]], [['aggregation'], true]))
    write()
    assert.match((await mustRun(lab, 3, 'bootstrap')).stderr, /etcd shares the CA.*rotate etcd-ca/s)
    const starts = await shareEtcdFiles()
    // What etcd reads has other names by now; and where the guide has the API server's there is no folder.
    paste(lab, await mustRun(lab, 1, 'rotate', 'etcd-ca'))
    write()
    const lost =
      /it needs \/var\/lib\/kubernetes\/etcd-ca\.pem, but \/var\/lib\/kubernetes does not exist, or a link leads nowhere; create/
    assert.match((await mustRun(lab, 1, 'bootstrap')).stdout, lost)
    for (const file of ['etcd-ca.pem', 'apiserver-etcd-client.pem', 'apiserver-etcd-client-key.pem'])
      declare(lab, 'kube-apiserver', file, `/srv/kube-apiserver/${file}`)
    write()
    const ran = await mustRun(lab, 4, 'rotate', 'etcd-ca')
    await mustRun(lab, 4, 'bootstrap')
    const args = await argsOf('control1')
    await setFlags(lab, ran, ['control0', 'control1'])
    assert.deepEqual(await startedSince(lab, starts), [])
    const [, settings = ''] = /control2, kube-apiserver needs (.*?); set that/.exec(ran.stdout) ?? []
    for (const [, flag, path] of settings.matchAll(/--etcd-(ca|cert|key)file=([^ ,:;]*)/g))
      await on('control2', `sed -i 's|^ETCD_${flag}=.*|ETCD_${flag}=${path}|' ${environmentFile}`)
    await on('control2', 'systemctl restart kube-apiserver')
    await allWell(lab)
    await unnoticed(
      lab,
      async () => {
        const before = await readStarts(lab)
        await mustRun(lab, 0, 'bootstrap')
        assert.deepEqual(await startedSince(lab, before), ['control0 kube-apiserver', 'control1 kube-apiserver'])
      },
      probedOwn(lab),
    )
    const ofEtcd = /^--etcd-\w+file=.*\/(etcd-ca|apiserver-etcd-client(-key)?)\.pem$/
    assert.deepEqual(
      (await argsOf('control1')).filter((arg) => !ofEtcd.test(arg)),
      args.filter((arg) => !/^--etcd-\w+file=/.test(arg)),
    )
    await unnoticed(
      lab,
      async () => {
        const before = await readStarts(lab)
        assert.match((await mustRun(lab, 0, 'rotate', 'etcd-ca')).stdout, /snapshot of etcd.*rotate etcd-ca --finish/s)
        assert.deepEqual(await startedSince(lab, before), [])
        await mustRun(lab, 0, 'rotate', 'etcd-ca', '--finish')
        assert.deepEqual(
          await startedSince(lab, before),
          [...everywhere('etcd'), ...everywhere('kube-apiserver')].toSorted(),
        )
      },
      probedOwn(lab),
    )
    const openedBy = (name: string, as: string) =>
      statusOf(lab, `https://${ip(name)}:2379/health`, `auth/${as}`, 'auth/etcd-ca.pem')
    for (const name of controls) {
      for (const other of ['worker0', 'jane', 'admin', 'kubernetes']) assert.equal(await openedBy(name, other), '000')
      assert.equal(await openedBy(name, 'apiserver-etcd-client'), '200')
    }
    await mustRun(lab, 0, 'verify')
    await assertNothingToDo()
    await assertNothingLeft(lab)
  })
})
