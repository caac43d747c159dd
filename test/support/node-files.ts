/** A node's folder with an old set, the new set that is put over it, and tools that fail. */
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type ArchivedFile, buildTar } from '../../lib/remote/swap.ts'
import { scratch } from './scratch.ts'

export const staging = '.harderway-0123456789abcdef'

export const newFiles: readonly ArchivedFile[] = [
  { name: 'ca.pem', mode: 0o644, bytes: Buffer.from('the new CA\n') },
  { name: 'worker0.pem', mode: 0o644, bytes: Buffer.from('the new certificate\n') },
  { name: 'worker0-key.pem', mode: 0o600, bytes: Buffer.from('the new key\n') },
  { name: 'worker0.kubeconfig', mode: 0o600, bytes: Buffer.alloc(5000, 'x') },
]

export function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A home with an old set, one new file of which is not there yet, and what is not ours. */
export function oldHome(t: TestContext): string {
  const home = scratch(t)
  for (const name of ['ca.pem', 'worker0-key.pem', 'worker0.kubeconfig', 'notes.txt'])
    writeFileSync(join(home, name), `old ${name}\n`, { mode: 0o640 })
  return home
}

/** As scp leaves it. */
export function stage(folder: string, archive: Buffer = buildTar(newFiles)): void {
  writeFileSync(join(folder, staging), archive, { mode: 0o600 })
}

/** What stands in the folder: bytes, and inode, mode and times. */
export function snapshot(folder: string): Record<string, unknown> {
  return Object.fromEntries(
    readdirSync(folder).map((name) => {
      const path = join(folder, name)
      const stat = lstatSync(path)
      const content = stat.isFile() ? readFileSync(path, 'utf8') : stat.isSymbolicLink() ? readlinkSync(path) : ''
      return [name, [stat.ino, stat.mode, stat.mtimeMs, content]]
    }),
  )
}

/** A folder for the front of a PATH, with one tool in it: a script for sh, which may run the real one as `real`. */
export function fakeTool(t: TestContext, name: string, script: string): string {
  const folder = scratch(t)
  const real = `real() { PATH=$(printf %s "$PATH" | sed 's#${folder}:##') command ${name} "$@"; }\n`
  writeFileSync(join(folder, name), `#!/bin/sh\n${real}${script}\n`, { mode: 0o755 })
  return folder
}
