/** The lab itself: what tests take for granted of its machines, and of the components that run on them. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { drain, undrain } from '../lab/machines/balancer.ts'
import { allWell, installAll } from '../lab/machines/components.ts'
import type { Machine } from '../lab/machines/machine.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { eventually } from '../support/eventually.ts'
import { skip } from '../support/running.ts'

describe('six machines', { skip }, () => {
  let lab: Machines
  const json = "-H 'Content-Type: application/json'"
  const admin = `curl -sS ${json} --cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem`
  const api = (name: string, path: string) => `https://${lab.machine(name).ip}:6443${path}`
  /** What an API server serves: the SHA-256 of its leaf. */
  const served = (name: string) =>
    lab.exec(
      `openssl s_client -connect ${lab.machine(name).ip}:6443 </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256`,
    )
  const pid = (name: string, unit: string) => lab.machine(name).exec(`systemctl show --value -p MainPID ${unit}`)

  before(async () => {
    lab = await startMachines()
  })
  after(() => lab?.stop())

  test('run a real systemd each, with nothing failed', async () => {
    for (const machine of lab.all) {
      assert.equal(await machine.exec('cat /proc/1/comm'), 'systemd\n')
      assert.equal(await machine.exec('systemctl --failed --quiet --no-legend'), '')
      assert.equal(await machine.exec('hostname'), `${machine.name}\n`)
    }
  })

  test('boot from a system of their own, and take no unit or program from this computer', async () => {
    const check = async (machine: Machine) => {
      const list = (command: string) => machine.exec(`systemctl ${command} --no-legend --plain | cut -d' ' -f1`)
      assert.equal(await list('list-unit-files --state=enabled'), 'network.service\nssh.service\n')
      assert.equal(await list('list-units --type=service --state=running'), 'ssh.service\nsystemd-journald.service\n')
      // It runs the machines, and is not on them.
      assert.equal(await machine.exec('command -v systemd-nspawn || true'), '')
    }
    await Promise.all(lab.all.map(check))
  })

  test('get all their files from bootstrap, over ssh', async () => {
    const ran = await lab.run('bootstrap')
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    for (const machine of lab.all)
      assert.equal(await machine.exec('stat -c "%U %a" /home/ubuntu/ca.pem'), 'ubuntu 644\n')
    assert.equal((await lab.run('bootstrap', '--dry-run')).status, 0)
  })

  test('let the user of the guide become root, and no other host key pass for theirs', async () => {
    const ssh = 'ssh -F lab/ssh_config -o BatchMode=yes ubuntu@worker0'
    assert.equal(await lab.exec(`${ssh} sudo -n id -un`), 'root\n')
    await assert.rejects(
      lab.exec(`sed 's/worker0,/worker9,/' lab/known_hosts >other; ${ssh} -o UserKnownHostsFile=other true`),
    )
  })

  test("run the guide's components with what was deployed, and all get well", async () => {
    await installAll(lab)
    const nodes = await eventually(async () => {
      const names = (await lab.exec('kubectl get nodes -o name')).trim().split('\n')
      assert.equal(names.length, 5)
      return names
    })
    assert.deepEqual(nodes, ['node/control0', 'node/control1', 'node/control2', 'node/worker0', 'node/worker1'])
  })

  test('seal a Secret that kubectl makes in the real etcd, and open it at another API server', async () => {
    await lab.exec(
      'kubectl create secret generic one --from-literal=word=witaj --dry-run=client -o json >one.json && kubectl create --validate=false -f one.json',
    )
    const etcd = '--cacert=auth/ca.pem --cert=auth/kubernetes.pem --key=auth/kubernetes-key.pem'
    const stored = await lab.exec(
      `etcdctl ${etcd} --endpoints=https://192.168.1.13:2379 get --print-value-only /registry/secrets/default/one`,
    )
    assert.match(stored, /^k8s:enc:aescbc:v1:key1:/)
    assert.doesNotMatch(stored, /witaj|d2l0YWo/)
    const secret = JSON.parse(await lab.exec(`${admin} ${api('control2', '/api/v1/namespaces/default/secrets/one')}`))
    assert.equal(secret.data.word, Buffer.from('witaj').toString('base64'))
  })

  test('tell who asks by his certificate or token, and refuse an unknown one', async () => {
    const review = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
    const who = async (credential: string) =>
      JSON.parse(
        await lab.exec(`curl -sS ${json} --cacert auth/ca.pem ${credential} -d '{}' ${api('control0', review)}`),
      )
    const byPair = await who('--cert auth/worker0.pem --key auth/worker0-key.pem')
    assert.equal(byPair.status.userInfo.username, 'system:node:worker0')
    const token = JSON.parse(
      await lab.exec(`${admin} -d '{}' ${api('control1', '/api/v1/namespaces/default/serviceaccounts/default/token')}`),
    ).status.token
    const byToken = await who(`-H 'Authorization: Bearer ${token}'`)
    assert.equal(byToken.status.userInfo.username, 'system:serviceaccount:default:default')
    const other =
      'openssl req -x509 -newkey rsa:2048 -nodes -subj /O=system:masters/CN=x -keyout x-key.pem -out x.pem 2>&1'
    await lab.exec(other)
    assert.equal((await who('--cert x.pem --key x-key.pem')).code, 401)
    assert.equal((await who(`-H 'Authorization: Bearer ${token.slice(0, -9)}AAAAAAAAA'`)).code, 401)
  })

  test('serve a new pair without a restart, and the old one while the new is none', async () => {
    const before = { leaf: await served('control0'), pid: await pid('control0', 'kube-apiserver') }
    const renewed = await lab.run('cluster-cert', '--force')
    assert.equal(renewed.status, 0, renewed.stdout)
    assert.equal((await lab.run('deploy')).status, 0)
    const install = (file: string) => `cd /var/lib/kubernetes; cp /home/ubuntu/${file} new; mv new ${file}`
    await lab.machine('control0').exec(install('kubernetes-key.pem'))
    const said = realBinaries ? /key values mismatch|does not match/ : /^Keeping what was loaded of/m
    await eventually(async () => assert.match(await lab.machine('control0').journal('kube-apiserver'), said))
    assert.equal(await served('control0'), before.leaf)
    await lab.machine('control0').exec(install('kubernetes.pem'))
    await eventually(async () => assert.notEqual(await served('control0'), before.leaf))
    assert.equal(await pid('control0', 'kube-apiserver'), before.pid)
    // Etcd's connections are made anew with what it is shown now.
    await allWell(lab)
  })

  test('take up service-account keys by a restart alone', async () => {
    const machine = lab.machine('control1')
    const kids = async () => JSON.parse(await lab.exec(`${admin} ${api('control1', '/openid/v1/jwks')}`)).keys.length
    await machine.exec('cat /home/ubuntu/ca.pem >>/var/lib/kubernetes/service-account.pem')
    assert.equal(await kids(), 1)
    await machine.exec('systemctl restart kube-apiserver')
    await eventually(async () => assert.equal(await kids(), 2))
    await machine.exec('cp /home/ubuntu/service-account.pem /var/lib/kubernetes/; systemctl restart kube-apiserver')
    await allWell(lab)
  })

  test('list in pages, at the revision of the first', async () => {
    const secrets = '/api/v1/namespaces/kube-node-lease/secrets'
    const ask = async (path: string, ...args: string[]) =>
      JSON.parse(await lab.exec(`${admin} ${args.join(' ')} '${api('control2', path)}'`))
    for (const name of ['a', 'b', 'c'])
      await ask(secrets, `-d '{"metadata":{"name":"${name}"},"stringData":{"word":"${name}"}}'`)
    const first = await ask(`${secrets}?limit=2`)
    await ask(`${secrets}/c`, '-X DELETE')
    const last = await ask(`${secrets}?limit=2&continue=${first.metadata.continue}`)
    const names = [first, last].map(({ items }) =>
      items.map(({ metadata }: { metadata: { name: string } }) => metadata.name),
    )
    assert.deepEqual(names, [['a', 'b'], ['c']])
    assert.deepEqual([first.metadata.remainingItemCount, last.metadata.continue], [1, undefined])
    assert.equal((await ask(`${secrets}/c`)).code, 404)
  })

  test('seal by the first key of their start, and write what is unchanged only where it was sealed by another', async () => {
    const machine = lab.machine('control0')
    const file = '/var/lib/kubernetes/encryption-config.yaml'
    const path = '/api/v1/namespaces/default/secrets/one'
    const ask = (name: string, args = '') => lab.exec(`${admin} ${args} ${api(name, path)}`)
    const rewrite = async () => {
      const { metadata } = JSON.parse(await ask('control0', `-X PUT -d '${await ask('control0')}'`))
      const { metadata: now } = JSON.parse(await ask('control0'))
      assert.equal(metadata.resourceVersion, now.resourceVersion)
      return Number(now.resourceVersion)
    }
    const key = Buffer.alloc(32, 7).toString('base64')
    const before = await rewrite()
    await machine.exec(
      `sed -i '0,/- aescbc:/s//- aesgcm:\\n      keys: [{name: key2, secret: "${key}"}]\\n  - aescbc:/' ${file}`,
    )
    assert.equal(await rewrite(), before)
    await machine.exec('systemctl restart kube-apiserver')
    await allWell(lab)
    const after = await rewrite()
    assert.ok(after > before)
    assert.equal(await rewrite(), after)
    // An API server that has not loaded the new key.
    assert.equal(JSON.parse(await ask('control1')).code, 500)
    await ask('control0', '-X DELETE')
    await machine.exec(`cp /home/ubuntu/encryption-config.yaml ${file}; systemctl restart kube-apiserver`)
    await allWell(lab)
  })

  test('judge a client by the CAs of the moment', async () => {
    const asked = () => lab.exec(`${admin} -o /dev/null -w '%{http_code}' ${api('control2', '/api')}`)
    assert.equal(await asked(), '200')
    const machine = lab.machine('control2')
    machine.write('/var/lib/kubernetes/ca.pem', readFileSync(join(lab.place, 'x.pem'), 'utf8'))
    await eventually(async () => assert.equal(await asked(), '401'))
    // With our CA as one issued by the CA that is trusted now, as in a rotation.
    const cross = 'openssl x509 -in auth/ca.pem -CA x.pem -CAkey x-key.pem -set_serial 7'
    await lab.exec(`(cat auth/admin.pem; ${cross}) >both.pem`)
    const both = admin.replace('auth/admin.pem', 'both.pem')
    assert.equal(await lab.exec(`${both} -o /dev/null -w '%{http_code}' ${api('control2', '/api')}`), '200')
    machine.write('/var/lib/kubernetes/ca.pem', readFileSync(join(lab.place, 'auth/ca.pem'), 'utf8'))
    await eventually(async () => assert.equal(await asked(), '200'))
  })

  test('have a unit fail that is given a bad flag, and the controller manager that is given two CAs', async () => {
    const machine = lab.machine('control1')
    const unit = '/etc/systemd/system/kube-scheduler.service'
    await machine.exec(
      `sed -i.good 's/--v=2/--no-such-flag/' ${unit}; systemctl daemon-reload; systemctl restart kube-scheduler`,
    )
    await eventually(async () => assert.match(await machine.journal('kube-scheduler'), /unknown flag: --no-such-flag/))
    await machine.exec(`mv ${unit}.good ${unit}; systemctl daemon-reload; systemctl restart kube-scheduler`)

    // The one that leads reads it, and there is no other to do so.
    for (const name of ['control0', 'control2']) await lab.machine(name).exec('systemctl stop kube-controller-manager')
    await machine.exec(
      'cd /var/lib/kubernetes; cat ca.pem ca.pem >two; mv two ca.pem; systemctl restart kube-controller-manager',
    )
    await eventually(async () =>
      assert.match(await machine.journal('kube-controller-manager'), /expected 1 certificate, found 2/),
    )
    await machine.exec('cp /home/ubuntu/ca.pem /var/lib/kubernetes/')
    for (const { name } of lab.of('control')) await lab.machine(name).exec('systemctl restart kube-controller-manager')
    await allWell(lab)
  })

  test('drain: new connections to the virtual IP go where they are wanted, and nowhere else', async () => {
    const on = (name: string, command: string) => lab.machine('gateway').exec(`NODE=${name}; ${command}`)
    const ask = `${admin} -f https://kubernetes:6443/readyz`
    for (const { name } of lab.of('control')) await on(name, drain)
    await assert.rejects(lab.exec(ask))
    await on('control1', undrain)
    assert.equal(await lab.exec(ask), 'ok')
    for (const name of ['control0', 'control2']) await on(name, undrain)
    await assert.rejects(on('control9', drain), /No such server/)
  })

  test('restart what looks after the balancer, and lose no connection through it', async () => {
    const [first = '', ...args] = [...lab.within, 'openssl', 's_client', '-quiet', '-connect', 'kubernetes:6443']
    const client = spawn(first, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    let said = ''
    client.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const ask = async (count: number) => {
      client.stdin.write('GET /readyz HTTP/1.1\r\nHost: kubernetes\r\n\r\n')
      await eventually(async () => assert.equal(said.split('200 OK').length - 1, count))
    }
    try {
      await ask(1)
      await lab.machine('gateway').exec('systemctl restart ldirectord')
      await ask(2)
    } finally {
      client.kill()
    }
    await allWell(lab)
  })

  test('end an API server that is told to as one that is not ready, but serves, for its shutdown delay', async () => {
    const machine = lab.machine('control2')
    const unit = '/etc/systemd/system/kube-apiserver.service'
    await machine.exec(
      `sed -i 's/--v=2/--shutdown-delay-duration=1h/' ${unit}; systemctl daemon-reload; systemctl restart kube-apiserver`,
    )
    await allWell(lab)
    await machine.exec('systemctl kill --signal=TERM kube-apiserver')
    const status = (path: string) => lab.exec(`${admin} -o /dev/null -w '%{http_code}' ${api('control2', path)}`)
    await eventually(async () => assert.equal(await status('/readyz'), '500'))
    assert.deepEqual([await status('/livez'), await status('/api/v1/secrets')], ['200', '200'])
    await machine.exec(
      `sed -i 's/=1h/=0s/' ${unit}; systemctl daemon-reload; systemctl kill --signal=KILL kube-apiserver`,
    )
    await machine.exec('systemctl restart kube-apiserver')
    await allWell(lab)
  })

  test('come back from a halt, and from a plug that is pulled, with all they had', async () => {
    await lab.machine('control1').stop()
    await lab.machine('control2').kill()
    await assert.rejects(lab.exec(`${admin} ${api('control1', '/readyz')}`))
    assert.throws(() => lab.machine('control1').pid)
    await Promise.all([lab.machine('control1').start(), lab.machine('control2').start()])
    await allWell(lab)
  })
})

