/**
 * A lock that is a file: who made it holds it, and it says who that is. kubectl takes the same kind of lock for a
 * kubeconfig (`<file>.lock`), without writing into it.
 */

import { randomUUID } from 'node:crypto'
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { doing, Failure, isErrno } from '../failure.ts'
import { readPlainFile } from './plain-file.ts'

interface Owner {
  readonly pid: number
  readonly host: string
  /** When the process began, in the kernel's ticks since boot; '' where the system does not tell. */
  readonly start: string
  readonly token: string
}

export interface LockOptions {
  readonly signal: AbortSignal
  /** Milliseconds to wait for a living owner; Infinity for as long as it takes. */
  readonly wait: number
  /** Milliseconds to wait for a lock that names nobody. */
  readonly waitForNameless: number
  /** Called once, when the wait begins. */
  readonly onWait: (message: string) => void
}

const pollEvery = 50

/** Takes the lock; what it returns gives it back. Throws a Failure where the wait is over. */
export async function takeLock(path: string, options: LockOptions): Promise<() => void> {
  const mine: Owner = { pid: process.pid, host: hostname(), start: startOf(process.pid), token: randomUUID() }
  const beside = `${path}.${process.pid}-${mine.token}`
  const since = Date.now()
  let waiting = false
  try {
    doing('write', beside, () => writeFileSync(beside, JSON.stringify(mine), { flag: 'wx', mode: 0o600 }))
    for (;;) {
      if (tryLink(beside, path)) break
      const owner = readOwner(path)
      options.signal.throwIfAborted()
      if (owner === 'gone') {
        await delay(1)
        continue
      }
      if (owner !== 'nameless' && isDead(owner)) {
        if (await replaceDeadOwner(path, beside, owner, options)) break
        continue
      }
      const patience = owner === 'nameless' ? options.waitForNameless : options.wait
      if (Date.now() - since >= patience) throw heldBy(path, owner)
      if (!waiting) options.onWait(`waiting for ${describe(owner)}, which holds ${path}`)
      waiting = true
      await delay(pollEvery, undefined, { signal: options.signal })
    }
  } finally {
    rmSync(beside, { force: true })
  }
  const release = () => {
    const owner = readOwner(path)
    if (typeof owner === 'object' && owner.token === mine.token) rmSync(path, { force: true })
  }
  try {
    removeLeftovers(path)
  } catch (error) {
    release()
    throw error
  }
  return release
}

/** For who only reads: until nobody living holds the lock, which is left as it is. Throws a Failure where the wait is over. */
export async function waitUntilFree(path: string, options: LockOptions): Promise<void> {
  const since = Date.now()
  for (let waiting = false; ; waiting = true) {
    options.signal.throwIfAborted()
    const owner = readOwner(path)
    if (owner === 'gone' || (owner !== 'nameless' && isDead(owner))) return
    const patience = owner === 'nameless' ? options.waitForNameless : options.wait
    if (Date.now() - since >= patience) throw heldBy(path, owner)
    if (!waiting) options.onWait(`waiting for ${describe(owner)}, which holds ${path}`)
    await delay(pollEvery, undefined, { signal: options.signal })
  }
}

/**
 * Only who holds the lock on the dead owner's token may put his own in its place, so that of two takers one sees
 * that the dead owner is no longer there. That lock is one like any other: its owner may die too.
 */
async function replaceDeadOwner(path: string, beside: string, dead: Owner, options: LockOptions): Promise<boolean> {
  // It is held for a moment only: even who won't wait for the lock waits for this.
  const release = await takeLock(`${path}.${dead.token}`, { ...options, wait: Number.POSITIVE_INFINITY })
  try {
    const owner = readOwner(path)
    if (typeof owner !== 'object' || owner.token !== dead.token) return false
    renameSync(beside, path)
    return true
  } finally {
    release()
  }
}

/** What takers that were killed left beside the lock; one killed early left an empty file, which its name tells of. */
function removeLeftovers(path: string): void {
  const ours = /^(?:(\d+)-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
  const prefix = `${basename(path)}.`
  const names = doing('list', dirname(path), () => readdirSync(dirname(path)))
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const [isOurs, pid] = ours.exec(name.slice(prefix.length)) ?? []
    if (isOurs === undefined) continue
    const owner = readOwner(join(dirname(path), name))
    const isLeft = typeof owner === 'object' ? isDead(owner) : pid !== undefined && !isRunning(Number(pid))
    if (isLeft) rmSync(join(dirname(path), name), { force: true })
  }
}

/** A lock whose owner is no longer there blocks whoever can't tell, as kubectl. */
export function isLeftLock(path: string): boolean {
  const owner = readOwner(path)
  return typeof owner === 'object' && isDead(owner)
}

/** A hard link is made or not made, and its content is there at once. */
function tryLink(from: string, to: string): boolean {
  return doing('make the lock', to, () => {
    try {
      linkSync(from, to)
      return true
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false
      throw error
    }
  })
}

function readOwner(path: string): Owner | 'gone' | 'nameless' {
  const file = readPlainFile(path)
  if (!file) return 'gone'
  try {
    const owner: unknown = JSON.parse(file.kind === 'file' ? file.bytes.toString() : '')
    const isOwner = typeof owner === 'object' && owner !== null && 'token' in owner && 'pid' in owner
    return isOwner && /^[0-9a-f-]{36}$/.test(String(owner.token)) ? (owner as Owner) : 'nameless'
  } catch {
    return 'nameless'
  }
}

/** A process on another host can't be looked at: it counts as living. */
function isDead({ pid, host, start }: Owner): boolean {
  return host === hostname() && (!isRunning(pid) || start !== startOf(pid))
}

export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}

/** Field 22 of /proc/<pid>/stat: a pid that is used again has another one; '' for a zombie, which is dead. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state = 'X', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return 'ZX'.includes(state) ? '' : (fields[18] ?? '')
  } catch {
    return ''
  }
}

function describe(owner: Owner | 'nameless'): string {
  return owner === 'nameless' ? 'another program' : `process ${owner.pid} on ${owner.host}`
}

function heldBy(path: string, owner: Owner | 'nameless'): Failure {
  return new Failure(`${path} is held by ${describe(owner)}`, {
    code: 'locked',
    remedy: `wait for it to end; if you know that it has ended, remove ${path}`,
  })
}
