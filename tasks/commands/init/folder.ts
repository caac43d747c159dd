/** The folder of a new cluster: what is there, and what is put there beside it. Nothing is ever overwritten. */
import { linkSync, lstatSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { basename, dirname, join, relative, sep } from 'node:path'
import { doing, isErrno, usageFailure } from '../../../lib/failure.ts'
import { makeFolders, temporary } from '../../../lib/files/plain-file.ts'
import { quote } from '../../../lib/wording.ts'

/** Throws a usage Failure where anything has that name, a symbolic link too. */
export function refuseExisting(file: string): void {
  if (doing('read', file, () => lstatSync(file, { throwIfNoEntry: false }), 'usage')) throw exists(file)
}

/** With parents; throws a usage Failure where something else stands there. */
export function makeFolder(folder: string): void {
  doing('make', folder, () => makeFolders(folder), 'usage')
}

/** Whether it is new: whole, or not there at all. */
export function addFile(file: string, text: string): boolean {
  const beside = join(dirname(file), `${temporary}${basename(file)}-${process.pid}`)
  return doing('write', file, () => {
    try {
      rmSync(beside, { force: true })
      writeFileSync(beside, text, { flag: 'wx' })
      // A hard link replaces nothing, as a rename would: link(2).
      linkSync(beside, file)
      return true
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false
      throw error
    } finally {
      rmSync(beside, { force: true })
    }
  })
}

export function exists(file: string) {
  return usageFailure(
    `${file} is there already: nothing was written`,
    `to begin anew, move it away: mv ${quote(file)} ${quote(`${file}.old`)}`,
  )
}

/** From the folder, which is there, to the schema of the harderway that runs. */
export function schemaPath(folder: string): string {
  const path = relative(
    realpathSync(folder),
    join(realpathSync(dirname(String(findPackageJSON(import.meta.url)))), 'cluster.schema.json'),
  )
  return path.startsWith(`..${sep}`) ? path : `./${path}`
}
