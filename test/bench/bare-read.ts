/**
 * Reads every file of a folder, parses each certificate and checks its signature, and compares each key with its
 * certificate, and nothing else: `node test/bench/bare-read.ts FOLDER`.
 *
 * With a cluster.yaml behind it that is parsed too, and it is worked out whether the halves of each P-256 key belong
 * together: no less can say that all is there that is asked for, and that what a key signs is accepted.
 */
import { createECDH, createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const [folder = '', clusterFile] = process.argv.slice(2)
const read = (name: string) => readFileSync(join(folder, name))
const ca = new X509Certificate(read('ca.pem')).publicKey
const files = new Map(readdirSync(folder).map((name) => [name, read(name)]))
if (clusterFile !== undefined) (await import('yaml')).parse(readFileSync(clusterFile, 'utf8'))
for (const [name, pem] of files) {
  const issued = name.endsWith('-key.pem') && files.get(name.replace('-key.pem', '.pem'))
  if (!issued) continue
  const [certificate, key] = [new X509Certificate(issued), createPrivateKey(pem)]
  const isRight = certificate.verify(ca) && certificate.publicKey.equals(createPublicKey(key))
  if (!isRight || (clusterFile !== undefined && !isWhole(key))) throw new Error(name)
}

function isWhole(key: KeyObject): boolean {
  const { d = '', x = '', y = '' } = key.export({ format: 'jwk' })
  const bytes = (part: string) => Buffer.from(part, 'base64url')
  const made = createECDH('prime256v1')
  made.setPrivateKey(bytes(d))
  return made.getPublicKey().equals(Buffer.concat([Buffer.of(4), bytes(x), bytes(y)]))
}
