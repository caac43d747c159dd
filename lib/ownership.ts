/** Who owns the files that we may not change: root, after a run by sudo. */
import { lstatSync, realpathSync, type Stats } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { quote } from './wording.ts'

export interface Foreign {
  /** The file, or the topmost of the folders above it, that is another user's. */
  readonly path: string
  readonly owner: string
  /** What of it is to be taken back. */
  readonly whole: string
}

/** Undefined if the file is ours, or if no folder above it is: then no run of ours made it. */
export function findForeign(path: string): Foreign | undefined {
  const me = process.getuid?.()
  // Root may touch everything.
  if (!me) return undefined
  let foreign: { readonly at: string; readonly stat: Stats } | undefined
  for (let at = realOf(path); ; at = dirname(at)) {
    const stat = tryStat(at)
    if (stat?.uid === me) break
    if (at === dirname(at)) return undefined
    if (stat) foreign = { at, stat }
  }
  if (!foreign) return undefined
  const { at, stat } = foreign
  // Takes back the whole folder, but never a home folder.
  const whole = stat.isDirectory() || dirname(at) === homedir() ? at : dirname(at)
  return { path: at, owner: stat.uid === 0 ? 'root' : `user ${stat.uid}`, whole }
}

export function takeBackCommand(paths: readonly string[]): string {
  return `sudo chown -R ${process.getuid?.()}:${process.getgid?.()} ${paths.map(quote).join(' ')}`
}

function realOf(path: string): string {
  try {
    return join(realpathSync(dirname(resolve(path))), basename(path))
  } catch {
    return resolve(path)
  }
}

function tryStat(path: string): Stats | undefined {
  try {
    return lstatSync(path)
  } catch {
    return undefined
  }
}
