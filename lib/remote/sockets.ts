/** A private folder for each run, with the sockets of its shared connections. */
import { lstatSync, mkdtempSync, readdirSync, readlinkSync, rmdirSync, symlinkSync, unlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { doing, Failure, isErrno } from '../failure.ts'
import { livenessOf, parseProcessId, thisProcess } from '../files/process-id.ts'

/**
 * Bytes of a folder in which a socket's path fits: sun_path has 104 on macOS (108 on Linux), of which ssh takes 17 for a
 * suffix of its own while it makes the socket, and we at most 31 for `/harderway-<pid>-XXXXXX/<number>`.
 */
const longest = 55

/** A link in the folder that identifies its owner: a pid alone may be another process in another container. */
const ownerFile = 'owner'

/** A new folder only for this run; those of runs that are known to be dead are removed. Throws a Failure about this machine. */
export function makeSocketFolder(temporary: string): string {
  const folder = socketBase(resolve(temporary))
  try {
    return doing('make a folder in', folder, () => {
      for (const name of readdirSync(folder))
        if (/^harderway-\d+-[A-Za-z0-9]{6}$/.test(name)) tryRemoveLeft(join(folder, name))
      return makeOwned(folder)
    })
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const { message: what, code = 'other' } = error
    const remedyFor = () => "free some space there, or name another folder for ssh's sockets: TMPDIR=/tmp"
    throw new Failure(what, { code, shared: { what, who: 'this machine', place: undefined, remedyFor } })
  }
}

function makeOwned(folder: string): string {
  for (;;) {
    const made = mkdtempSync(join(folder, `harderway-${process.pid}-`))
    try {
      // A link is created together with its target, or not at all.
      symlinkSync(JSON.stringify(thisProcess), join(made, ownerFile))
      return made
    } catch (error) {
      // Another run took it for a left-over before it named its owner.
      if (isErrno(error, 'ENOENT')) continue
      rmdirSync(made)
      throw error
    }
  }
}

/** /tmp where TMPDIR is too long for a socket, or has what ssh interprets itself: a blank, %, ${ (ssh_config(5)). */
export function socketBase(temporary: string): string {
  return temporary.length <= longest && /^[\w./+-]+$/.test(temporary) ? temporary : '/tmp'
}

/** Only a folder of our own, and only if it holds nothing but sockets. */
function tryRemoveLeft(folder: string): void {
  try {
    if (lstatSync(folder).uid !== process.getuid?.()) return
    const names = readdirSync(folder)
    // Only while it is empty: a run that has just made it makes another.
    if (names.length === 0) rmdirSync(folder)
    const owner = names.includes(ownerFile) ? parseProcessId(readlinkSync(join(folder, ownerFile))) : undefined
    if (!owner || livenessOf(owner) !== 'dead') return
    for (const name of names) if (lstatSync(join(folder, name)).isSocket()) unlinkSync(join(folder, name))
    unlinkSync(join(folder, ownerFile))
    rmdirSync(folder)
  } catch (error) {
    if (!isErrno(error)) throw error
  }
}
