/** auth/last-run.json: which runs leave it, and what it says. */
import assert from 'node:assert/strict'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { lastRunFile, type RunRecord, readRunRecord } from '../../../lib/views/run-record.ts'
import { type Edit, harderway, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'
import { freePorts } from '../../support/server.ts'
import { start } from '../../support/started.ts'
import { secretsIn, stateOf } from '../../support/state.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const nodes = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
]
const edits: Edit[] = [
  [['certificates', 'key'], 'ecdsa-p256'],
  [['nodes'], nodes],
]
/** Of the phases above, for these nodes. */
const count = 9 + 6 + 1

function makeFolder(t: TestContext, more: readonly Edit[] = []) {
  const place = scratch(t)
  mkdirSync(join(place, 'home/.kube'), { recursive: true })
  writeCluster(place, [...edits, ...more])
  const auth = join(place, 'auth')
  return { place, auth, file: join(auth, lastRunFile), kube: join(place, 'home/.kube') }
}

function readRecord(file: string): RunRecord {
  const record = readRunRecord(readFileSync(file, 'utf8'))
  assert.ok(record, `${file} is no record`)
  return record
}

/** Each target once, after all that it needs, and its own moments one after the other. */
function assertInOrder({ targets }: RunRecord): void {
  const byId = new Map(targets.map((target) => [target.id, target]))
  assert.equal(byId.size, targets.length)
  for (const { id, needs: all, started, building, ended } of targets) {
    const moments = [started, building, ended].filter((moment) => moment !== null)
    assert.deepEqual(
      moments,
      moments.toSorted((a, b) => a - b),
      id,
    )
    for (const need of all) {
      const before = byId.get(need)
      assert.ok(before, `${id} needs ${need}, of which nothing is told`)
      assert.ok(before.ended <= (started ?? ended), `${id} began before ${need} had ended`)
    }
  }
}

const outcomesOf = ({ targets }: RunRecord) =>
  Object.fromEntries(
    Map.groupBy(targets, ({ outcome }) => outcome)
      .entries()
      .map(([kind, group]) => [kind, group.length]),
  )