test('nothing is left of machines, not even when their test is killed', { skip }, async () => {
  const program = `
    import { startMachines } from ${JSON.stringify(new URL('../lab/machines/machines.ts', import.meta.url).href)}
    const { place, all } = await startMachines()
    console.log(JSON.stringify({ place, pids: all.map(({ pid }) => pid) }))
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const { place, pids } = JSON.parse(line)
  const cgroup = /machines\.\d+/.exec(readFileSync(`/proc/${pids[0]}/cgroup`, 'utf8'))?.[0]
  const [, cgroups = ''] = / (\S+) cgroup2 /.exec(readFileSync('/proc/self/mounts', 'utf8')) ?? []
  const traces = [place, ...pids.map((pid: number) => `/proc/${pid}`), join(cgroups, String(cgroup))]
  const left = () => traces.filter((path) => existsSync(path))
  assert.deepEqual(left(), traces)
  child.kill('SIGKILL')
  await eventually(async () => assert.deepEqual(left(), []))
  // Nothing had a name outside in the first place.
  assert.doesNotMatch(readFileSync('/proc/self/mounts', 'utf8'), /\/run\/lab|harderway-test/)
  for (const path of ['/run/lab', '/run/systemd/nspawn/propagate/control0', '/sys/class/net/lab'])
    assert.equal(existsSync(path), false, path)
})
