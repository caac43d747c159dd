/**
 * A lock file: whoever created it holds it, and it names its owner. kubectl uses the same kind of lock for a
 * kubeconfig (`<file>.lock`), without writing into it.
 *
 * A lock is taken over only if its owner is known to be dead (livenessOf). An owner in another container or on another
 * machine can't be inspected. It touches its lock each second: a waiter waits while that goes on, else it reports for how
 * long the owner has been quiet, and leaves the removal to the user. If the user removes the lock of a run that is only
 * suspended, that run notices by `lost`, and AuthDir.beginWriting keeps it from writing.
 */
import { randomUUID } from 'node:crypto'
import { linkSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doing, Failure, isErrno, runAgain, tryTo } from '../failure.ts'
import { printable, quote } from '../wording.ts'
import { readPlainFile } from './plain-file.ts'
import { livenessOf, type ProcessId, parseProcessId, thisProcess } from './process-id.ts'

export interface LockOptions {
  readonly signal: AbortSignal
  /** Milliseconds to wait; Infinity for as long as it takes. */
  readonly wait: number
  /** Milliseconds to wait for an owner that is not known to be alive, and does not touch the lock. */
  readonly waitForQuiet: number
  /** Called once, when the wait begins. */
  readonly onWait: (message: string) => void
}

export interface Lock {
  readonly token: string
  /** Aborted, with a Failure, as soon as the lock is found to be another's, or gone. */
  readonly lost: AbortSignal
  release(): void
}

interface Owner extends ProcessId {
  /** No two locks have the same. */
  readonly token: string
  /** When it took the lock, by its own clock. */
  readonly since: string
}

interface Holder {
  /** Undefined if the lock names nobody: it is another program's, such as kubectl's. */
  readonly owner: Owner | undefined
  /** When the file was last modified, in milliseconds since 1970. */
  readonly touched: number
}

/** Milliseconds. */
const [pollEvery, touchEvery] = [50, 1000]

/** Throws a Failure where the wait is over. */
export async function takeLock(path: string, options: LockOptions): Promise<Lock> {
  const mine: Owner = { ...thisProcess, token: randomUUID(), since: new Date().toISOString() }
  const untilFree = createWait(path, options)
  for (;;) {
    const dead = await untilFree()
    if (dead) await removeStale(path, dead, options)
    else if (claim(path, mine)) return hold(path, mine.token)
  }
}

/** For readers: waits, but neither takes the lock nor removes a stale one. Throws as takeLock does. */
export async function waitUntilFree(path: string, options: LockOptions): Promise<void> {
  await createWait(path, options)()
}

/** Whether its owner is known to be dead. It would block kubectl, which can't tell. */
export function isStaleLock(path: string): boolean {
  const owner = readHolder(path)?.owner
  return owner !== undefined && livenessOf(owner) === 'dead'
}

/** Milliseconds: a live run touches its lock once a second. */
const certainlyQuiet = 5000

/** Waits until there is no lock, or only that of a dead owner, which it returns. Between calls it remembers what it has reported. */
function createWait(path: string, options: LockOptions): () => Promise<Owner | undefined> {
  const begun = performance.now()
  let [touched, quietFrom] = [0, begun]
  let isReported = false
  return async () => {
    for (;;) {
      options.signal.throwIfAborted()
      const holder = readHolder(path)
      const { owner } = holder ?? {}
      const liveness = owner ? livenessOf(owner) : 'unknown'
      if (!holder || liveness === 'dead') return owner
      const now = performance.now()
      // By the waiter's own clock: that of the owner's machine may differ.
      if (holder.touched !== touched) [touched, quietFrom] = [holder.touched, now]
      const quietFor = now - quietFrom
      if (liveness === 'seems dead') {
        if (quietFor >= certainlyQuiet) return owner
      } else if ((liveness === 'unknown' && quietFor >= options.waitForQuiet) || now - begun >= options.wait)
        throw heldBy(path, holder)
      if (!isReported) options.onWait(formatWait(path, holder))
      isReported = true
      await delay(pollEvery, undefined, { signal: options.signal })
    }
  }
}

