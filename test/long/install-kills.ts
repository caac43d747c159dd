/**
 * Runs of `install` that are killed with SIGKILL, and all of their ssh with them, at the things that they do; after
 * each kill what is in place is old or new, and the same command finishes: all loaded, nothing drained, nothing left.
 * Of fewer kills with their number as its argument.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Machines } from '../lab/machines/machines.ts'
import { sha256 } from '../support/files.ts'
import { eventually } from '../support/programs.ts'
import { assertNothingLeft, mustRun, runAt, startRunning, unload } from '../support/running.ts'

const node = 'control0'
const command = ['install', '--node', node]
const places = [
  ...['kubernetes.pem', 'kubernetes-key.pem'].flatMap((file) => [
    { file, path: `/etc/etcd/${file}` },
    { file, path: `/var/lib/kubernetes/${file}` },
  ]),
  { file: 'kube-scheduler', path: '/var/lib/kubernetes/kube-scheduler-client.pem' },
]

interface Swept {
  readonly kills: number
  readonly events: number
  /** What was wrong, and after which kill. */
  readonly failures: readonly string[]
}

async function sweepInstall(kills: number): Promise<Swept> {
  await using lab = await startRunning()
  const events = await trace(lab)
  const chosen = Array.from({ length: kills }, (_, i) => events[Math.floor((i * events.length) / kills)] ?? '')
  const failures: string[] = []
  for (const event of chosen)
    try {
      await killAt(lab, event)
    } catch (error) {
      failures.push(`after a kill at ${event}: ${error}`)
    }
  return { kills: chosen.length, events: events.length, failures }
}

/** A pair that is taken up by itself, a unit that is restarted, and one that is drained for it. */
async function makeStale(lab: Machines): Promise<void> {
  await mustRun(lab, 0, 'cluster-cert', 'component-certs/kube-scheduler', '--force')
  await unload(lab, node, '/var/lib/kubernetes/service-account.pem')
}

/** What a run does from its first look at a node on. */
async function trace(lab: Machines): Promise<string[]> {
  await makeStale(lab)
  const eventsTo = join(lab.place, 'events')
  const { status, stdout, stderr } = await runAt(lab, command, { eventsTo })
  assert.equal(status, 0, stdout + stderr)
  const events = readFileSync(eventsTo, 'utf8').split('\n')
  return events.slice(events.findIndex((event) => event.startsWith('spawn ssh')))
}

async function killAt(lab: Machines, event: string): Promise<void> {
  await makeStale(lab)
  const old = await digests(lab)
  const { status, signal, stdout } = await runAt(lab, command, { event, do: 'kill' })
  assert.ok(status === 0 || status === 137 || signal === 'SIGKILL', `${status} ${signal} ${stdout}`)
  // What it had told the machines they do to its end: by then a place is all old or all new.
  for (const name of [node, 'gateway'])
    await eventually(async () => assert.equal(await lab.machine(name).exec('pgrep -u ubuntu -f "sh -s" || true'), ''))
  assertOldOrNew(lab, old, await digests(lab))
  await mustRun(lab, 0, ...command)
  assertNew(lab, await digests(lab))
  await assertNothingLeft(lab)
  await mustRun(lab, 0, ...command, '--dry-run')
}

async function digests(lab: Machines): Promise<Map<string, string>> {
  const told = await lab.machine(node).exec(`sha256sum ${places.map(({ path }) => path).join(' ')}`)
  return new Map(
    told
      .split('\n')
      .filter(Boolean)
      .map((line) => [line.slice(66), line.slice(0, 64)]),
  )
}

/** Of a file in auth/, or of the pair of that name in one file. */
function digestOf(lab: Machines, file: string): string {
  const files = file.endsWith('.pem') ? [file] : [`${file}.pem`, `${file}-key.pem`]
  const [first = '', ...more] = files.map((each) => readFileSync(join(lab.place, 'auth', each), 'utf8'))
  return sha256(more.length === 0 ? first : [first, ...more, ''].join('\n'))
}

function assertNew(lab: Machines, now: ReadonlyMap<string, string>): void {
  for (const { file, path } of places) assert.equal(now.get(path), digestOf(lab, file), path)
}

function assertOldOrNew(lab: Machines, old: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): void {
  const isNew = places.map(({ file, path }) => now.get(path) === digestOf(lab, file))
  if (isNew.every(Boolean)) return
  for (const { path } of places) assert.equal(now.get(path), old.get(path), `${path} is neither all old nor all new`)
}

const { failures, kills, events } = await sweepInstall(Number(process.argv[2] ?? 60))
process.stdout.write([`${kills} kills of an install, at ${events} events`, ...failures, ''].join('\n'))
process.exitCode = failures.length === 0 ? 0 : 1
