/** The lab itself: what tests take for granted of its machines. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { needs } from '../support/parts.ts'
import { type Machines, startMachines } from './machines/machines.ts'

const lacksRoot = process.getuid?.() !== 0 && !process.env.REQUIRE_PARTS && 'machines need root'

describe('six machines', { skip: lacksRoot || needs('systemd-nspawn', 'ip', 'sudo') }, () => {
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
})
