/**
 * On real machines: what the units of a running cluster read is guarded where they read it, whatever stands in the
 * nodes' folders.
 */
import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { type Edit, messageOf, type Ran } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import {
  assertNothingLeft,
  fingerprint,
  mustRun,
  readStarts,
  removeDeployed,
  running,
  shownBy,
  skip,
  startedSince,
  startRunning,
} from '../support/running.ts'

const controls = ['control0', 'control1', 'control2']
const printed = ({ stdout, stderr }: Ran) => stdout + stderr

/** kube-controller-manager signs no CertificateSigningRequests then. */
const withoutSigning = `unit=/etc/systemd/system/kube-controller-manager.service
[ ! -e $unit ] || sed -i -E 's/ --cluster-signing-(cert|key)-file=[^ ]+//g; /^ *--cluster-signing-/d' $unit`

/** Counts the keys of CAs on a machine. */
const countCaKeys = 'ls /var/lib/kubernetes /home/ubuntu | grep -c ca-key.pem || :'

describe('what units read, on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const auth = (...names: string[]) => join(lab.place, 'auth', ...names)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args)
  /** Of everything that units read on control nodes. */
  const readPlaces = () =>
    Promise.all(controls.map((name) => on(name, 'sha256sum /etc/etcd/* /var/lib/kubernetes/* /var/lib/kubelet/*.pem')))
  const tidyHomes = () => removeDeployed(lab)
  const movedAway = async (work: () => Promise<void>) => {
    renameSync(auth(), auth('..', 'kept'))
    try {
      await work()
    } finally {
      rmSync(auth(), { recursive: true, force: true })
      renameSync(auth('..', 'kept'), auth())
    }
  }
  /** Both are refused, and leave the cluster as it was. */
  const mustRefuse = async (pattern: RegExp, ...args: string[]) => {
    const [places, starts] = [await readPlaces(), await readStarts(lab)]
    assert.match(printed(await must(3, ...args, '--dry-run')), pattern)
    assert.match(printed(await must(3, ...args)), pattern)
    assert.deepEqual(await readPlaces(), places)
    assert.deepEqual(await startedSince(lab, starts), [])
  }

  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

  test('two hosts that are swapped, and tidy homes: neither machine is changed, and no key is copied', async () => {
    await tidyHomes()
    const swapped: Readonly<Record<string, string>> = { control0: 'worker0', worker0: 'control0' }
    const nodes = lab.all.map(({ name, role, ip }) => ({ name, role, ip, host: swapped[name] ?? name }))
    lab.write(...running({}, [['nodes'], nodes]))
    await mustRefuse(/control0: ssh worker0 reaches worker0[\s\S]*correct host/, 'bootstrap')
    for (const name of ['control0', 'worker0'])
      assert.equal(await on(name, 'find /home/ubuntu -name "*.pem"'), '', `${name} got files`)
    // Once they are corrected, each has its own address: no warning either.
    lab.write(...running())
    assert.doesNotMatch(printed(await must(0, 'bootstrap')), /does not have the address|addresses of/)
  })

  test('an auth/ without its encryption config, and tidy homes: no new key is made', async () => {
    await tidyHomes()
    renameSync(auth('encryption-config.yaml'), auth('..', 'kept.yaml'))
    await mustRefuse(
      /control0.*\/var\/lib\/kubernetes\/encryption-config\.yaml.*nothing was created[\s\S]*recover --node/,
      'bootstrap',
    )
    assert.ok(!readdirSync(auth()).includes('encryption-config.yaml'))
    renameSync(auth('..', 'kept.yaml'), auth('encryption-config.yaml'))
  })

  test('no auth/, and another folder to deploy to: no new cluster is made over the one that runs', async () => {
    await movedAway(async () => {
      lab.write(...running({}, [['ssh', 'directory'], '/home/ubuntu/other']))
      await mustRefuse(/hold a cluster identity[\s\S]*recover --node control0/, 'bootstrap')
      assert.deepEqual(
        readdirSync(auth()).filter((name) => name.endsWith('.pem')),
        [],
      )
    })
    lab.write(...running())
  })

  test("another cluster's auth/, and tidy homes: nothing is overwritten", async () => {
    await movedAway(async () => {
      await must(0, 'certs', 'kubeconfigs', 'encryption-key')
      await mustRefuse(
        /another CA in .* and service-account key in .* and encryption key in .* than in [\s\S]*recover --node control0\n[\s\S]*recover --node control2\n/,
        'install',
      )
    })
  })

  test('a certificate that is newer than in auth/ is not overwritten', async () => {
    await must(0, 'bootstrap')
    cpSync(auth(), auth('..', 'earlier'), { recursive: true, preserveTimestamps: true })
    await must(0, 'cluster-cert', '--force')
    await must(0, 'bootstrap')
    await tidyHomes()
    await movedAway(async () => {
      renameSync(auth('..', 'earlier'), auth())
      const places = await readPlaces()
      assert.match(
        printed(await must(1, 'bootstrap', '--node', 'control0')),
        /\/etc\/etcd\/kubernetes\.pem.* newer than in/,
      )
      assert.deepEqual(await readPlaces(), places)
    })
  })

  test('recover takes what units read, from a control node whose home is empty', async () => {
    const own = (name: string) => readFileSync(auth(name), 'utf8')
    const identity = ['ca.pem', 'ca-key.pem', 'service-account-key.pem', 'encryption-config.yaml']
    const before = identity.map(own)
    await movedAway(async () => {
      await must(0, 'recover', '--node', 'control0')
      assert.deepEqual(identity.map(own), before)
      const starts = await readStarts(lab)
      await must(0, 'bootstrap')
      const restarted = await startedSince(lab, starts)
      assert.deepEqual(
        restarted.filter((unit) => /etcd|apiserver/.test(unit)),
        [],
      )
      await allWell(lab)
      // It takes the old one's place for the tests below.
      cpSync(auth(), auth('..', 'recovered'), { recursive: true, preserveTimestamps: true })
    })
    rmSync(auth(), { recursive: true })
    renameSync(auth('..', 'recovered'), auth())
  })

  test('after certs --force units have an older certificate of one key, and recover takes the newer from the folder', async () => {
    await must(0, 'certs', '--force')
    await must(0, 'bootstrap')
    const tokens = readFileSync(auth('service-account.pem'), 'utf8')
    assert.notEqual(await on('control0', 'cat /var/lib/kubernetes/service-account.pem'), tokens.trim())
    await movedAway(async () => {
      await must(0, 'recover', '--node', 'control0')
      assert.equal(readFileSync(auth('service-account.pem'), 'utf8'), tokens)
      await must(0, 'bootstrap')
      cpSync(auth(), auth('..', 'recovered'), { recursive: true, preserveTimestamps: true })
    })
    rmSync(auth(), { recursive: true })
    renameSync(auth('..', 'recovered'), auth())
  })

  test('what --replace-identity overwrites is kept in auth/backup', async () => {
    await tidyHomes()
    const held = await on('control1', 'cat /var/lib/kubernetes/service-account-key.pem')
    await lab.exec('openssl genrsa -traditional 2048 2>/dev/null >other.pem')
    lab.machine('control1').write('/var/lib/kubernetes/service-account-key.pem', await lab.exec('cat other.pem'), 0o600)
    const args = ['install', '--node', 'control1']
    assert.match(printed(await must(3, ...args)), /control1: another service-account key in /)
    await must(0, ...args, '--replace-identity', '--yes')
    assert.equal(await on('control1', 'cat /var/lib/kubernetes/service-account-key.pem'), held)
    const [kept = ''] = readdirSync(auth('backup')).filter((name) => name.startsWith('control1-'))
    const file = auth('backup', kept, 'var%2Flib%2Fkubernetes%2Fservice-account-key.pem')
    assert.equal(readFileSync(file, 'utf8'), await lab.exec('cat other.pem'))
    await must(0, 'bootstrap')
    await assertNothingLeft(lab)
  })

  test('an etcd of a user of its own keeps its files, and gets renewed ones that it can read', async () => {
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
    await allWell(lab)
  })

  test('a key that others can read, or its unit can not, is repaired', async () => {
    await on(
      'control0',
      'chmod 644 /etc/etcd/kubernetes-key.pem; chown root:root /etc/etcd/kubernetes.pem; chmod 600 /etc/etcd/kubernetes.pem',
    )
    const planned = await lab.run('install', '--dry-run', '--json')
    assert.equal(planned.status, 4, printed(planned))
    assert.match(
      String(messageOf(planned, 'install/control0')),
      /kubernetes-key\.pem permissions too open in \/etc\/etcd/,
    )
    assert.match(
      String(messageOf(planned, 'install/control0')),
      /kubernetes\.pem unreadable for its unit in \/etc\/etcd/,
    )
    await must(0, 'install')
    assert.equal(
      await on('control0', 'stat -c "%U %a" /etc/etcd/kubernetes-key.pem /etc/etcd/kubernetes.pem'),
      'etcd 600\netcd 644\n',
    )
    await must(0, 'install', '--dry-run')
  })

  test('a folder that is a link to another one: both units are up to date after one run', async () => {
    await on(
      'control2',
      'cp -p /etc/etcd/*.pem /root; rm -r /etc/etcd; ln -s /var/lib/kubernetes /etc/etcd; systemctl restart etcd || true',
    )
    await must(0, 'install', '--node', 'control2')
    await allWell(lab)
    await must(0, 'install', '--dry-run')
    // etcd is not root there.
    assert.equal(await on('control2', 'stat -c "%U %a" /var/lib/kubernetes/kubernetes-key.pem'), 'etcd 600\n')
  })

  test('a link of the login user is not followed', async () => {
    await on(
      'control1',
      'mv /var/lib/kube-proxy /home/ubuntu/proxy; ln -s /home/ubuntu/proxy /var/lib/kube-proxy; chown -h ubuntu /var/lib/kube-proxy',
    )
    const ran = await must(1, 'install', '--node', 'control1')
    assert.match(
      printed(ran),
      /control1: symlink \/var\/lib\/kube-proxy, on the path to files of its units, is not owned by root/,
    )
    await on('control1', 'rm /var/lib/kube-proxy; mv /home/ubuntu/proxy /var/lib/kube-proxy')
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
    lab.write(...running({ timeout: '20s' }))
    const ran = await lab.run('install', '--node', 'control0', '--json')
    assert.equal(ran.status, 1, printed(ran))
    assert.match(String(messageOf(ran, 'install/control0')), /kube-scheduler healthy again/)
    assert.equal(await on('control0', `cmp ${place} /root/good; systemctl is-active kube-scheduler`), 'active\n')
    await on('control0', `cp /root/scheduler ${program}`)
    lab.write(...running())
    await must(0, 'bootstrap')
    await eventually(() => must(0, 'bootstrap', '--dry-run'))
    await assertNothingLeft(lab)
  })

  test("the CA's key leaves the nodes, once nothing there names it", async () => {
    const off: Edit = [['certificates'], { key: 'ecdsa-p256', caKeyOnNodes: false }]
    lab.write(...running({}, off))
    const held = () => Promise.all(controls.map((name) => on(name, countCaKeys)))
    const named = await must(1, 'bootstrap', '--prune')
    assert.match(printed(named), /remove --cluster-signing-cert-file and --cluster-signing-key-file, /)
    for (const name of controls)
      assert.equal(await on(name, 'ls /var/lib/kubernetes/ca-key.pem'), '/var/lib/kubernetes/ca-key.pem\n')
    for (const name of controls)
      await on(name, `${withoutSigning}; systemctl daemon-reload; systemctl restart kube-controller-manager`)
    await allWell(lab)
    const starts = await readStarts(lab)
    assert.match(
      printed(await eventually(() => must(4, 'bootstrap'))),
      /To do +on control0, control1, control2, remove ca-key\.pem, which cluster\.yaml has on no node: .*bootstrap -- --prune/,
    )
    await must(4, 'bootstrap', '--prune', '--dry-run')
    const [command = ''] =
      /(?:sudo -n )?rm \/var\/lib\/kubernetes\/ca-key\.pem/.exec(printed(await must(4, 'bootstrap', '--prune'))) ?? []
    for (const name of controls) await on(name, command)
    await must(0, 'bootstrap')
    assert.deepEqual(
      await held(),
      controls.map(() => '0\n'),
    )
    await must(0, 'bootstrap', '--prune', '--dry-run')
    assert.deepEqual(await startedSince(lab, starts), [])
  })

  test("a component's user whose process names root's kubeconfig gets none of it: the run fails, and nothing there changes", async () => {
    const [folder, mine] = ['/etc/systemd/system/kube-scheduler.service.d', '/root/.kube/config']
    // It starts what it likes, under any command line.
    lab
      .machine('control1')
      .write(
        '/srv/kube-scheduler',
        `#!/bin/bash\nexec -a kube-scheduler bash -c 'sleep 9999; :' --kubeconfig=${mine}\n`,
      )
    lab
      .machine('control1')
      .write(`${folder}/user.conf`, '[Service]\nUser=kube\nExecStart=\nExecStart=/srv/kube-scheduler --kubeconfig=/k\n')
    const cluster = `apiVersion: v1\nkind: Config\nclusters: []\n`
    lab.machine('control1').write(mine, cluster)
    await on(
      'control1',
      `id kube >/dev/null 2>&1 || useradd --system kube; chmod 755 /srv/kube-scheduler; touch /k; systemctl daemon-reload; systemctl restart kube-scheduler`,
    )
    await eventually(() => on('control1', 'pgrep -u kube -f kubeconfig=/root'))
    assert.match(
      printed(await must(1, 'install')),
      /control1: kube-scheduler reads \/root\/\.kube\/config \(--kubeconfig\).*, so nothing is installed/,
    )
    assert.equal(await on('control1', `stat -c '%U' ${mine}; cat ${mine}`), `root\n${cluster}`)
    await on(
      'control1',
      `rm -r ${folder} ${mine} /k /srv/kube-scheduler; systemctl daemon-reload; systemctl restart kube-scheduler`,
    )
    await allWell(lab)
    await must(0, 'install')
  })
})
