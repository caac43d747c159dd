/**
 * A cluster of 0.5.0 goes on under this version: its auth/, its nodes, its list of the revoked, and each rotation that
 * 0.5.0 has begun, at each stage, which one node has and the others do not. No request fails.
 */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { rotations } from '../../tasks/rotations/rotations.ts'
import type { Machines } from '../lab/machines/machines.ts'
import { realBinaries } from '../lab/machines/shared.ts'
import { type Edit, idsOf, makePlace, type Ran } from '../support/harderway.ts'
import { start } from '../support/process.ts'
import {
  mustRun,
  probedOwn,
  running,
  setFlags,
  shutdownDelay,
  skip,
  startRunning,
  toldOf,
  unnoticed,
} from '../support/running.ts'

/** The commit of 0.5.0. */
const released = '6825c813'
const project = join(import.meta.dirname, '../..')

/** 0.5.0 has no command that stops in the middle of its stages; this begins one. */
const beginner = `
import { readFileSync } from 'node:fs'
import { AuthDir } from './lib/files/auth-dir.ts'
import { harderWay } from './tasks/layouts/harder-way.ts'
import { rotations } from './tasks/day2/rotations/rotations.ts'
import { readCluster } from './test/support/harderway.ts'
const [place, name, stage] = process.argv.slice(2)
const cluster = readCluster(readFileSync(place + '/cluster.yaml'))
const run = { auth: new AuthDir(place + '/auth', harderWay.files), cluster, now: new Date(), options: {}, note() {} }
await rotations.find((each) => each.name === name).stages[stage].begin({ run, isForced: true })
`

describe('a cluster of 0.5.0', { skip }, () => {
  /** Its `run` is 0.5.0's. */
  let lab: Machines
  const earlier = makePlace()
  const runNew = (...args: string[]): Promise<Ran> =>
    start(lab.place, args, { entry: lab.entry.replace(earlier, project), by: lab.within }).ended
  const must = async (status: number, ...args: string[]) => {
    const ran = await runNew(...args)
    assert.equal(ran.status, status, toldOf(ran))
    return ran
  }
  const write = (...more: Edit[]) =>
    lab.write(
      ...running(
        {},
        [['users'], [{ name: 'jane' }, { name: 'bob' }]],
        [['aggregation'], true],
        [['etcd', 'ca'], 'own'],
        ...more,
      ),
    )
  /** What is left is nothing that a run does. */
  const assertSettled = async () => {
    const plan = await runNew('bootstrap', '--dry-run', '--json')
    assert.deepEqual([idsOf(plan, 'stale'), idsOf(plan, 'failed'), idsOf(plan, 'refused')], [[], [], []], toldOf(plan))
  }
  const controls = ['control0', 'control1', 'control2']
  const setFlagsOf = (ran: Ran) => setFlags(lab, ran, controls)
  const begin = (name: string, stage: number) =>
    promisify(execFile)(process.execPath, ['begin.ts', lab.place, name, String(stage)], { cwd: earlier })

  before(async () => {
    const tar = execFileSync('git', ['-C', project, 'archive', released], { maxBuffer: 2 ** 28 })
    execFileSync('tar', ['-x', '-C', earlier], { input: tar })
    symlinkSync(join(project, 'node_modules'), join(earlier, 'node_modules'))
    writeFileSync(join(earlier, 'begin.ts'), beginner)
    lab = await startRunning(shutdownDelay, earlier)
    lab.write(...running({}, [['etcd', 'ca'], 'own']))
    await setFlagsOf(await lab.run('rotate', 'etcd-ca'))
    for (const how of [[], ['--finish']]) await lab.run('rotate', 'etcd-ca', ...how, '--force', '--yes')
    write()
    await lab.run('bootstrap')
    await setFlagsOf(await lab.run('bootstrap'))
    await lab.run('bootstrap')
    await mustRun(lab, 0, 'bootstrap', '--dry-run')
  })
  after(async () => {
    await lab?.stop()
    rmSync(earlier, { recursive: true, force: true })
  })

  for (const { name, stages } of rotations)
    for (const [last, stage] of stages.entries())
      test(`goes on with rotate ${name} from its stage ${stage.name}`, async () => {
        for (let i = 0; i <= last; i++) {
          if (i > 0) await lab.run('bootstrap')
          await begin(name, i)
        }
        await lab.run('deploy', 'install', '--node', 'control1')
        const goOn = async () => {
          await runNew('bootstrap')
          await assertSettled()
          if (stage !== stages.at(-1)) await must(0, 'rotate', name, '--force', '--yes')
          await must(0, 'rotate', name, '--finish', '--force', '--yes')
        }
        // With the old key the tokens that it has signed end, such as the one of who asks.
        await (name === 'service-account' ? goOn() : unnoticed(lab, goOn, probedOwn(lab)))
        await assertSettled()
        assert.match((await must(3, 'rotate', name, '--undo')).stderr, /no rotation of .* is in progress/)
      })

  // The stand-in's API server reads no list with keys.
  const noKeys = realBinaries ? false : 'KUBE_BIN_DIR names no real API server'
  test('has its list of names taken over; a list with keys stops every command that writes, until 0.5.0 has taken the keys out', {
    skip: skip || noKeys,
  }, async () => {
    write([['revoked'], []])
    await lab.run('bootstrap')
    await setFlagsOf(await lab.run('bootstrap'))
    await lab.run('bootstrap')
    write([['users'], [{ name: 'jane' }]], [['revoked'], ['bob']])
    await lab.run('bootstrap')
    await unnoticed(lab, async () => void (await runNew('bootstrap')), probedOwn(lab))
    await assertSettled()
    // With 0.5.0 jane's key is revoked: then jane gets another name.
    const fingerprint = await lab.exec('openssl x509 -noout -fingerprint -sha256 -in auth/jane.pem')
    write([['users'], [{ name: 'jane' }]], [['revoked'], ['bob', fingerprint.trim()]])
    await lab.run('revoked', 'install')
    await lab.run('bootstrap')
    assert.match(toldOf(await must(2, 'bootstrap')), /is a fingerprint, and this version revokes names alone/)
    write([['users'], [{ name: 'jane' }]], [['revoked'], ['bob']])
    assert.match(toldOf(await must(3, 'bootstrap')), /revokes keys .* and this version revokes names alone/)
    write([['users'], [{ name: 'jane-2' }]], [['revoked'], ['bob', 'jane']])
    await lab.run('revoked', 'install')
    await lab.run('bootstrap')
    await unnoticed(lab, async () => void (await runNew('bootstrap')), probedOwn(lab))
    await assertSettled()
  })
})
