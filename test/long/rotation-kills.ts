/**
 * Rotations of a live cluster that are killed with SIGKILL, and all of their ssh with them; the same command goes on
 * each time, to the end. Nothing that somebody asks all the time fails, and no key is lost. Arguments: how many of its
 * three rounds, and the names of some of the rotations.
 */
import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { allWell } from '../lab/machines/components.ts'
import type { Machines } from '../lab/machines/machines.ts'
import type { Edit } from '../support/harderway.ts'
import {
  assertNothingLeft,
  mustRun,
  probe,
  probedOwn,
  runAt,
  running,
  setFlags,
  shutdownDelay,
  startRunning,
} from '../support/running.ts'

const rotations = ['ca', 'service-account', 'encryption-key', 'etcd-ca']
const ownCa: Edit = [['etcd', 'ca'], 'own']
const hasOwnCa = ({ place }: Machines) => existsSync(join(place, 'auth/etcd-ca.pem'))
/** Each is the second, the third … of its cluster. */
const ends = [
  ['--force', '--yes'],
  ['--finish', '--force'],
]

interface Swept {
  readonly kills: number
  /** What was wrong, and after which kills. */
  readonly failures: readonly string[]
}

/** So many events of a run are let happen, one more time so many in each next; the first of them `offset` sooner. */
interface Pace {
  readonly every: number
  readonly offset: number
}

/** For a rotation with fewer events, as no unit of a worker takes part. */
const closer = ({ every, offset }: Pace): Pace => ({ every: Math.round(every / 3), offset: Math.round(offset / 3) })

/** The API servers get the flags that the first rotation of etcd's own CA asks for. */
async function separateEtcd(lab: Machines): Promise<void> {
  const names = lab.of('control').map(({ name }) => name)
  await setFlags(lab, await mustRun(lab, 4, 'rotate', 'etcd-ca'), names)
}

/** Each rotation from end to end, once for each pace. */
async function sweepRotations(paces: readonly Pace[], rotations: readonly string[]): Promise<Swept> {
  await using lab = await startRunning(shutdownDelay)
  let kills = 0
  const failures: string[] = []
  const edits: Edit[] = []
  const write = (edit: Edit) => {
    edits.push(edit)
    lab.write(...running({}, ...edits))
  }
  for (const [round, pace] of paces.entries())
    for (const rotation of rotations) {
      // From then on etcd has a CA of its own.
      if (rotation === 'etcd-ca' && !hasOwnCa(lab)) {
        write(ownCa)
        await separateEtcd(lab)
      }
      // The next key is one of the other provider each time.
      const provider = round % 2 === 0 ? 'secretbox' : 'aescbc'
      if (rotation === 'encryption-key') write([['encryption', 'provider'], provider])
      for (const end of ends) {
        const killedAt: string[] = []
        try {
          await killAllAlong(lab, ['rotate', rotation, ...end], rotation === 'etcd-ca' ? closer(pace) : pace, killedAt)
        } catch (error) {
          failures.push(`rotate ${rotation} ${end.join(' ')}, killed at ${killedAt.join(', ')}: ${error}`)
        }
        kills += killedAt.length
      }
    }
  return { kills, failures }
}

/** Each run gets further than the one before, until one is not killed any more. */
async function killAllAlong(lab: Machines, command: string[], { every, offset }: Pace, killedAt: string[]) {
  const { etcd: _, ...noMember } = lab.guide.probed
  // While etcd gets its own CA, no client but the API servers is one of it from the beginning to the end.
  await using probing = probe(lab, hasOwnCa(lab) ? probedOwn(lab) : command.includes('etcd-ca') ? noMember : undefined)
  const kept = keysIn(lab)
  const eventsTo = join(lab.place, 'events')
  for (let event = every - offset; ; event += every) {
    const { status, signal, stdout, stderr } = await runAt(lab, command, { event: `#${event}`, do: 'kill', eventsTo })
    for (const key of kept) assert.ok(keysIn(lab).has(key), 'a key is lost')
    if (status === 0) break
    assert.ok(status === 137 || signal === 'SIGKILL', `${status} ${signal} ${stdout} ${stderr}`)
    killedAt.push(readFileSync(eventsTo, 'utf8').split('\n').at(-1) ?? '')
  }
  const { failures } = await probing.end()
  assert.deepEqual(failures, [])
  await mustRun(lab, 0, 'bootstrap', '--dry-run')
  await assertNothingLeft(lab)
  await allWell(lab)
}

/** Of every key in auth/ and its backups, by what it opens. */
function keysIn({ place }: Machines): Set<string> {
  const path = join(place, 'auth')
  const found = readdirSync(path, { recursive: true }).map(String)
  const read = (file: string) => readFileSync(join(path, file), 'utf8')
  const signing = found
    .filter((file) => /(^|\/)((etcd-)?ca|service-account)-key\.pem$/.test(file))
    .map((file) =>
      createPublicKey(createPrivateKey(read(file)))
        .export({ type: 'spki', format: 'der' })
        .toString('hex'),
    )
  const sealing = found
    .filter((file) => /(^|\/)encryption-config\.yaml$/.test(file))
    .flatMap((file) => [...read(file).matchAll(/secret: (\S+)/g)].map(([, secret = '']) => secret))
  return new Set([...signing, ...sealing])
}

const [rounds = '3', ...some] = process.argv.slice(2)
const paces = [90, 50, 10].slice(0, Number(rounds)).map((offset) => ({ every: 110, offset }))
const { failures, kills } = await sweepRotations(paces, some.length > 0 ? some : rotations)
process.stdout.write([`${kills} kills of rotations`, ...failures, ''].join('\n'))
process.exitCode = failures.length === 0 && kills > 0 ? 0 : 1
