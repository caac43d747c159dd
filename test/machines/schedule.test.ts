/**
 * What `schedule` writes, under a real systemd: the timer renews what is due, and finishes on its next day what a kill,
 * a reboot or a node that is down has left. The gateway is the machine that has auth/, with the package in a folder of
 * its user's.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync, utimesSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { harderWay } from '../lab/machines/harder-way.ts'
import type { Machine } from '../lab/machines/machine.ts'
import { type Machines, onlyMachines, startMachines } from '../lab/machines/machines.ts'
import { copySource } from '../support/files.ts'
import { writeCluster } from '../support/harderway.ts'
import { eventually } from '../support/programs.ts'
import { skip } from '../support/running.ts'

/** Each character of it means something to systemd or to a shell. */
const folder = '/home/ubuntu/my %n $HOME'
const unit = 'harderway-kubenet'
const stamp = `/var/lib/systemd/timers/stamp-${unit}.timer`
const metricsFile = `/var/lib/prometheus/node-exporter/${unit}.prom`
const deployedTo = ['control0', 'worker0', 'worker1']

/** Days of validity and renewBefore: by each pair, what the one before has issued is due. */
const periods = [
  [10, 5],
  [100, 20],
  [400, 200],
  [1000, 500],
  [2000, 1500],
] as const

function makePackage(lab: Machines): string {
  const source = join(lab.place, 'source')
  copySource(source)
  execFileSync(process.execPath, ['scripts/package.ts'], { cwd: source })
  return join(source, 'dist')
}

