/**
 * Reads every file of a folder, parses each certificate and checks its signature, and compares each key with its
 * certificate, and nothing else: `node test/bench/bare-read.ts FOLDER`.
 */
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [folder = ''] = process.argv.slice(2)
const read = (name: string) => readFileSync(join(folder, name))
const ca = new X509Certificate(read('ca.pem')).publicKey
const files = new Map(readdirSync(folder).map((name) => [name, read(name)]))
for (const [name, pem] of files) {
  const issued = name.endsWith('-key.pem') && files.get(name.replace('-key.pem', '.pem'))
  if (!issued) continue
  const [certificate, key] = [new X509Certificate(issued), createPrivateKey(pem)]
  const isRight = certificate.verify(ca) && certificate.publicKey.equals(createPublicKey(key))
  if (!isRight) throw new Error(name)
}
