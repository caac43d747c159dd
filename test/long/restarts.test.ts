/**
 * Phase `install`, on real machines: what is restarted where etcd has no quorum, where everything has expired, and where
 * an API server's own certificate has. Other restarts: test/machines/install-restarts.test.ts.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import {
  assertNothingLeft,
  everyInstall,
  installs,
  mustRun,
  readStarts,
  running,
  skip,
  skipReal,
  startedSince,
  startRunning,
  unload,
} from '../support/running.ts'

describe('restarts of what has no quorum or has expired, on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--json')

  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

  test('an etcd is not restarted while another is not well', async () => {
    await unload(lab, 'control0', '/etc/etcd/ca.pem')
    await on('control2', 'systemctl stop etcd')
    lab.write(...running({ timeout: '5s' }))
    const starts = await readStarts(lab)
    const ran = await must(1, 'install')
    assert.match(JSON.stringify(ran.events), /etcd not restarted; unhealthy on control2 .*--node control2/)
    await on('control2', 'systemctl start etcd')
    await allWell(lab)
    assert.ok(!(await startedSince(lab, starts)).includes('control0 etcd'))
    lab.write(...running())
    await must(0, 'install')
    assert.ok((await startedSince(lab, starts)).includes('control0 etcd'))
  })

  test('certificates that have all expired, with etcd down by that, come back by one run', async () => {
    const past = '-not_before 20250101000000Z -not_after 20250601000000Z'
    await lab.exec(
      `cd auth; openssl x509 -in kubernetes.pem -CA ca.pem -CAkey ca-key.pem -set_serial 9 ${past} >expired && mv expired kubernetes.pem`,
    )
    for (const { name } of lab.of('control')) {
      const files = ['kubernetes.pem', 'kubernetes-key.pem']
      for (const file of files)
        for (const folder of ['/etc/etcd', '/var/lib/kubernetes'])
          await on(name, `cat >${folder}/${file} <<'END'\n${await lab.exec(`cat auth/${file}`)}END`)
    }
    for (const { name } of lab.of('control'))
      await on(name, 'systemctl kill -s KILL etcd; systemctl restart --no-block etcd kube-apiserver')
    const ran = await must(0, 'bootstrap')
    assert.match(JSON.stringify(ran.events), /etcd on control0 has no quorum yet/)
    await allWell(lab)
    await eventually(async () => {
      assert.deepEqual(installs(await must(0, 'install', '--dry-run'), 'fresh'), everyInstall)
    })
    await assertNothingLeft(lab)
  })

  test('an API server of which the certificate that it made itself has ended is restarted, and makes another', {
    skip: skipReal,
  }, async () => {
    lab.write(...running())
    const unit = '/etc/systemd/system/kube-apiserver.service.d'
    const life = (seconds: number) => `printf '[Service]\\nEnvironment=STAND_IN_LOOPBACK_LIFE=${seconds}\\n'`
    await on(
      'control1',
      `mkdir -p ${unit} && ${life(-60)} >${unit}/life.conf && systemctl daemon-reload && systemctl restart kube-apiserver`,
    )
    await on('control1', `rm ${unit}/life.conf && systemctl daemon-reload`)
    await eventually(() => allWell(lab))
    const untilOf = async () => {
      const { events } = await lab.run('status', '--on-nodes', '--json')
      return Date.parse(String(events.find(({ type, id }) => type !== 'started' && id === 'install/control1')?.until))
    }
    assert.ok((await untilOf()) < Date.now())
    const planned = await must(4, 'install', '--dry-run')
    assert.match(JSON.stringify(planned.events), /loopback certificate of kube-apiserver expires/)
    const starts = await readStarts(lab)
    assert.deepEqual(installs(await must(0, 'install'), 'built'), ['install/control1'])
    assert.deepEqual(await startedSince(lab, starts), ['control1 kube-apiserver'])
    assert.ok((await untilOf()) > Date.now() + 1000 * 86_400_000)
  })
})
