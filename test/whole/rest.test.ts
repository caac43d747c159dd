/**
 * After a run with --force that was interrupted, or did not reach a node: the command that it prints makes nothing twice,
 * and what keeps its old key is named.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { before, describe, test } from 'node:test'
import {
  entry,
  exits,
  harderway,
  idsOf,
  labEdits,
  oneOfEach,
  ranOf,
  withStatus,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

describe('what a run with --force has left', { skip: needs('npm', 'ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const place = join(suite.place, 'my cluster')
  // Typed in the clone, which has a cluster.yaml of its own.
  const type = async (command: unknown) => {
    const env = { ...process.env, HOME: join(place, 'home') }
    const { status, stdout, stderr } = spawnSync(
      'sh',
      ['-c', `${command} -- --json --config '${join(place, 'cluster.yaml')}'`],
      {
        cwd: dirname(dirname(entry)),
        env,
        encoding: 'utf8',
      },
    )
    // Without npm's own lines.
    return ranOf(['--json'], status, stdout.replace(/^(>.*)?\n/gm, ''), stderr)
  }

  before(async () => {
    mkdirSync(join(place, 'home'), { recursive: true })
    writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), [['install'], true]])
    await exits(0, place, 'bootstrap')
  })

  test('of deploy is bootstrap, which gives units what was copied', async () => {
    await exits(0, place, 'certs', '--force')
    const { events } = await exits(0, place, 'deploy', '--json')
    const { advice, toDo } = events.at(-1) ?? {}
    assert.deepEqual([advice, toDo], [[], ['units do not have the new files until you run npm run bootstrap']])
    await exits(0, place, 'bootstrap')
  })

  test('after Ctrl-C is bootstrap, and what keeps its old key is named', async () => {
    const planned = idsOf(await exits(4, place, 'certs', '--force', '--dry-run', '--json'), 'stale')
    const go = join(place, 'go')
    const at = { event: 'rename kube-scheduler.pem#1', do: 'hold', go } as const
    const run = start(place, ['certs', '--force', '--json'], { at })
    await run.told('"type":"building","id":"component-certs/kube-scheduler"')
    run.child.kill('SIGINT')
    writeFileSync(go, '')
    const stopped = await withStatus(130, run.ended)
    const done = idsOf(stopped, 'built')
    // The service-account key was to stay.
    const kept = planned.filter((id) => !done.includes(id) && id !== 'component-certs/service-account')
    const { goOn, toDo } = stopped.events.at(-1) ?? {}
    const [, task = ''] = /^replace what still has its old key: npm run task -- (.*)$/.exec(String(toDo)) ?? []
    assert.ok(done.length > 0)
    assert.deepEqual(idsOf(await exits(4, place, ...task.split(' '), '--dry-run', '--json'), 'stale'), kept.toSorted())
    const rest = await withStatus(0, type(goOn))
    assert.deepEqual(
      idsOf(rest, 'built').filter((id) => planned.includes(id)),
      [],
    )
    await exits(0, place, ...kept, '--force')
  })

  test('on a node that was down is bootstrap once it is up, and no remedy names the same command', async () => {
    await suite.lab.node('worker0').stop()
    const quiet = await exits(1, place, 'bootstrap', '--force', '--quiet')
    await suite.lab.node('worker0').start()
    const [, command] = /^To do {6}run (npm run bootstrap)$/m.exec(quiet.stdout) ?? []
    assert.match(
      quiet.stdout,
      /check that sshd runs on the node, and its port; then run the command printed at the end$/m,
    )
    assert.doesNotMatch(quiet.stdout, /same command|old key/)
    const rest = await withStatus(0, type(command))
    assert.deepEqual(idsOf(rest, 'built'), ['deploy/worker0'])
    const { toDo } = rest.events.at(-1) ?? {}
    assert.deepEqual(toDo, [])
    assert.deepEqual(idsOf(await harderway(place, 'bootstrap', '--json'), 'built'), [])
  })
})
