/**
 * Rotations of CAs in a live cluster, on real machines, while a client sends requests all the time: none fails. No file
 * that a unit reads is where the guide has it, and cluster.yaml names none. Other rotations there:
 * test/long/rotations.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { isSince, realBinaries } from '../lab/machines/shared.ts'
import { eventually } from '../support/programs.ts'
import { recipes } from '../support/recipe.ts'
import {
  assertNothingLeft,
  declare,
  everywhere,
  getObject,
  mustRun as mustRunOn,
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

describe('rotations of CAs on six machines', { skip }, () => {
  let lab: Machines
  const ip = (name: string) => lab.machine(name).ip
  const on = (name: string, command: string) => lab.machine(name).exec(command)
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

  const environmentFile = '/etc/default/kube-apiserver'
  /**
   * As in the guide: what the API server shows etcd is what it serves. The first one's unit has it in lines that end in
   * a backslash, the second's among quotes, blanks, escapes and comments of others, in a drop-in too, and the third's
   * in a file of its environment.
   */
  const shareEtcdFiles = async () => {
    const odd = String.raw`'--audit-log-path=/var/log/a "b"  c' "--audit-policy-file=/it's 100%% \x41\\" \
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

  test('the plan tells each stage, which units restart, the proof and the way back, and touches nothing', async () => {
    const before = await lab.exec('ls auth')
    const { stdout } = await mustRun(lab, 4, 'rotate', 'ca', '--dry-run')
    const restarts = 'restarts on control nodes: '
    assert.match(stdout, RegExp(`Stage 1 of 2 \\(to do\\): .*\n +${restarts}kube-controller-manager, kube-scheduler`))
    assert.match(stdout, RegExp(`Stage 2 of 2 \\(with --finish\\): .*\n +${restarts}etcd, kube-apiserver, `))
    assert.equal(/restarts on worker nodes: .*kube-proxy/.test(stdout), !isSince('1.36'))
    assert.equal(await lab.exec('ls auth'), before)
  })

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
      await mustRun(lab, 0, 'rotate', 'ca')
      assert.deepEqual(await startedSince(lab, again), [])
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
    assert.match((await mustRun(lab, 0, 'rotate', 'ca', '--finish')).stdout, /its last stage is checked again/)
    await assertNothingLeft(lab)
  })

  test('a component of no unit of the node is named, and holds each rotation that would cut it off', async () => {
    const rename = (from: string, to: string, ...names: string[]) =>
      Promise.all(
        names.map((name) =>
          on(
            name,
            `systemctl stop ${from} && cd /etc/systemd/system && mv ${from}.service ${to}.service && systemctl daemon-reload && systemctl start ${to}`,
          ),
        ),
      )
    const other =
      /control1[,:] kube-scheduler, process \d+ in \S*\/k8s-scheduler\.service \([^)]*--config=[^)]*\), belongs to no unit/
    await rename('kube-scheduler', 'k8s-scheduler', 'control1')
    // An application's own, on a node that is to have none.
    await on(
      'worker0',
      'systemd-run --quiet --unit=app-etcd /usr/bin/etcd --data-dir=/tmp/app --listen-peer-urls=http://127.0.0.1:3380',
    )
    const { stdout } = await mustRun(lab, 0, 'bootstrap')
    assert.match(stdout, other)
    assert.doesNotMatch(stdout, /app-etcd/)
    const { stderr } = await mustRun(lab, 3, 'rotate', 'ca')
    assert.match(stderr, other)
    assert.doesNotMatch(stderr, /app-etcd/)
    assert.match(stderr, /install\.units: \{ kube-scheduler: \{ unit: k8s-scheduler \} \}/)
    assert.doesNotMatch(await lab.exec('ls auth'), /next/)
    await on('worker0', 'systemctl stop app-etcd')
    await rename('kube-scheduler', 'k8s-scheduler', 'control0', 'control2')
    lab.write(...running({ units: { 'kube-scheduler': { unit: 'k8s-scheduler' } } }))
    const ran = await mustRun(lab, 0, 'bootstrap')
    assert.doesNotMatch(ran.stdout, /kube-scheduler, process/)
    // Pods may still trust the CA before the last alone, and would be refused.
    assert.match((await mustRun(lab, 3, 'rotate', 'ca', '--dry-run')).stdout, /restarts .*kube-scheduler/)
    await rename('k8s-scheduler', 'kube-scheduler', ...controls)
    lab.write(...running())
    await assertNothingToDo()
  })

  test('etcd gets a CA of its own: nobody but its members and the API servers opens it any more, and no request fails', async () => {
    const write = () => lab.write(...running({}, [['etcd', 'ca'], 'own'], [['users'], [{ name: 'jane' }]]))
    write()
    assert.match((await mustRun(lab, 3, 'bootstrap')).stderr, /etcd shares the CA.*rotate etcd-ca/s)
    const starts = await shareEtcdFiles()
    // What etcd reads has other names by now; and where the guide has the API server's there is no folder.
    paste(lab, await mustRun(lab, 1, 'rotate', 'etcd-ca'))
    write()
    const lost = /it needs \/var\/lib\/kubernetes\/etcd-ca\.pem, but \/var\/lib\/kubernetes does not exist; create/
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
        assert.match((await mustRun(lab, 0, 'bootstrap')).stdout, /Restarted +kube-apiserver on control0, control1/)
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

  test('those were the commands of the recipe for a control node of which a key may have leaked', () => {
    const commands = recipes.get('A control node, auth/, or a backup of it')?.map((words) => words.join(' ')) ?? []
    // The others: kubernetes-hard-way.test.ts, and test/long/rotations.test.ts.
    const ofCas = commands.filter((command) => / (ca|etcd-ca)\b|certs/.test(command))
    assert.deepEqual([ofCas.length, commands.length], [5, 11])
    for (const command of ofCas) assert.ok(typed.has(command), command)
  })
})
