/** kubectl's own lock on a kubeconfig, `<file>.lock`; it neither waits for one nor removes what is left of one. */
import { accessSync, constants, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { doing } from '../failure.ts'
import { type Lock, type LockOptions, takeLock } from '../files/lock.ts'
import { followLinks } from '../files/plain-file.ts'

/** Does the work while all of them are locked; throws as takeLock does. `assertHeld` throws where one was lost. */
export async function whileLocked(
  paths: readonly string[],
  options: Pick<LockOptions, 'signal' | 'onWait'>,
  work: (assertHeld: () => void) => void,
): Promise<void> {
  const locks: Lock[] = []
  try {
    // kubectl locks the name that it was given; of several names of one file, who may write it holds the file's own too.
    const names = new Set([...paths, ...paths.map(followLinks).filter((real) => mayWriteBeside(real))])
    // Always in the same order, as kubectl does, so that two runs can't deadlock.
    for (const path of [...names].toSorted()) locks.push(await lock(path, options))
    work(() => {
      for (const each of locks) each.assertHeld()
    })
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

async function lock(path: string, options: Pick<LockOptions, 'signal' | 'onWait'>): Promise<Lock> {
  doing('make the folder', dirname(path), () => mkdirSync(dirname(path), { recursive: true, mode: 0o700 }))
  // Longer than the heartbeat timeout, so that a lock left by another container can be taken over.
  return takeLock(`${path}.lock`, { ...options, wait: 90_000, waitForNameless: 10_000 })
}
