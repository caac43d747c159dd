import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import {
  cpSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Cluster, parseCluster } from '../../lib/cluster/cluster.ts'
import { formatExplained } from '../../lib/wording.ts'
import { layoutRules } from '../../tasks/layouts/tables.ts'

/** Names of former users, with every character that one may have. */
export const oddNames = ['Bob', 'BOB', 'j.doe@example.org', 'a:b', 'Y', 'null', '0x1', '-x', '@x', 'sha256', '1.2_3']

/** A folder for one test, gone after it. */

export function scratch(t: { after(work: () => void): void }): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'harderway-test-')))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** What a folder holds, down to what a touch would leave; and what in it nobody may see. */

/**
 * Of everything below the folder, by its path: inode, mode, owner, times and content. The folder's own times are left
 * out.
 */
export function stateOf(folder: string, isMeant: (name: string) => boolean = () => true): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(isMeant).toSorted()
  return Object.fromEntries(names.map((name) => [name, stateOfFile(join(folder, name))]))
}

export function stateOfFile(path: string): string {
  const stat = lstatSync(path)
  const owned = [stat.ino, (stat.mode & 0o7777).toString(8), stat.uid]
  if (stat.isDirectory()) return [...owned, 'folder'].join(' ')
  const content = stat.isSymbolicLink() ? readlinkSync(path) : sha256(readFileSync(path))
  return [...owned, stat.mtimeMs, stat.ctimeMs, content].join(' ')
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

/** cluster.yaml as tests write it, and what parseCluster says of it. */

/** Only what has no default. */
export const minimal = `name: kubenet
api: { virtualIP: 10.0.0.1 }
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
`

/** The minimal file with something behind it. */
export const and = (text: string): string => `${minimal}${text}\n`

/** The minimal file with one part of it replaced. */
export function edited(from: string, to: string): string {
  assert.ok(minimal.includes(from), `${from} is not in the minimal file`)
  return minimal.replace(from, () => to)
}

export function parsed(text: string | Uint8Array): Cluster {
  const result = parseCluster(Buffer.from(text), layoutRules)
  if ('problems' in result) assert.fail(result.problems.map(formatExplained).join('\n'))
  return result.cluster
}

/** `line:column: message` of each problem. */
export function problemsOf(text: string | Uint8Array): string[] {
  const result = parseCluster(Buffer.from(text), layoutRules)
  return 'problems' in result
    ? result.problems.map((problem) => `${problem.line}:${problem.column}: ${formatExplained(problem)}`)
    : []
}

/** With no problem, or with these and no others: `line:column` and words of each message. */
export type Checked = readonly [text: string | Uint8Array, ...problems: string[]]

export function testFiles(title: string, files: readonly Checked[]): void {
  test(title, () => {
    for (const [text, ...expected] of files) {
      const found = problemsOf(text).map((said, i) => {
        const [, place = '', words = ''] = /^(\S+) (.*)$/.exec(expected[i] ?? '') ?? []
        return said.startsWith(`${place}: `) && said.includes(words) ? expected[i] : said
      })
      assert.deepEqual(found, expected, text.toString())
    }
  })
}

/** What stands on a node, and tools that fail. */

/** Of a file that a run is about to put in its place. */
export const newSuffix = '.harderway-new'

export function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
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

/** A copy of the project, for a test that makes something of all of it. */

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')
/** What is no source; among it what other tests may be writing. */
const left = new Set(['.git', 'node_modules', 'dist', 'release', 'auth', 'demo'])

export function copySource(folder: string): void {
  const isSource = (path: string) => !left.has(basename(path)) || dirname(path) !== root
  cpSync(root, folder, { recursive: true, filter: isSource })
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
}
