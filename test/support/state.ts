/** What a folder holds, down to what a touch would leave; and what in it nobody may see. */
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Of everything below the folder, by its path: inode, mode, owner, times and content. The folder's own times are left out. */
export function stateOf(folder: string, isMeant: (name: string) => boolean = () => true): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(isMeant).toSorted()
  return Object.fromEntries(names.map((name) => [name, stateOfFile(join(folder, name))]))
}

function stateOfFile(path: string): string {
  const stat = lstatSync(path)
  const owned = [stat.ino, (stat.mode & 0o7777).toString(8), stat.uid]
  if (stat.isDirectory()) return [...owned, 'folder'].join(' ')
  const content = stat.isSymbolicLink() ? readlinkSync(path) : digest(readFileSync(path))
  return [...owned, stat.mtimeMs, stat.ctimeMs, content].join(' ')
}

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Every line of every private key and of its base64, and every encryption key, below the folder. */
export function secretsIn(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  const texts = files.filter((file) => lstatSync(file).isFile()).map((file) => readFileSync(file, 'utf8'))
  return [...new Set(texts.flatMap(secretsInText))]
}

function secretsInText(text: string): string[] {
  const keys = text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END [A-Z ]*PRIVATE KEY-----\n?/g) ?? []
  const embedded = [...text.matchAll(/client-key-data: (\S+)/g)].map(([, data = '']) => data)
  const encryption = [...text.matchAll(/secret: (\S+)/g)].map(([, data = '']) => data)
  const lines = [...keys, ...embedded.map((data) => Buffer.from(data, 'base64').toString())]
    .flatMap((key) => key.split('\n'))
    .filter((line) => !line.startsWith('-----'))
  const encoded = keys.map((key) => Buffer.from(key).toString('base64'))
  // The armour around each key is the same: of the base64 of a key its middle is what gives it away.
  const all = [...lines, ...encryption, ...[...embedded, ...encoded].map((data) => data.slice(60, 120))]
  return all.filter((secret) => secret.length > 20)
}
