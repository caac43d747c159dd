/** Where the sockets of shared connections lie: a private folder for each run. */
import { createHash } from 'node:crypto'
import { lstatSync, mkdtempSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { doing, isErrno } from '../failure.ts'
import { isRunning, thisProcess } from '../files/process-id.ts'

/**
 * Bytes of a folder in which a socket's path fits: sun_path has 104 on macOS (108 on Linux), of which ssh takes 17 for a
 * suffix of its own while it makes the socket, and we at most 36 for `/harderway-<pid>-<space>-XXXXXX/<number>`.
 */
const longest = 50

/** Containers may share a /tmp: in another PID namespace the same pid is another process, or none. */
const space = createHash('sha256').update(thisProcess.space).digest('hex').slice(0, 4)
const folderName = new RegExp(`^harderway-(\\d+)-${space}-[A-Za-z0-9]{6}$`)

/** A new folder only for this run; those of runs that were killed are removed. */
export function makeSocketFolder(): string {
  const folder = socketBase(resolve(tmpdir()))
  return doing('make a folder in', folder, () => {
    for (const name of readdirSync(folder)) {
      const [, pid] = folderName.exec(name) ?? []
      if (pid !== undefined && !isRunning(Number(pid))) tryRemoveSockets(join(folder, name))
    }
    return mkdtempSync(join(folder, `harderway-${process.pid}-${space}-`))
  })
}

/** /tmp where TMPDIR is too long for a socket, or has what ssh reads as its own: a blank, %, ${ (ssh_config(5)). */
export function socketBase(temporary: string): string {
  return temporary.length <= longest && /^[\w./+-]+$/.test(temporary) ? temporary : '/tmp'
}

/** Only a folder of our own, and only where nothing but sockets is in it. */
function tryRemoveSockets(folder: string): void {
  try {
    if (lstatSync(folder).uid !== process.getuid?.()) return
    for (const name of readdirSync(folder)) if (lstatSync(join(folder, name)).isSocket()) unlinkSync(join(folder, name))
    rmdirSync(folder)
  } catch (error) {
    if (!isErrno(error)) throw error
  }
}
