/** The lab itself: what tests take for granted of its machines. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startMachines } from '../lab/machines/machines.ts'
import { eventually } from '../support/programs.ts'
import { skip } from '../support/running.ts'

test('six machines run a real systemd each, with nothing failed', { skip }, async () => {
  await using lab = await startMachines()
  for (const machine of lab.all) {
    assert.equal(await machine.exec('cat /proc/1/comm'), 'systemd\n')
    assert.equal(await machine.exec('systemctl --failed --quiet --no-legend'), '')
    assert.equal(await machine.exec('hostname'), `${machine.name}\n`)
  }
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