describe('the timer of schedule', { skip }, () => {
  let lab: Machines
  let operator: Machine
  let next = 0

  const as = (user: string, command: string) =>
    operator.exec(`su ${user} -c ${quoted(`cd ${quoted(folder)} && ${command}`)}`)
  const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`
  const harderway = (task: string) => as('ubuntu', `/opt/lab/node node_modules/harderway/bin/main.js ${task}`)
  const shown = async () => {
    const names = ['InvocationID', 'ActiveState', 'Result', 'ExecMainStatus']
    const values = await operator.exec(`systemctl show ${names.map((name) => `-p ${name}`).join(' ')} ${unit}.service`)
    return Object.fromEntries(values.split('\n').map((line) => line.split('='))) as Record<string, string>
  }
  /** Everything that was issued is due from then on. */
  const makeDue = () => {
    const [validity, renewBefore] = periods[next++] ?? []
    writeCluster(join(operator.root, folder), [
      [['certificates'], { key: 'ecdsa-p256', validity: `${validity}d`, renewBefore: `${renewBefore}d` }],
      [['nodes'], deployedTo.map((name) => lab.machine(name)).map(({ name, role, ip }) => ({ name, role, ip }))],
    ])
  }
  const passDay = () => {
    const before = Date.now() / 1000 - 2 * 86_400
    utimesSync(join(operator.root, stamp), before, before)
  }
  /** As the next day: the timer makes up for it. Resolves when the service has started. */
  const fire = async () => {
    const { InvocationID } = await shown()
    await operator.exec(`systemctl stop ${unit}.timer`)
    passDay()
    await operator.exec(`systemctl start ${unit}.timer`)
    await eventually(async () => assert.notEqual((await shown()).InvocationID, InvocationID))
  }
  const ended = () =>
    eventually(async () => {
      const { ActiveState, Result, ExecMainStatus } = await shown()
      assert.match(String(ActiveState), /^(inactive|failed)$/)
      return [Result, ExecMainStatus]
    })
  const here = (name: string) => readFileSync(join(operator.root, folder, 'auth', name))
  const there = (node: string, name: string) => readFileSync(join(lab.machine(node).root, 'home/ubuntu', name))
  const isDeployed = (node: string) => assert.deepEqual(there(node, `${node}.pem`), here(`${node}.pem`))
  const metrics = () => readFileSync(join(operator.root, metricsFile), 'utf8')
  const issued = () => ['kubernetes.pem', 'worker0.pem', 'worker1.pem'].map(here)
  const assertIssuedSince = (old: readonly Buffer[]) => {
    for (const [i, bytes] of issued().entries()) assert.notDeepEqual(bytes, old[i])
  }
  const assertRenewed = async (old: readonly Buffer[]) => {
    assertIssuedSince(old)
    for (const node of deployedTo) isDeployed(node)
    await harderway('bootstrap --dry-run')
  }
  /** Resolves when worker0 has what worker1, whose folder is held, has not. */
  const middle = async (old: readonly Buffer[]) => {
    await eventually(() => {
      assertIssuedSince(old)
      isDeployed('worker0')
    })
    await eventually(() => lab.machine('worker1').exec('pgrep -u ubuntu -x sleep'))
    assert.equal((await shown()).ActiveState, 'activating')
  }
  /** As by another run: what is copied there waits for half a minute (node.sh). */
  const holdFolder = () => lab.machine('worker1').exec('systemd-run --quiet --unit=hold flock /home/ubuntu sleep 600')
  const releaseFolder = () => lab.machine('worker1').exec('systemctl stop hold')

  before(async () => {
    lab = await startMachines(undefined, onlyMachines(harderWay, ...deployedTo, 'gateway'))
    operator = lab.machine('gateway')
    const home = join(operator.root, 'home/ubuntu')
    cpSync(makePackage(lab), join(operator.root, folder, 'node_modules/harderway'), { recursive: true })
    cpSync(join(lab.place, 'lab/client_key'), join(home, '.ssh/id_ed25519'))
    cpSync(join(lab.place, 'lab/known_hosts'), join(home, '.ssh/known_hosts'))
    makeDue()
    const collected = dirname(metricsFile)
    await operator.exec(`chown -R ubuntu: /home/ubuntu; mkdir -p ${collected}`)
    await operator.exec(`chgrp ubuntu ${collected}; chmod g+w ${collected}`)
    await harderway('bootstrap')
    await harderway('report --format prometheus')
    // As it is printed, apart from sudo; and without a delay by chance.
    const printed = await harderway('schedule --write units')
    const steps = [...printed.matchAll(/^ {4}sudo (.*)$/gm)].map(([, step]) => step)
    assert.equal(steps.length, 2, printed)
    operator.write(`/etc/systemd/system/${unit}.timer.d/test.conf`, '[Timer]\nRandomizedDelaySec=0\n')
    await operator.exec(steps.join(' && '))
  })
  after(() => lab?.stop())

  test('does nothing as it is enabled, and renews on its day what is due, on every node', async () => {
    assert.equal((await shown()).InvocationID, '')
    const old = issued()
    makeDue()
    await fire()
    assert.deepEqual(await ended(), ['success', '0'])
    await assertRenewed(old)
    assert.match(await operator.exec(`stat -c %a:%U ${metricsFile}`), /^644:ubuntu\n$/)
    for (const node of deployedTo)
      assert.match(metrics(), new RegExp(`^harderway_node_deployed\\{cluster="kubenet",node="${node}"\\} 1$`, 'm'))
  })

  test('finishes what a power cut has left, once the machine is up on the next day, whose lock is of an earlier boot', async () => {
    const old = issued()
    makeDue()
    await holdFolder()
    await fire()
    await middle(old)
    await operator.kill()
    await releaseFolder()
    // Whether or not the node puts in place what the killed run had sent there, it has ended.
    await eventually(() => lab.machine('worker1').exec("! pgrep -u ubuntu -x 'sh|dash|bash'"))
    passDay()
    await operator.start()
    await eventually(async () => assert.notEqual((await shown()).InvocationID, ''))
    assert.deepEqual(await ended(), ['success', '0'])
    await assertRenewed(old)
  })

  test('fails each day while a node is down, renews the others, and the node on the day when it is back', async (t) => {
    const old = issued()
    makeDue()
    await lab.machine('worker1').stop()
    for (const _ of [1, 2]) {
      await fire()
      assert.deepEqual(await ended(), ['exit-code', '1'])
      isDeployed('worker0')
      assert.match(metrics(), /^harderway_node_inspected\{cluster="kubenet",node="worker1"\} 0$/m)
      assert.doesNotMatch(metrics(), /^harderway_node_deployed\{cluster="kubenet",node="worker1"\}/m)
    }
    t.diagnostic(await operator.journal(unit))
    await lab.machine('worker1').start()
    await fire()
    assert.deepEqual(await ended(), ['success', '0'])
    await assertRenewed(old)
  })

  test('does not start without auth/, and so makes no new identity', async () => {
    await as('ubuntu', 'mv auth away')
    await assert.rejects(operator.exec(`systemctl start ${unit}.service`))
    assert.equal((await operator.exec(`systemctl show --value -p AssertResult ${unit}.service`)).trim(), 'no')
    await as('ubuntu', 'test ! -e auth && mv away auth')
  })
})
