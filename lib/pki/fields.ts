/**
 * A certificate's DER by its fields (RFC 5280, 4.1), and its signature, verified on libuv's threads: while one core reads, another
 * verifies.
 */
import { type KeyObject, verify, type X509Certificate } from 'node:crypto'
import { type Der, expect, hex, inside, oids, readDer } from './der.ts'

export interface Fields {
  /** What is signed. */
  readonly signed: Der
  /** 2 is version 3. */
  readonly version: number
  readonly serialNumber: Der
  readonly algorithm: Der
  readonly issuer: Der
  readonly validity: Der
  readonly subject: Der
  readonly publicKey: Der
  readonly extensions: readonly Extension[]
  readonly signature: Der
}

export interface Extension {
  /** Its OID, as in `oids` of der.ts. */
  readonly id: string
  readonly oid: Der
  readonly critical: Der | undefined
  /** An OCTET STRING, whose content is DER. */
  readonly value: Der
}

/** The value of an extension; undefined where there is none of that kind. */
export function extensionOf({ extensions }: Pick<Fields, 'extensions'>, wanted: string): Der | undefined {
  const found = extensions.find(({ id }) => id === wanted)
  return found && onlyOne(inside(found.value))
}

/** The elements of the value of an extension that is a list; none where there is none of that kind. */
export function listedIn(fields: Fields, id: string): Der[] {
  const list = extensionOf(fields, id)
  return list ? inside(list, 0x30) : []
}

/** Whether it is a CA, by its basic constraints. */
export function isCaIn(fields: Fields): boolean {
  return listedIn(fields, oids.basicConstraints)[0]?.bytes.toString('hex') === '0101ff'
}

/** Throws a RangeError unless the bytes are exactly one certificate. Unique identifiers, which RFC 5280 forbids, are not read. */
export function readFields(bytes: Buffer): Fields {
  const [tbs, outerAlgorithm, signature, ...behind] = inside(onlyOne(readDer(bytes)), 0x30)
  const all = inside(tbs, 0x30)
  const version = all[0]?.tag === 0xa0 ? readVersion(all.shift()) : 0
  const [serialNumber, algorithm, issuer, validity, subject, publicKey, extensions, ...more] = all
  if (behind.length + more.length > 0) throw new RangeError('more fields than a certificate has')
  // RFC 5280, 4.1.1.2: the same algorithm inside the signed part and outside.
  if (!outerAlgorithm || !algorithm?.bytes.equals(outerAlgorithm.bytes)) throw new RangeError('two algorithms')
  return {
    signed: expect(tbs, 0x30),
    version,
    serialNumber: expect(serialNumber, 0x02),
    algorithm: expect(algorithm, 0x30),
    issuer: expect(issuer, 0x30),
    validity: expect(validity, 0x30),
    subject: expect(subject, 0x30),
    publicKey: expect(publicKey, 0x30),
    extensions: extensions ? inside(onlyOne(inside(extensions, 0xa3)), 0x30).map(readExtension) : [],
    signature: expect(signature, 0x03),
  }
}

function readVersion(tagged: Der | undefined): number {
  const { content } = expect(onlyOne(inside(tagged)), 0x02)
  return content.length === 1 ? content.readUInt8() : -1
}

function onlyOne([first, ...more]: readonly Der[]): Der | undefined {
  if (more.length > 0) throw new RangeError('more elements than one')
  return first
}

function readExtension(extension: Der): Extension {
  const [first, ...rest] = inside(extension, 0x30)
  const oid = expect(first, 0x06)
  const critical = rest[0]?.tag === 0x01 ? rest.shift() : undefined
  return { id: hex(oid), oid, critical, value: expect(onlyOne(rest), 0x04) }
}

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
