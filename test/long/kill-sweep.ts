/**
 * Runs that are killed with SIGKILL, at each thing that they do and at any moment; after each kill nothing is lost or
 * half written, and the next run completes and tidies up. `npm run test:long` is the whole sweep; `kill-sweep.ts 0.1` a
 * tenth.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { harderway } from '../support/harderway.ts'
import {
  assertComplete,
  assertForeignKept,
  assertKept,
  assertNothingHalf,
  type Identity,
  readIdentity,
} from '../support/invariants.ts'
import { makeThreeNodes, type State, states, stoppedCommand, type ThreeNodes } from '../support/labs.ts'
import { type Ended, type Start, type Started, sshProcesses, start, temporaryFolder } from '../support/process.ts'
import { eventuallyNone } from '../support/programs.ts'

/** At an event, as at-event.ts names it, or so many milliseconds after the start. */
type Moment = { readonly event: string } | { readonly after: number }
type Kill = Moment & { readonly state: State }

export interface Sweep {
  /** Kills at events, spread over all that happens. */
  readonly stepped: number
  readonly random: number
  /** Until the masters of killed runs have ended by themselves: ControlPersist, 15 s. */
  readonly waitForMasters: boolean
}

export interface Swept {
  readonly stepped: number
  readonly random: number
  /** Runs that had ended before the moment came. */
  readonly missed: number
  readonly events: number
  /** What was wrong, and after which kill. */
  readonly failures: readonly string[]
}

export async function sweep({ stepped, random, waitForMasters }: Sweep): Promise<Swept> {
  const places = await Promise.all([makeThreeNodes(), makeThreeNodes()])
  const swept = { stepped: 0, random: 0, missed: 0, events: 0, failures: [] as string[] }
  try {
    const traces = await Promise.all(places.map((place, i) => trace(place, states[i] ?? 'empty')))
    swept.events = traces.flat().length
    const kills: Kill[] = [
      ...traces.flatMap((events) => spread(events, Math.ceil(stepped / states.length))),
      ...Array.from({ length: random }, (_, i) => ({ state: states[i % 2] ?? 'empty', after: Math.random() * 450 })),
    ]
    const work = async (place: ThreeNodes) => {
      for (let kill = kills.shift(); kill; kill = kills.shift())
        try {
          place.reset(kill.state)
          const before = readIdentity(place)
          swept[(await killed(place, kill)) ? ('event' in kill ? 'stepped' : 'random') : 'missed'] += 1
          await assertMended(place, kill.state, before)
        } catch (error) {
          swept.failures.push(`after a kill at ${JSON.stringify(kill)}: ${String(error)}`)
        }
    }
    await Promise.all(places.map(work))
    if (waitForMasters) for (const { path } of places) await eventuallyNone(() => sshProcesses(path))
    return swept
  } finally {
    for (const place of places) await place[Symbol.asyncDispose]()
    // The nodes are gone, and so every connection.
    for (const { path } of places) await eventuallyNone(() => sshProcesses(path))
  }
}

/** Every event of a run that is not killed. */
async function trace(place: ThreeNodes, state: State): Promise<Kill[]> {
  place.reset(state)
  const eventsTo = join(place.path, 'events')
  const { status, stdout, stderr } = await watched(place, stoppedCommand[state], { at: { eventsTo } }).ended
  assert.equal(status, 0, stdout + stderr)
  assertComplete(place)
  return readFileSync(eventsTo, 'utf8')
    .split('\n')
    .map((event) => ({ state, event }))
}

/** What can't be made again, and what others would stumble over, comes first: all of it, however few are asked for. */
function spread(kills: readonly Kill[], count: number): Kill[] {
  const special = [
    /^(rename|half) .*\b(ca|ca-key|service-account-key)\.pem#/,
    /^rename encryption-config/,
    /^rm config.lock#/,
    /^ended scp control0#/,
  ]
  const isPrecious = (kill: Kill) => 'event' in kill && special.some((pattern) => pattern.test(kill.event))
  const precious = kills.filter(isPrecious)
  const others = kills.filter((kill) => !isPrecious(kill))
  const left = Math.min(Math.max(count - precious.length, 0), others.length)
  return [
    ...precious,
    ...Array.from({ length: left }, (_, i) => others[Math.floor((i * others.length) / left)]),
  ].filter((kill) => kill !== undefined)
}

