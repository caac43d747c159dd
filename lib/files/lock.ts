/**
 * A lock file: whoever created it holds it, and it names its owner. kubectl uses the same kind of lock for a
 * kubeconfig (`<file>.lock`), without writing into it.
 *
 * Whether its owner is dead is known for certain only in the same PID namespace of the same boot. Of an owner in another
 * container or on another machine only the lock itself can be seen: its owner touches it each second, and one that was
 * not touched during `silence` counts as left. That is counted in looks, by who waits: no two clocks are compared (their
 * hosts' may differ), and a waiter that was suspended itself, with its machine, has not looked.
 *
 * What this can't know: an owner that was stopped for so long may wake up. It learns at once that it has lost the lock
 * (`lost`, `assertHeld`); for the instant between that question and a write, AuthDir.beginWriting keeps it from writing.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, futimesSync, linkSync, openSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doing, Failure, isErrno, tryTo } from '../failure.ts'
import { printable, quote } from '../wording.ts'
import { formatOwner, type Holder, isHeldBy, type Owner, readHolder } from './lock-owner.ts'
import { livenessOf, thisProcess } from './process-id.ts'

export interface LockOptions {
  readonly signal: AbortSignal
  /** Milliseconds to wait for a living owner; Infinity for as long as it takes. */
  readonly wait: number
  /** Milliseconds to wait for a lock that names nobody. */
  readonly waitForNameless: number
  /** Milliseconds without a heartbeat after which an owner that can't be inspected is presumed dead. */
  readonly silence?: number
  /** Called once, when the wait begins. */
  readonly onWait: (message: string) => void
}

export interface Lock {
  readonly token: string
  /** Aborted, with a Failure, as soon as it is seen that the lock is another's, or gone. */
  readonly lost: AbortSignal
  /** Throws that Failure. */
  assertHeld(): void
  release(): void
}

/** Milliseconds. */
const pollEvery = 50
const beatEvery = 1000
const longestSilence = 60_000

/** Throws a Failure where the wait is over. */
export async function takeLock(path: string, options: LockOptions): Promise<Lock> {
  const mine: Owner = { ...thisProcess, token: randomUUID() }
  const untilFree = createWait(path, options)
  for (;;) {
    const left = await untilFree()
    const fd = left === 'gone' ? claim(path, mine, linkSync) : await takeOver(path, mine, left, options)
    if (fd !== undefined) return hold(path, mine, fd)
    // Another was first.
    await delay(1)
  }
}

/** For readers: waits, but neither takes the lock nor removes a stale one. Throws as takeLock does. */
export async function waitUntilFree(path: string, options: LockOptions): Promise<void> {
  await createWait(path, options)()
}

/** Waits until no live owner holds the lock. Keeps what it has observed and reported between calls. */
function createWait(path: string, options: LockOptions): () => Promise<'gone' | (Holder & object)> {
  const isSilent = silenceWatch((options.silence ?? longestSilence) / pollEvery)
  const since = performance.now()
  let isTold = false
  return async () => {
    for (;;) {
      options.signal.throwIfAborted()
      const holder = readHolder(path)
      if (holder === 'gone') return holder
      if (holder !== 'nameless' && (isSilent(holder) || livenessOf(holder.owner) === 'dead')) return holder
      const patience = holder === 'nameless' ? options.waitForNameless : options.wait
      if (performance.now() - since >= patience) throw heldBy(path, holder)
      if (!isTold) options.onWait(formatWait(path, holder, options))
      isTold = true
      await delay(pollEvery, undefined, { signal: options.signal })
    }
  }
}

/** Whether an owner that can't be inspected showed the same heartbeat in `most` consecutive polls. */
function silenceWatch(most: number): (holder: Holder & object) => boolean {
  let [seen, looks] = ['', 0]
  return ({ owner, beat }) => {
    const now = `${owner.token} ${beat}`
    looks = now === seen ? looks + 1 : 0
    seen = now
    return looks >= most && livenessOf(owner) === 'unknown'
  }
}

