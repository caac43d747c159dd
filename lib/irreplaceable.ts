/** What all three things that can't be made again have in common: the refusal to replace them, and the copy of the old. */
import { join } from 'node:path'
import { type AuthDir, secretMode } from './auth-dir.ts'
import { Failure } from './failure.ts'

/** Found is what stands there; each way out is a command, or a sentence. */
export function refusal(found: string, waysOut: readonly string[]): Failure {
  return new Failure(found, {
    kind: 'refused',
    remedy: waysOut.map((way) => `- ${way}`).join('\n'),
    word: 'irreplaceable',
  })
}

/** Copies the named files to auth/backup/<time>/; says where, or undefined where there was none of them. */
export function backUp(auth: AuthDir, names: readonly string[], now: Date): string | undefined {
  const folder = join('backup', now.toISOString().replace(/[:.]/g, '-'))
  const found = names.filter((name) => auth.read(name)?.kind === 'file')
  if (found.length === 0) return undefined
  auth.makeFolder('backup')
  auth.makeFolder(folder)
  for (const name of found) auth.write(join(folder, name), auth.bytes(name), secretMode, { durable: true })
  return join(auth.path, folder)
}
