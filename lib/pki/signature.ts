/** The signature of a certificate, verified on libuv's threads: while one core reads, another verifies. */
import { type KeyObject, verify, type X509Certificate } from 'node:crypto'
import { hex } from './der.ts'
import type { Fields } from './fields.ts'
import { oids } from './oids.ts'

/** By the content of their AlgorithmIdentifier: RFC 4055 has a NULL after the OID, RFC 5758 nothing. */
export const signatureAlgorithms: ReadonlyMap<string, { readonly hash: string; readonly key: string }> = new Map([
  [`0609${oids.rsaWithSha256}0500`, { hash: 'sha256', key: 'rsa' }],
  [`0609${oids.rsaWithSha384}0500`, { hash: 'sha384', key: 'rsa' }],
  [`0609${oids.rsaWithSha512}0500`, { hash: 'sha512', key: 'rsa' }],
  [`0608${oids.ecdsaWithSha256}`, { hash: 'sha256', key: 'ec' }],
  [`0608${oids.ecdsaWithSha384}`, { hash: 'sha384', key: 'ec' }],
  [`0608${oids.ecdsaWithSha512}`, { hash: 'sha512', key: 'ec' }],
])

interface Signed {
  readonly x509: X509Certificate
  readonly fields: Fields
}

/** The result of `x509.verify`, which is called itself wherever something is unusual or wrong. */
export async function verifySignature(of: Signed, key: KeyObject): Promise<boolean> {
  return (await isPlainlySigned(of.fields, key)) || of.x509.verify(key)
}

/** True if it is signed with one of these algorithms and a key of its kind. */
async function isPlainlySigned(fields: Fields, key: KeyObject): Promise<boolean> {
  const { signed, algorithm, signature } = fields
  const known = signatureAlgorithms.get(hex(algorithm))
  const [unusedBits, bits] = [signature.content[0], signature.content.subarray(1)]
  if (!known || known.key !== key.asymmetricKeyType || unusedBits !== 0) return false
  await untilEnough()
  return new Promise((resolve) => {
    verify(known.hash, signed.bytes, key, bits, (error, isRight) => resolve(!error && isRight))
  })
}

/** So many are started at once: waking a thread for each one alone costs 0.05 ms. */
const enough = 64
let waiting: (() => void)[] = []

/** Waits until enough have come, or until no more come in this turn of the event loop. */
function untilEnough(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(resume)
    if (waiting.length === enough) resume()
  })
}

function resume(): void {
  const all = waiting
  waiting = []
  for (const each of all) each()
}