/** The lock with its owner in it, put there whole; undefined where another was first. */
function claim(path: string, mine: Owner, put: (from: string, to: string) => void): number | undefined {
  const beside = `${path}.${mine.pid}-${mine.token}`
  return doing('make the lock', path, () => {
    const fd = openSync(beside, 'wx', 0o600)
    try {
      writeFileSync(fd, JSON.stringify(mine))
      put(beside, path)
      return fd
    } catch (error) {
      // link(2) over NFS may succeed although its answer was lost.
      if (isErrno(error, 'EEXIST') && isHeldBy(readHolder(path), mine.token)) return fd
      closeSync(fd)
      // ENOENT: the holder of the lock removed our temporary file.
      if (isErrno(error, 'EEXIST', 'ENOENT')) return undefined
      throw error
    } finally {
      rmSync(beside, { force: true })
    }
  })
}

/**
 * Takeover is serialised by a second lock, named for the dead owner's token: of two waiters the second sees that the dead
 * owner is already replaced. The second lock is like any other: its owner may die too.
 */
async function takeOver(
  path: string,
  mine: Owner,
  dead: Holder & object,
  options: LockOptions,
): Promise<number | undefined> {
  // Held only briefly, so --no-lock-wait waits for it too.
  const turn = await takeLock(`${path}.${dead.owner.token}`, { ...options, wait: Number.POSITIVE_INFINITY })
  try {
    const holder = readHolder(path)
    const isUnchanged = isHeldBy(holder, dead.owner.token) && typeof holder === 'object' && holder.beat === dead.beat
    return isUnchanged ? claim(path, mine, renameSync) : undefined
  } finally {
    turn.release()
  }
}

function hold(path: string, { token }: Owner, fd: number): Lock {
  const lost = new AbortController()
  const isHeld = () => isHeldBy(readHolder(path), token)
  // By descriptor, so a lock that was taken over is never touched.
  const beat = setInterval(() => {
    if (tryTo(isHeld) === false) lost.abort(lostLock(path))
    else tryTo(() => doing('touch', path, () => futimesSync(fd, new Date(), new Date())))
  }, beatEvery).unref()
  const stop = () => {
    clearInterval(beat)
    closeSync(fd)
  }
  let isReleased = false
  const release = () => {
    if (isReleased) return
    isReleased = true
    stop()
    if (isHeld()) rmSync(path, { force: true })
  }
  const assertHeld = () => {
    if (!isHeld()) throw lostLock(path)
  }
  try {
    removeLeftovers(path, token)
  } catch (error) {
    release()
    throw error
  }
  return { token, lost: lost.signal, assertHeld, release }
}

/** Temporary files of killed waiters. A live waiter whose file is removed tries again. */
function removeLeftovers(path: string, token: string): void {
  const prefix = `${basename(path)}.`
  const names = doing('list', dirname(path), () => readdirSync(dirname(path)))
  for (const name of names) {
    const rest = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    const isLeft = /^(\d+-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(rest) && !rest.endsWith(token)
    if (isLeft) rmSync(join(dirname(path), name), { force: true })
  }
}

/** Whether a lock may be stale: its owner is not known to be alive. It would block kubectl, which can't tell. */
export function mayBeLeft(path: string): boolean {
  const owner = ownerOf(readHolder(path))
  return owner !== undefined && livenessOf(owner) !== 'alive'
}

function ownerOf(holder: Holder): Owner | undefined {
  return typeof holder === 'object' ? holder.owner : undefined
}

function formatWait(path: string, holder: Holder, { silence = longestSilence }: LockOptions): string {
  const owner = ownerOf(holder)
  const isUnknown = owner && livenessOf(owner) === 'unknown'
  const until = isUnknown ? `; without a heartbeat it is presumed dead after ${silence / 1000} s` : ''
  // Who holds it says so itself.
  return printable(`waiting for ${formatOwner(owner)}, which holds ${path}${until}; ${advice(path, owner)}`)
}

function advice(path: string, owner: Owner | undefined): string {
  return owner && livenessOf(owner) === 'alive'
    ? `to see what it does: ps -fp ${owner.pid}; to stop it: kill ${owner.pid}`
    : `if you are sure that it no longer runs: rm ${quote(path)}`
}

function heldBy(path: string, holder: Holder): Failure {
  const owner = ownerOf(holder)
  return new Failure(`${path} is held by ${formatOwner(owner)}`, {
    code: 'locked',
    remedy: `wait for it to finish; ${advice(path, owner)}`,
  })
}

/** Of the lock, or of the folder that it is for. */
export function lostLock(path: string): Failure {
  return new Failure(`${path} was taken over by another run, or removed, while this one was suspended`, {
    code: 'lock-lost',
    remedy: 'run the same command again',
  })
}
