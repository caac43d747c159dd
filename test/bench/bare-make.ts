/**
 * The keys, signatures and files of a cluster, and nothing else: `node test/bench/bare-make.ts MANIFEST FOLDER`, where
 * FOLDER is there.
 */
import { generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface Manifest {
  readonly keys: number
  readonly signatures: number
  /** Bytes by name. */
  readonly sizes: Readonly<Record<string, number>>
}

const [manifest = '', folder = ''] = process.argv.slice(2)
const { keys, signatures, sizes }: Manifest = JSON.parse(readFileSync(manifest, 'utf8'))
const issuer = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const signed = Buffer.alloc(1024, 'x')
for (let i = 1; i < keys; i++) generateKeyPairSync('ec', { namedCurve: 'P-256' })
for (let i = 0; i < signatures; i++) sign('sha256', signed, issuer)

// Sixteen at once: all at once would be more than a process may have open.
const files = Object.entries(sizes).values()
await Promise.all(
  Array.from({ length: 16 }, async () => {
    for (const [name, size] of files) await writeFile(join(folder, name), Buffer.alloc(size, 'x'))
  }),
)
