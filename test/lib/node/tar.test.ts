import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildTar } from '../../../lib/node/node.ts'
import { scratch } from '../../support/files.ts'
import { needs } from '../../support/programs.ts'

const bytesOf = (length: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 31 + length) & 0xff))
const longest = `${'a'.repeat(89)}.kubeconfig`
const files: Parameters<typeof buildTar>[0] = [
  { name: 'ca.pem', mode: 0o644, bytes: Buffer.from('-----BEGIN CERTIFICATE-----\n') },
  { name: 'ca-key.pem', mode: 0o600, bytes: bytesOf(1679) },
  { name: 'empty', mode: 0o600, bytes: Buffer.alloc(0) },
  { name: 'one-byte', mode: 0o600, bytes: bytesOf(1) },
  { name: 'a-block-less-one', mode: 0o600, bytes: bytesOf(511) },
  { name: 'a-block', mode: 0o400, bytes: bytesOf(512) },
  { name: 'a-block-and-one', mode: 0o755, bytes: bytesOf(513) },
  { name: 'big', mode: 0o600, bytes: bytesOf(3_000_000) },
  { name: longest, mode: 0o600, bytes: bytesOf(10) },
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
    assert.deepEqual(readdirSync(folder).toSorted(), files.map(({ name }) => name).toSorted())
    for (const { name, mode, bytes } of files) {
      assert.ok(readFileSync(join(folder, name)).equals(bytes), name)
      const { uid, mode: made } = lstatSync(join(folder, name))
      assert.deepEqual([uid, made & 0o7777], [process.getuid?.(), mode], name)
    }
  })
