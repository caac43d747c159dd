/** The lab itself: what tests take for granted of its machines, and of the components that run on them. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { installAll } from '../lab/machines/components.ts'
import { type Machines, startMachines } from '../lab/machines/machines.ts'
import { isSince, kubernetesVersion } from '../lab/machines/shared.ts'
import { eventually } from '../support/programs.ts'
import { skip, skipReal } from '../support/running.ts'

describe('six machines', { skip }, () => {
  let lab: Machines

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

  test('get all their files from bootstrap, over ssh', async () => {
    const ran = await lab.run('bootstrap')
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    for (const machine of lab.all)
      assert.equal(await machine.exec('stat -c "%U %a" /home/ubuntu/ca.pem'), 'ubuntu 644\n')
    assert.equal((await lab.run('bootstrap', '--dry-run')).status, 0)
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

  describe('an API server', () => {
    const admin = '--cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem'
    const get = (name: string, path: string) => lab.exec(`curl -s ${admin} https://${lab.machine(name).ip}:6443${path}`)
    const ownCertificate = async (name: string) => {
      const connect = `openssl s_client -connect ${lab.machine(name).ip}:6443 -servername apiserver-loopback-client`
      return new X509Certificate(await lab.exec(`${connect} </dev/null 2>/dev/null | openssl x509`))
    }

    test('is of the version that the tests take it for', async () => {
      const { gitVersion } = JSON.parse(await get('control0', '/version'))
      assert.ok(gitVersion.startsWith(`v${kubernetesVersion}.`), gitVersion)
    })

    test('has the SHA-256 of its encryption config in its metrics, from 1.34 on', async () => {
      const file = await lab.machine('control0').exec('sha256sum /var/lib/kubernetes/encryption-config.yaml')
      const row =
        /^apiserver_encryption_config_controller_last_config_info\{apiserver_id_hash="sha256:[0-9a-f]+",hash="sha256:(.*)"\} 1$/m
      const hash = row.exec(await get('control0', '/metrics'))?.[1]
      assert.equal(hash, isSince('1.34') ? file.slice(0, 64) : undefined)
    })

    test('serves a certificate of its own under a name of its own: for three years from 1.33 on', async () => {
      const { subject, subjectAltName, validFromDate, validToDate } = await ownCertificate('control0')
      assert.match(subject, /^CN=apiserver-loopback-client@\d+$/)
      assert.equal(subjectAltName, 'DNS:apiserver-loopback-client')
      const days = (validToDate.getTime() - validFromDate.getTime()) / 86_400_000
      assert.equal(Math.floor(days), isSince('1.33') ? 3 * 365 + 1 : 365)
    })

    test('can be a stand-in in which that has expired: /livez says so, /readyz does not', {
      skip: skipReal,
    }, async () => {
      const restart = 'systemctl restart kube-apiserver && systemctl unset-environment STAND_IN_LOOPBACK_LIFE'
      await lab.machine('control0').exec(`systemctl set-environment STAND_IN_LOOPBACK_LIFE=-1 && ${restart}`)
      await eventually(async () => assert.equal(await get('control0', '/readyz'), 'ok'))
      assert.match(await get('control0', '/livez'), /^\[-\]loopback-serving-certificate failed: /m)
      assert.ok((await ownCertificate('control0')).validToDate < new Date())
    })
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