/** Creates the lock, complete with its owner; false if another was first. */
function claim(path: string, mine: Owner): boolean {
  const beside = `${path}.${mine.token}`
  return doing('make the lock', path, () => {
    try {
      writeFileSync(beside, JSON.stringify(mine), { flag: 'wx', mode: 0o600 })
      // link(2) over NFS may succeed although its answer was lost.
      return tryLink(beside, path) || isHeldBy(path, mine.token)
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
 * Serialised by a second lock, named for the dead owner's token: of two waiters the second sees that the dead owner's
 * lock is gone, and leaves the next one alone. The second lock is like any other: its owner may die too.
 */
async function removeStale(path: string, { token }: Owner, options: LockOptions): Promise<void> {
  // Held only briefly, so --no-lock-wait waits for it too.
  const turn = await takeLock(`${path}.${token}`, { ...options, wait: Number.POSITIVE_INFINITY })
  try {
    if (isHeldBy(path, token)) doing('remove', path, () => rmSync(path))
  } finally {
    turn.release()
  }
}

function hold(path: string, token: string): Lock {
  const lost = new AbortController()
  const touch = () => doing('touch', path, () => utimesSync(path, new Date(), new Date()))
  const beat = setInterval(
    () => tryTo(() => (isHeldBy(path, token) ? touch() : lost.abort(lostLock(path)))),
    touchEvery,
  ).unref()
  tryTo(() => removeLeftovers(path))
  const release = () => {
    clearInterval(beat)
    if (isHeldBy(path, token)) rmSync(path, { force: true })
  }
  return { token, lost: lost.signal, release }
}

/** Removes what killed waiters left. A live waiter whose file is removed tries again. */
function removeLeftovers(path: string): void {
  const [folder, name] = [dirname(path), basename(path)]
  doing('tidy', folder, () => {
    for (const each of readdirSync(folder))
      if (each.startsWith(name) && /^(\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})+$/.test(each.slice(name.length)))
        rmSync(join(folder, each), { force: true })
  })
}

/**
 * Undefined where there is no lock. Opens the file each time: over NFS that queries the server, whereas a look at the path
 * alone may be a minute old (nfs(5)).
 */
function readHolder(path: string): Holder | undefined {
  const file = readPlainFile(path)
  if (file?.kind !== 'file') return file && { owner: undefined, touched: 0 }
  return { owner: parseOwner(file.bytes.toString()), touched: file.modified }
}

function parseOwner(text: string): Owner | undefined {
  const id = parseProcessId(text)
  const { token, since } = id ? JSON.parse(text) : {}
  // It becomes part of a file name.
  const isToken = typeof token === 'string' && /^[0-9a-f-]{36}$/.test(token)
  return id && isToken ? { ...id, token, since: String(since) } : undefined
}

function isHeldBy(path: string, token: string): boolean {
  return readHolder(path)?.owner?.token === token
}

function formatWait(path: string, holder: Holder): string {
  return printable(`waiting for ${formatHolder(holder)}, which holds ${path}; ${advice(path, holder)}`)
}

function heldBy(path: string, holder: Holder): Failure {
  return new Failure(`${path} is held by ${formatHolder(holder)}`, {
    code: 'locked',
    remedy: `wait for it to finish; ${advice(path, holder)}`,
  })
}

function formatHolder({ owner, touched }: Holder): string {
  if (!owner) return 'another program'
  const seconds = Math.max(0, Math.round((Date.now() - touched) / 1000))
  const quiet = seconds < 600 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
  const isHere = livenessOf(owner) === 'alive'
  const where = isHere ? '' : `, in another container or on another machine, no sign of life for ${quiet}`
  return `process ${owner.pid} on ${owner.host} (since ${owner.since}${where})`
}

function advice(path: string, { owner }: Holder): string {
  return owner && livenessOf(owner) === 'alive'
    ? `to see what it does: ps -fp ${owner.pid}; to stop it: kill ${owner.pid}`
    : `if you are sure that it no longer runs: rm ${quote(path)}`
}

/** `path`: the lock, or the folder that it protects. */
export function lostLock(path: string): Failure {
  return new Failure(`${path} was removed during the run, or another run has it now`, {
    code: 'lock-lost',
    remedy: runAgain,
  })
}
