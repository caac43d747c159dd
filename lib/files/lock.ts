/**
 * A lock file of one machine: whoever created it holds it, and it names its owner. kubectl uses the same kind of lock
 * for a kubeconfig (`<file>.lock`), without writing into it.
 *
 * A lock is taken over only if its owner is known to be dead (livenessOf). Any other owner that can't be inspected, as
 * in another container, is named after a short wait, and the removal of its lock is left to the user.
 */
import { randomUUID } from 'node:crypto'
import { linkSync, lstatSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { hostname, uptime } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doing, Failure, isErrno, tryTo } from '../failure.ts'
import { printable, quote } from '../wording.ts'
import { readPlainFile, secretMode, syncFolder, temporary, writeNew } from './plain-file.ts'

export interface LockOptions {
  readonly signal: AbortSignal
  /** Milliseconds to wait; without, for as long as the owner lives. */
  readonly wait?: number
  readonly onWait: (message: string) => void
}

export interface Lock {
  release(): void
}

interface Owner extends Readonly<typeof thisProcess> {
  readonly token: string
  readonly since: string
}

type Liveness = 'alive' | 'dead' | 'unknown'

/** Without an owner, the lock of another program, such as kubectl's. */
interface PresentLock {
  readonly token: string
  readonly owner?: Owner
  readonly liveness: Liveness
}

const thisProcess = {
  pid: process.pid,
  /** When it began, in the kernel's ticks since boot: proc_pid_stat(5), field 22. */
  start: startOf(process.pid) ?? '',
  /** The boot of the kernel, and the PID namespace, that the pid belongs to; '' without /proc, as on macOS. */
  space: readSpace(),
  /** machine-id(5), or ''. */
  machine: readMachine(),
  host: hostname(),
}

const pollEvery = 50
/** Milliseconds to wait for an owner that can't be inspected. kubectl holds its lock for less than a second. */
const longestUnknown = 10_000
const noToken = '00000000-0000-0000-0000-000000000000'

/** Throws a Failure where the wait is over. */
export async function takeLock(path: string, options: LockOptions): Promise<Lock> {
  const mine: Owner = { ...thisProcess, token: randomUUID(), since: new Date().toISOString() }
  for (;;) {
    const dead = await waitUntilFree(path, options)
    if (dead) await removeDead(path, dead, options)
    else if (claim(path, mine)) break
  }
  return { release: () => readPresent(path)?.token === mine.token && rmSync(path, { force: true }) }
}

/** Waits until there is no lock, or only that of a dead owner, which it returns. Throws as takeLock does. */
export async function waitUntilFree(
  path: string,
  { signal, wait = Number.POSITIVE_INFINITY, onWait }: LockOptions,
): Promise<PresentLock | undefined> {
  const begun = performance.now()
  for (let isReported = false; ; isReported = true) {
    signal.throwIfAborted()
    const present = readPresent(path)
    if (!present || present.liveness === 'dead') return present
    const longest = present.liveness === 'alive' ? wait : Math.min(wait, longestUnknown)
    if (performance.now() - begun >= longest)
      throw new Failure(`${path} is held by ${formatHolder(present)}`, {
        code: 'locked',
        remedy: `wait for it to finish; ${formatAdvice(path, present)}`,
      })
    if (!isReported)
      onWait(printable(`waiting for ${formatHolder(present)} to release ${path}; ${formatAdvice(path, present)}`))
    await delay(pollEvery, undefined, { signal })
  }
}

/** In auth/ the holder of the lock removes what killed waiters left under such names; a live one then tries again. */
const temporaryBeside = (path: string, name: string) => join(dirname(path), `${temporary}${name}`)

/** Creates the lock, complete with its owner, also after a power cut; false if another was first. */
function claim(path: string, mine: Owner): boolean {
  const beside = temporaryBeside(path, mine.token)
  return doing('create the lock', path, () => {
    try {
      writeNew(beside, JSON.stringify(mine), secretMode)
      if (!tryLink(beside, path)) return false
      syncFolder(dirname(path))
      return true
    } finally {
      rmSync(beside, { force: true })
    }
  })
}

