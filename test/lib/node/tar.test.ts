import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildTar } from '../../../lib/node/node.ts'
import { newSuffix, scratch } from '../../support/files.ts'
import { needs } from '../../support/programs.ts'

const bytesOf = (length: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + length) & 0xff))
const longest = `${'a'.repeat(70)}/${'b'.repeat(70)}/${'c'.repeat(75)}.kubeconfig`
const files: Parameters<typeof buildTar>[0] = [
  { path: 'ca-key.pem', bytes: bytesOf(1679), access: { mode: 0o600 } },
  { path: 'empty', bytes: Buffer.alloc(0), access: { mode: 0o600 } },
  { path: 'a-block', bytes: bytesOf(512), access: { mode: 0o400 } },
  { path: 'a-block-and-one', bytes: bytesOf(513), access: { mode: 0o755 } },
  { path: 'big', bytes: bytesOf(3_000_000), access: { mode: 0o600 } },
  { path: longest, bytes: bytesOf(10), access: { mode: 0o600 } },
]
const archive = buildTar(files)

const tars: Readonly<Record<string, readonly [string, ...string[]]>> = {
  tar: ['tar'],
  bsdtar: ['bsdtar'],
  busybox: ['busybox', 'tar'],
}
for (const [title, [program, ...first]] of Object.entries(tars))
  test(`${title} unpacks every byte with its mode, for whoever unpacks it`, { skip: needs(program) }, (t) => {
    const folder = scratch(t)
    execFileSync(program, [...first, '-xpof', '-'], { cwd: folder, input: archive })
    for (const { path, bytes, access } of files) {
      const made = join(folder, path + newSuffix)
      assert.ok(readFileSync(made).equals(bytes), path)
      const { uid, mode } = lstatSync(made)
      assert.deepEqual([uid, mode & 0o7777], [process.getuid?.(), access.mode], path)
    }
  })
