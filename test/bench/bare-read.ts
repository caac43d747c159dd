/** Reads every file of a folder and parses each certificate, and nothing else: `node test/bench/bare-read.ts FOLDER`. */
import { X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [folder = ''] = process.argv.slice(2)
for (const name of readdirSync(folder)) {
  const bytes = readFileSync(join(folder, name))
  if (name.endsWith('.pem') && !name.endsWith('-key.pem')) new X509Certificate(bytes)
}
