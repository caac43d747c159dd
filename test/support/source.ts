/** A copy of the project, for a test that makes something of all of it. */
import { cpSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
/** What is no source; among it what other tests may be writing. */
const left = new Set(['.git', 'node_modules', 'dist', 'auth', 'demo'])

export function copySource(folder: string): void {
  const isSource = (path: string) => !left.has(basename(path)) || dirname(path) !== root
  cpSync(root, folder, { recursive: true, filter: isSource })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
}
