/** The signature of a certificate, verified on libuv's threads: while one core reads, another verifies. */
import { type KeyObject, verify, type X509Certificate } from 'node:crypto'
import { hex } from './der.ts'
import type { Fields } from './fields.ts'

/** By the content of their AlgorithmIdentifier: RFC 4055 has a NULL behind the OID, RFC 5758 nothing. */
export const signatureAlgorithms: ReadonlyMap<string, { readonly hash: string; readonly key: string }> = new Map([
  ['06092a864886f70d01010b0500', { hash: 'sha256', key: 'rsa' }],
  ['06092a864886f70d01010c0500', { hash: 'sha384', key: 'rsa' }],
  ['06092a864886f70d01010d0500', { hash: 'sha512', key: 'rsa' }],
  ['06082a8648ce3d040302', { hash: 'sha256', key: 'ec' }],
  ['06082a8648ce3d040303', { hash: 'sha384', key: 'ec' }],
  ['06082a8648ce3d040304', { hash: 'sha512', key: 'ec' }],
])

interface Signed {
  readonly x509: X509Certificate
  readonly fields: Fields
}

/** As `x509.verify` says, which is asked itself wherever something is unusual or wrong. */
export async function verifySignature(of: Signed, key: KeyObject): Promise<boolean> {
  return (await isPlainlySigned(of.fields, key)) || of.x509.verify(key)
}

/** By one of these algorithms, named alike inside and outside of what is signed (RFC 5280, 4.1.1.2), with a key of its kind. */
async function isPlainlySigned(fields: Fields, key: KeyObject): Promise<boolean> {
  const { signed, algorithm, outerAlgorithm, signature } = fields
  const known = signatureAlgorithms.get(hex(algorithm))
  const [unusedBits, bits] = [signature.content[0], signature.content.subarray(1)]
  const isPlain =
    known?.key === key.asymmetricKeyType && algorithm.bytes.equals(outerAlgorithm.bytes) && unusedBits === 0
  if (!known || !isPlain) return false
  await untilEnough()
  return new Promise((resolve) => {
    verify(known.hash, signed.bytes, key, bits, (error, isRight) => resolve(!error && isRight))
  })
}

/** As many are begun at once: a thread that is woken for each that comes alone costs 0.05 ms. */
const enough = 64
let waiting: (() => void)[] = []

/** Until enough have come, or no more do in this turn of the event loop. */
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
