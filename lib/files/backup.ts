/** Keeps files of auth/ that are about to be replaced in auth/backup/, each time in a new folder. */
import { existsSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { doing } from '../failure.ts'
import { type AuthDir, notPlain } from './auth-dir.ts'
import { readPlainFile, secretMode } from './plain-file.ts'

/**
 * Copies the named files to backup/<time>/, following symbolic links, and returns that folder if there was anything to copy.
 * Files already kept at the same time stay.
 */
export function backUp(auth: AuthDir, names: readonly string[], now: Date): string | undefined {
  const time = backupTime(now)
  const isTaken = (folder: string) => names.some((name) => auth.read(join('backup', folder, name)))
  let folder = time
  for (let i = 2; isTaken(folder); i++) folder = `${time}-${i}`
  const copies = names.flatMap((name): [string, Buffer][] => {
    const bytes = readThrough(join(auth.path, name))
    return bytes ? [[name, bytes]] : []
  })
  if (copies.length === 0) return undefined
  keep(auth, folder, new Map(copies))
  return join(auth.path, 'backup', folder)
}

/** Follows a symbolic link. Throws a Failure if the target is not a plain file, such as a pipe. */
function readThrough(path: string): Buffer | undefined {
  if (!existsSync(path)) return undefined
  const file = readPlainFile(doing('read', path, () => realpathSync(path)))
  if (file && file.kind !== 'file') throw notPlain(path)
  return file?.bytes
}

/** Keeps files of a node that are about to be overwritten, in a folder that `backups` never reads. */
export function keepFound(auth: AuthDir, node: string, files: ReadonlyMap<string, Buffer>, now: Date): void {
  keep(auth, `${node}-${backupTime(now)}`, files)
}

function keep(auth: AuthDir, folder: string, files: ReadonlyMap<string, Buffer>): void {
  auth.makeFolder('backup')
  auth.makeFolder(join('backup', folder))
  for (const [name, bytes] of files) auth.write(join('backup', folder, name), bytes, secretMode, { durable: true })
}

/** The time as a folder's name. */
export const backupTime = (now: Date): string => now.toISOString().replace(/[:.]/g, '-')

/** The folders in auth/backup/ of files that were replaced, by their time, the latest first. */
export function backupFolders(auth: AuthDir): string[] {
  return auth
    .names('backup')
    .filter((folder) => /^\d{4}-\d\d-\d\dT/.test(folder))
    .reverse()
}

export function readBackup(auth: AuthDir, folder: string, name: string): Buffer | undefined {
  return auth.tryBytes(join('backup', folder, name))
}

/** The kept files of that name, the latest first. */
export function backups(auth: AuthDir, name: string): Buffer[] {
  return backupFolders(auth).flatMap((folder) => readBackup(auth, folder, name) ?? [])
}