/** False where something stands there, or where the holder of the lock has removed our temporary file. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST', 'ENOENT')) return false
    throw error
  }
}

/** Under a second lock, named for the dead one's token: a second waiter must not remove the lock after it. */
async function removeDead(path: string, { token }: PresentLock, options: LockOptions): Promise<void> {
  const turn = await takeLock(temporaryBeside(path, `${token}.lock`), { ...options, wait: Number.POSITIVE_INFINITY })
  try {
    const present = readPresent(path)
    if (present?.token === token && present.liveness === 'dead') doing('remove', path, () => rmSync(path))
  } finally {
    turn.release()
  }
}

function readPresent(path: string): PresentLock | undefined {
  const file = readPlainFile(path)
  if (!file) return undefined
  const owner = file.kind === 'file' ? parseOwner(file.bytes.toString()) : undefined
  if (owner) return { token: owner.token, owner, liveness: livenessOf(owner) }
  // A power cut may have emptied it, and no program of an earlier boot runs any more.
  const written = lstatSync(path, { throwIfNoEntry: false })?.mtimeMs
  if (written === undefined) return undefined
  return { token: noToken, liveness: written < Date.now() - uptime() * 1000 ? 'dead' : 'unknown' }
}

function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, start, space, machine, host, token, since } = JSON.parse(text)
    // 0 and below would be a group of processes (kill(2)); the token becomes part of a file name.
    if (!Number.isSafeInteger(pid) || pid < 1 || !/^[0-9a-f-]{36}$/.test(token)) return undefined
    const texts = { start, space, machine, host, token, since }
    return Object.values(texts).every((each) => typeof each === 'string') ? { pid, ...texts } : undefined
  } catch {
    return undefined
  }
}

function formatHolder({ owner, liveness }: PresentLock): string {
  if (!owner) return 'another program'
  const where = liveness === 'alive' ? '' : ", can't be inspected from here"
  return `process ${owner.pid} on ${owner.host} (since ${owner.since}${where})`
}

function formatAdvice(path: string, { owner, liveness }: PresentLock): string {
  return owner && liveness === 'alive'
    ? `inspect:\n    ps -fp ${owner.pid}\nstop:\n    kill ${owner.pid}`
    : `if you are sure that it has ended:\n    rm ${quote(path)}`
}

/** `unknown`: in another PID namespace or on another machine, where the pid means another process, or hidden. */
function livenessOf(other: Owner): Liveness {
  const me = thisProcess
  if (me.space === '' || other.space === '') return 'unknown'
  if (other.space === me.space) {
    const start = startOf(other.pid)
    if (start === undefined) return isRunning(other.pid) ? 'unknown' : 'dead'
    return start === other.start ? 'alive' : 'dead'
  }
  const isSameMachine = me.machine !== '' && other.machine === me.machine && other.host === me.host
  return isSameMachine && bootOf(other) !== bootOf(me) ? 'dead' : 'unknown'
}

function bootOf({ space }: { readonly space: string }): string {
  return space.split(' ')[0] ?? ''
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

function readSpace(): string {
  try {
    // /proc may belong to another PID namespace.
    if (readlinkSync('/proc/self') !== String(process.pid)) return ''
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

/** The file may be missing or empty, or say "uninitialized". */
function readMachine(): string {
  const text = tryTo(() => readPlainFile('/etc/machine-id'))
  return text?.kind === 'file' ? (/^[0-9a-f]{32}$/m.exec(text.bytes.toString())?.[0] ?? '') : ''
}

/** When the process began. '' for a zombie, which is dead; undefined if there is none, or it is hidden (hidepid). */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? '' : fields[18]
  } catch {
    return undefined
  }
}
