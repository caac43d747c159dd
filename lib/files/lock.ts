/**
 * A lock file: whoever created it holds it, and it names its owner. kubectl uses the same kind of lock for a
 * kubeconfig (`<file>.lock`), without writing into it.
 *
 * A lock is taken over only if its owner is known to be dead (livenessOf). An owner in another container or on another
 * machine can't be inspected: after a short wait it is named, and the removal of its lock is left to the user.
 */
import { randomUUID } from 'node:crypto'
import { linkSync, readdirSync, readFileSync, readlinkSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doing, Failure, isErrno, tryTo } from '../failure.ts'
import { pasteable, printable, quote } from '../wording.ts'
import { readPlainFile } from './plain-file.ts'

export interface LockOptions {
  readonly signal: AbortSignal
  /** Milliseconds to wait; Infinity for as long as the owner lives. */
  readonly wait: number
  /** Called when a wait begins. */
  readonly onWait: (message: string) => void
}

export interface Lock {
  release(): void
}

type ProcessId = Readonly<typeof thisProcess>

interface LockOwner extends ProcessId {
  /** No two locks have the same. */
  readonly token: string
  /** When it took the lock, by its own clock. */
  readonly since: string
}

const bootIdFile = '/proc/sys/kernel/random/boot_id'

/** The identity of a process, for others in containers and on machines that share the folder. */
export const thisProcess = {
  pid: process.pid,
  /** When it began, in the kernel's ticks since boot: proc_pid_stat(5), field 22. */
  start: startOf(process.pid) ?? '',
  /** The boot of the kernel, and the PID namespace, that the pid belongs to; '' without /proc, as on macOS. */
  space: readSpace(),
  /** machine-id(5); '' where there is none, and in a container that is not booted: its boot is not the machine's. */
  machine: readMachine(),
  host: hostname(),
  /** 'own' where it sees the lock on a disk that only one kernel mounts; '' for any other file system, such as NFS. */
  disk: '',
}

/** The owner of a lock that names nobody, such as kubectl's. */
const anotherProgram: LockOwner = {
  pid: 0,
  start: '',
  space: '',
  machine: '',
  host: '',
  disk: '',
  token: '',
  since: '',
}

/** The boot of this machine's kernel, or the machine's name where the system reports none. */
export const thisBoot = bootOf(thisProcess) || thisProcess.host

/** Milliseconds. */
const pollEvery = 50
/** Milliseconds to wait for an owner that can't be inspected. kubectl holds its lock for less than a second. */
const longestUnknown = 10_000

/** Throws a Failure where the wait is over. */
export async function takeLock(path: string, options: LockOptions): Promise<Lock> {
  const mine: LockOwner = { ...processAt(path), token: randomUUID(), since: new Date().toISOString() }
  for (;;) {
    const dead = await waitUntilFree(path, options)
    if (dead) await removeDead(path, dead, options)
    else if (claim(path, mine)) break
  }
  tryTo(() => removeLeftovers(path))
  return { release: () => isHeldBy(path, mine) && rmSync(path, { force: true }) }
}

/** Whether its owner is known to be dead. It would block kubectl, which can't tell. */
export function isStaleLock(path: string): boolean {
  const owner = readOwner(path)
  return owner !== undefined && livenessOf(owner, processAt(path)) === 'dead'
}

/**
 * Waits until there is no lock, or only that of a dead owner, which it returns. Changes nothing. Throws as takeLock
 * does.
 */
export async function waitUntilFree(
  path: string,
  { signal, wait, onWait }: LockOptions,
): Promise<LockOwner | undefined> {
  const begun = performance.now()
  for (let isReported = false; ; isReported = true) {
    signal.throwIfAborted()
    const owner = readOwner(path)
    const liveness = owner && livenessOf(owner, processAt(path))
    if (!owner || liveness === 'dead') return owner
    const longest = liveness === 'alive' ? wait : Math.min(wait, longestUnknown)
    if (performance.now() - begun >= longest)
      throw new Failure(`${path} is held by ${formatOwner(owner)}`, {
        code: 'locked',
        remedy: `wait for it to finish; ${formatAdvice(path, owner)}`,
      })
    if (!isReported)
      onWait(printable(`waiting for ${formatOwner(owner)} to release ${path}; ${formatAdvice(path, owner)}`))
    await delay(pollEvery, undefined, { signal })
  }
}