async function assertMended(place: ThreeNodes, state: State, before: Identity): Promise<void> {
  // What ssh and scp have been given they may still carry out. Masters wait for more, for 15 s.
  await eventuallyNone(() => sshProcesses(place.path, { masters: false }))
  assertNothingHalf(place, state)
  await removeSockets(place)
  const left = readIdentity(place)
  assertKept(before, place, left)
  await mend(place)
  assertKept(left, place, readIdentity(place))
}

/** What nobody removes after a killed run is at most one folder, with the sockets of its connections. */
async function removeSockets({ path }: ThreeNodes): Promise<void> {
  const folder = temporaryFolder(path)
  const left = readdirSync(folder, { withFileTypes: true, recursive: true })
  const folders = left.filter((each) => each.isDirectory())
  assert.ok(folders.length <= 1, `${folders.length} folders for sockets`)
  assert.ok(
    left.every((each) => each.isDirectory() || each.isSocket()),
    'more than sockets is left',
  )
  // A master that is exiting removes its socket meanwhile.
  await rm(folder, { recursive: true, force: true })
}

/** Whether the run was killed: it may have ended before. */
async function killed(place: ThreeNodes, kill: Kill): Promise<boolean> {
  const args = stoppedCommand[kill.state]
  const run = watched(place, args, 'event' in kill ? { at: { event: kill.event, do: 'kill' } } : {})
  const timer = 'after' in kill && setTimeout(() => run.child.kill('SIGKILL'), kill.after)
  const { status, signal, stdout, stderr } = await run.ended
  if (timer) clearTimeout(timer)
  assert.ok(status === 0 || signal === 'SIGKILL', `ended with ${status} ${signal}: ${stdout}${stderr}`)
  return signal === 'SIGKILL'
}

/** The next run, and one that finds all of it fresh. */
async function mend(place: ThreeNodes): Promise<void> {
  const next = watched(place, ['bootstrap', '--json'])
  const { status, stdout, stderr } = await next.ended
  assert.equal(status, 0, stdout + stderr)
  assertComplete(place)
  await eventuallyNone(() => sshProcesses(place.path, { pid: next.pid }))
  const local = ['certs', 'kubeconfigs', 'encryption-key', 'local-kubeconfig']
  const again = await harderway(place.path, ...local, '--dry-run')
  assert.equal(again.status, 0, again.stdout + again.stderr)
}

/** A run beside which somebody reads the kubeconfig all the time. */
function watched(
  place: ThreeNodes,
  args: readonly string[],
  options: Start = {},
): Pick<Started, 'child' | 'pid'> & {
  readonly ended: Promise<Ended>
} {
  const { child, pid, ended } = start(place.path, args, options)
  let lost: unknown
  const reader = setInterval(() => {
    try {
      assertForeignKept(place)
    } catch (error) {
      lost ??= error
    }
  }, 2)
  const judged = ended.then((end) => {
    clearInterval(reader)
    if (lost !== undefined) throw lost
    return end
  })
  return { child, pid, ended: judged }
}

export function formatSwept({ stepped, random, missed, events }: Swept): string {
  return `${stepped + random} kills (${stepped} at one of ${events} events, ${random} at random moments, ${missed} came too late)`
}

if (import.meta.main) {
  const share = Number(process.argv[2] ?? 1)
  const swept = await sweep({ stepped: 220 * share, random: 100 * share, waitForMasters: true })
  process.stdout.write([formatSwept(swept), ...swept.failures, ''].join('\n'))
  process.exitCode = swept.failures.length === 0 && swept.stepped + swept.random >= 300 * share ? 0 : 1
}
