/** kubectl's own lock on a kubeconfig, `<file>.lock`. kubectl neither waits for one nor removes one that was left. */
import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { doing } from '../failure.ts'
import { type Lock, type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks, makeFolders } from '../files/plain-file.ts'

/** Does the work, which is synchronous, while all of them are locked. Throws as takeLock does. */
export async function whileLocked<T>(
  paths: readonly string[],
  options: Pick<LockOptions, 'signal' | 'onWait'>,
  work: () => T,
): Promise<T> {
  const locks: Lock[] = []
  try {
    // kubectl locks the name that it was given; of several names of one file, who may write it holds the file's own too.
    const names = new Set([...paths, ...paths.map(followLinks).filter((real) => mayWriteBeside(real))])
    // Always in the same order, as kubectl does, so that two runs can't deadlock.
    for (const path of [...names].toSorted()) locks.push(await lock(path, options))
    return work()
  } finally {
    for (const each of locks.reverse()) each.release()
  }
}

function mayWriteBeside(path: string): boolean {
  try {
    accessSync(dirname(path), constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Milliseconds. */
const [wait, waitForQuiet] = [60_000, 10_000]

async function lock(path: string, options: Pick<LockOptions, 'signal' | 'onWait'>): Promise<Lock> {
  doing('make the folder', dirname(path), () => makeFolders(dirname(path), 0o700))
  return takeLock(`${path}.lock`, { ...options, wait, waitForQuiet })
}
