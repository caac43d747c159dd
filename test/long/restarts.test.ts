/** Phase `install`, on real machines, where everything has expired: test/machines/install-restarts.test.ts has the rest. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import { assertNothingLeft, everyInstall, installs, mustRun, skip, startRunning } from '../support/running.ts'

describe('restarts of what has expired, on six machines', { skip }, () => {
  let lab: Machines
  const on = (name: string, command: string) => lab.machine(name).exec(command)
  const must = (status: number, ...args: string[]) => mustRun(lab, status, ...args, '--json')

  before(async () => {
    lab = await startRunning()
  })
  after(() => lab?.stop())

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
})
