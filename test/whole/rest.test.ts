/**
 * What a run with --force leaves where it is interrupted or a node is down: its command is typed as printed, and makes
 * nothing twice.
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
  const config = ['--config', join(place, 'cluster.yaml')]
  const type = async (command: unknown) => {
    const env = { ...process.env, HOME: join(place, 'home') }
    const { status, stdout, stderr } = spawnSync('sh', ['-c', `${command} --json`], {
      cwd: dirname(dirname(entry)),
      env,
      encoding: 'utf8',
    })
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
    assert.deepEqual([advice, toDo], [[], ['run npm run bootstrap; until then units do not have the new files']])
    await exits(0, place, 'bootstrap')
  })

  test('after Ctrl-C is made anew, and what is new stays', async () => {
    const planned = idsOf(await exits(4, place, 'certs', '--force', '--dry-run', '--json'), 'stale')
    // It keeps its key, and by its own name would get another.
    const all = planned.filter((id) => id !== 'component-certs/service-account')
    const go = join(place, 'go')
    const at = { event: 'rename kube-scheduler.pem#1', do: 'hold', go } as const
    const run = start(place, ['certs', '--force', '--json', ...config], { at })
    await run.told('"type":"building","id":"component-certs/kube-scheduler"')
    run.child.kill('SIGINT')
    writeFileSync(go, '')
    const stopped = await withStatus(130, run.ended)
    const done = idsOf(stopped, 'built')
    assert.ok(done.length > 0 && done.length < all.length, done.join())
    const rest = await withStatus(0, type(stopped.events.at(-1)?.goOn))
    const made = [...done, ...idsOf(rest, 'built')].toSorted()
    assert.deepEqual(
      made.filter((id) => all.includes(id)),
      all,
    )
  })

  test('on a node that was down is all that is forced once it is up, and no remedy names the same command', async () => {
    await suite.lab.node('worker0').stop()
    const quiet = await exits(1, place, 'bootstrap', '--force', '--quiet', ...config)
    await suite.lab.node('worker0').start()
    const [, command] = /^To do {6}run the rest: (.*)$/m.exec(quiet.stdout) ?? []
    assert.match(
      quiet.stdout,
      /check that sshd runs on the node, and its port; then run the command printed at the end$/m,
    )
    assert.doesNotMatch(quiet.stdout, /same command/)
    const rest = await withStatus(0, type(command))
    assert.deepEqual(idsOf(rest, 'built'), ['deploy/worker0'])
    assert.ok(idsOf(rest, 'fresh').includes('install/worker0'), rest.stdout)
    const { toDo } = rest.events.at(-1) ?? {}
    assert.deepEqual(toDo, [])
    assert.deepEqual(idsOf(await harderway(place, 'bootstrap', '--json'), 'built'), [])
  })
})