describe('the record of the last run', { concurrency: 2 }, () => {
  test('is left by a run that makes something, for its user alone, and holds no secret', async (t) => {
    const { place, auth, file } = makeFolder(t)
    const before = Date.now()
    assert.equal((await harderway(place, ...phases)).status, 0)
    const record = readRecord(file)
    assert.deepEqual([record.names, record.exit, outcomesOf(record)], [phases, 0, { built: count }])
    const began = Date.parse(record.began)
    assert.ok(before <= began && began <= Date.now())
    assertInOrder(record)
    for (const { building } of record.targets) assert.notEqual(building, null)
    assert.equal(lstatSync(file).mode & 0o7777, 0o600)
    const [text, secrets] = [readFileSync(file, 'utf8'), secretsIn(auth)]
    assert.ok(secrets.length > 2 * count)
    for (const secret of secrets) assert.ok(!text.includes(secret))
  })

  test('is left by a run that makes nothing, in place of the one before', async (t) => {
    const { place, file } = makeFolder(t)
    await harderway(place, ...phases)
    chmodSync(file, 0o644)
    assert.equal((await harderway(place, 'certs')).status, 0)
    const record = readRecord(file)
    assert.deepEqual([record.names, record.exit, outcomesOf(record)], [['certs'], 0, { fresh: 9 }])
    assertInOrder(record)
    for (const { building } of record.targets) assert.equal(building, null)
    assert.equal(lstatSync(file).mode & 0o7777, 0o600)
  })

  test('has everything that a target needs, though only the target was asked for', async (t) => {
    const { place, file } = makeFolder(t)
    assert.equal((await harderway(place, 'kubeconfigs/worker0', '--json')).status, 0)
    const record = readRecord(file)
    assert.deepEqual(record.names, ['kubeconfigs/worker0'])
    assert.deepEqual(
      record.targets.map(({ id }) => id),
      ['ca', 'node-certs/worker0', 'kubeconfigs/worker0'],
    )
  })

  test('is left by a run in which nodes were down, with what went wrong', { skip: needs('ssh') }, async (t) => {
    const [port] = await freePorts(1)
    const { place, file } = makeFolder(t, [
      [['nodes'], nodes.map((node) => ({ ...node, host: '127.0.0.1', port }))],
      [['ssh', 'configFile'], './ssh_config'],
    ])
    writeFileSync(join(place, 'ssh_config'), '')
    assert.equal((await harderway(place, 'bootstrap', '--quiet')).status, 1)
    const record = readRecord(file)
    assert.deepEqual([record.exit, outcomesOf(record)], [1, { built: count + 1, failed: 2 }])
    assertInOrder(record)
    for (const { id, message, building } of record.targets.filter(({ outcome }) => outcome === 'failed')) {
      assert.match(`${id} ${message}`, /^deploy\/(\w+) \1: connection refused/)
      assert.equal(building, null)
    }
  })

  test('is left by a run that a signal has ended, with what was not reached', async (t) => {
    const { place, file, kube } = makeFolder(t)
    writeFileSync(join(kube, 'config.lock'), '')
    const run = start(place, ['local-kubeconfig', '--json'])
    await run.told('"type":"building","id":"local-kubeconfig"')
    run.child.kill('SIGINT')
    assert.equal((await run.ended).status, 130)
    const record = readRecord(file)
    assert.deepEqual([record.exit, outcomesOf(record)], [130, { built: 2, cancelled: 1 }])
    assertInOrder(record)
    assert.equal(lstatSync(file).mode & 0o7777, 0o600)
  })

  const looks = [
    ...[
      [...phases, '--dry-run'],
      ['bootstrap', '--dry-run', '--json'],
    ],
    ...[['verify'], ['status'], ['status', '--json'], ['graph'], ['graph', '--format', 'json'], ['--list'], ['--help']],
  ]
  for (const args of looks)
    test(`is not touched by "${args.join(' ')}"`, async (t) => {
      const { place, auth } = makeFolder(t, [[['ssh', 'options'], { ConnectTimeout: 1 }]])
      await harderway(place, ...args)
      assert.ok(!existsSync(auth), 'where there is none, none is left')
      await harderway(place, 'certs')
      const state = stateOf(auth)
      await harderway(place, ...args)
      assert.deepEqual(stateOf(auth), state)
    })

  const holdLock = (place: string) => writeFileSync(join(place, 'auth/.lock'), '')
  const spoiled = (title: string, status: number, spoil: (place: string) => void, args: readonly string[]) =>
    test(`is not touched by a run that ${title}`, async (t) => {
      const { place, auth } = makeFolder(t)
      await harderway(place, 'certs')
      spoil(place)
      const state = stateOf(auth)
      assert.equal((await harderway(place, ...args)).status, status)
      assert.deepEqual(stateOf(auth), state)
    })
  spoiled('is refused before it begins', 3, (place) => rmSync(join(place, 'auth/ca-key.pem')), phases)
  spoiled('is asked for with a bad option', 2, () => {}, ['certs', '--forse'])
  spoiled('has a bad cluster.yaml', 2, (place) => writeFileSync(join(place, 'cluster.yaml'), 'name: 1'), ['certs'])
  spoiled('finds auth/ held by another', 1, holdLock, ['certs', '--no-lock-wait'])

  test('can not be written: that is told, the exit status is what it was, and nothing of it is left', async (t) => {
    const { place, auth, file } = makeFolder(t)
    mkdirSync(file, { recursive: true, mode: 0o700 })
    writeFileSync(join(file, 'theirs'), '')
    const ran = await harderway(place, ...phases)
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    assert.ok(ran.stdout.includes(file), ran.stdout)
    assert.doesNotMatch(ran.stdout + ran.stderr, /a mistake in harderway|^ +at /m)
    const again = await harderway(place, ...phases, '--json')
    assert.equal(again.status, 0)
    assert.deepEqual(
      again.events.filter(({ type }) => type === 'note').map(({ message }) => String(message).includes(file)),
      [true],
    )
    assert.deepEqual(readdirSync(file), ['theirs'])
    assert.deepEqual(
      readdirSync(auth).filter((name) => name.startsWith('.')),
      [],
    )
  })

  test('is not written through a symbolic link', async (t) => {
    const { place, auth, file } = makeFolder(t)
    mkdirSync(auth, { mode: 0o700 })
    writeFileSync(join(place, 'elsewhere'), 'theirs')
    symlinkSync('../elsewhere', file)
    assert.equal((await harderway(place, 'ca')).status, 0)
    assert.equal(readFileSync(join(place, 'elsewhere'), 'utf8'), 'theirs')
    assert.deepEqual(readRecord(file).names, ['ca'])
  })
})