/** Creates the lock, complete with its owner; false if another was first. */
function claim(path: string, mine: LockOwner): boolean {
  const beside = `${path}.${mine.token}`
  return doing('create the lock', path, () => {
    try {
      writeFileSync(beside, JSON.stringify(mine), { flag: 'wx', mode: 0o600 })
      // Over NFS link(2) may succeed although its answer was lost: open(2), O_EXCL.
      return tryLink(beside, path) || isHeldBy(path, mine)
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

/**
 * Serialised by a lock that is named for the dead owner's: of two waiters the second sees that the dead owner's lock is
 * gone, and leaves the next one alone. Its owner may die too, so it is a lock like any other.
 */
async function removeDead(path: string, dead: LockOwner, options: LockOptions): Promise<void> {
  // Held only briefly, so --no-lock-wait waits for it too.
  const turn = await takeLock(`${path}.${dead.token}`, { ...options, wait: Number.POSITIVE_INFINITY })
  try {
    if (isHeldBy(path, dead)) doing('remove', path, () => rmSync(path))
  } finally {
    turn.release()
  }
}

/** Removes what killed waiters left. A live waiter whose file is removed tries again. */
function removeLeftovers(path: string): void {
  const [folder, name] = [dirname(path), basename(path)]
  doing('tidy', folder, () => {
    for (const each of readdirSync(folder))
      if (each.startsWith(name) && /^(\.[0-9a-f-]{36})+$/.test(each.slice(name.length)))
        rmSync(join(folder, each), { force: true })
  })
}

/** Undefined where there is no lock. */
function readOwner(path: string): LockOwner | undefined {
  const file = readPlainFile(path)
  return file && ((file.kind === 'file' && parseOwner(file.bytes.toString())) || anotherProgram)
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    // An earlier version wrote no disk.
    const { pid, start, space, machine, host, disk = '', token, since } = JSON.parse(text)
    // 0 and below would be a group of processes (kill(2)); the token becomes part of a file name.
    if (!Number.isSafeInteger(pid) || pid < 1 || !/^[0-9a-f-]{36}$/.test(token)) return undefined
    const texts = { start, space, machine, host, disk, token, since }
    return Object.values(texts).every((text) => typeof text === 'string') ? { pid, ...texts } : undefined
  } catch {
    return undefined
  }
}

function isHeldBy(path: string, { token }: LockOwner): boolean {
  return readOwner(path)?.token === token
}

function formatOwner(owner: LockOwner): string {
  if (owner === anotherProgram) return 'another program'
  const where = livenessOf(owner) === 'alive' ? '' : ", can't be inspected from here"
  return `process ${owner.pid} on ${owner.host} (since ${owner.since}${where})`
}

function formatAdvice(path: string, owner: LockOwner): string {
  return livenessOf(owner) === 'alive'
    ? `inspect: ${pasteable(`ps -fp ${owner.pid}`)}; stop: ${pasteable(`kill ${owner.pid}`)}`
    : `if you are sure that it has ended: ${pasteable(`rm ${quote(path)}`)}`
}

/**
 * `unknown`: it is in another PID namespace or on another machine, where the pid means another process, or it may not
 * be inspected.
 */
export function livenessOf(other: ProcessId, me = thisProcess): 'alive' | 'dead' | 'unknown' {
  if (me.space === '' || other.space === '') return 'unknown'
  if (other.space !== me.space) return isOfEarlierBoot(other, me) ? 'dead' : 'unknown'
  if (!isRunning(other.pid)) return 'dead'
  const start = startOf(other.pid)
  if (start === undefined) return 'unknown'
  return start === other.start ? 'alive' : 'dead'
}

/**
 * Of the same machine. A clone may share its machine-id and host name, and runs with another boot at the same time:
 * only where both saw the lock on a disk of their own is that boot over.
 */
function isOfEarlierBoot(other: ProcessId, me: ProcessId): boolean {
  const isSameMachine = other.machine !== '' && other.machine === me.machine && other.host === me.host
  return isSameMachine && other.disk === 'own' && me.disk === 'own' && bootOf(other) !== bootOf(me)
}

function bootOf({ space }: ProcessId): string {
  return space.split(' ')[0] ?? ''
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

/** A namespace's number is used again only when its last process is gone: pid_namespaces(7). */
function readSpace(): string {
  try {
    // /proc may belong to another PID namespace.
    if (readlinkSync('/proc/self') !== String(process.pid)) return ''
    const boot = readFileSync(bootIdFile, 'utf8').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

/** f_type of statfs(2): ext2 to ext4, XFS, btrfs, ZFS, F2FS, bcachefs. */
const ownDisks = [0xef53, 0x58465342, 0x9123683e, 0x2fc12fc1, 0xf2f52010, 0xca451a4e]

/** This process, to whom the folder of that lock is what it is here. */
function processAt(path: string): ProcessId {
  const type = tryTo(() => doing('read the file system of', path, () => statfsSync(dirname(path)).type))
  return { ...thisProcess, disk: type !== undefined && ownDisks.includes(type) ? 'own' : '' }
}

function readMachine(): string {
  try {
    if (!isBooted()) return ''
    // The file may be empty, or say "uninitialized".
    return /^[0-9a-f]{32}$/m.exec(readFileSync('/etc/machine-id', 'utf8'))?.[0] ?? ''
  } catch {
    return ''
  }
}

/**
 * Outside of all containers (PID_NS_INIT_INO in linux/nsfs.h), or in one that systemd-nspawn has booted: that mounts a
 * boot_id of its own. A container within that one reads the kernel's.
 */
function isBooted(): boolean {
  const isOutermost = readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]'
  return isOutermost || statSync(bootIdFile).dev !== statSync('/proc').dev
}

/**
 * The start of the process: a reused pid has another one. '' for a zombie, which is dead; undefined if hidden
 * (hidepid).
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' || state === 'X' ? '' : fields[18]
  } catch {
    return undefined
  }
}
