/** A certificate's DER by its fields: RFC 5280, 4.1. Pure. */
import { type Der, hex, inside, readDer } from './der.ts'

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
  /** issuerUniqueID and subjectUniqueID, and whatever else stands there. */
  readonly uniqueIds: readonly Der[]
  readonly extensions: readonly Extension[]
  /** Outside of what is signed. */
  readonly outerAlgorithm: Der
  readonly signature: Der
}

/** Of extensions, as they stand in the DER, in hex. */
export const extensionIds = {
  subjectKeyIdentifier: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  crlDistributionPoints: '551d1f',
  certificatePolicies: '551d20',
  authorityKeyIdentifier: '551d23',
  extKeyUsage: '551d25',
  authorityInfoAccess: '2b06010505070101',
} as const

export interface Extension {
  /** Its OID as one of extensionIds. */
  readonly id: string
  readonly oid: Der
  readonly critical: Der | undefined
  /** An OCTET STRING, whose content is DER. */
  readonly value: Der
}

/** The value of an extension; undefined where there is none of that kind. */
export function extensionOf({ extensions }: Pick<Fields, 'extensions'>, wanted: string): Der | undefined {
  const found = extensions.find(({ id }) => id === wanted)
  return found && inside(found.value)[0]
}

/** Throws a RangeError where the bytes are anything but one certificate. */
export function readFields(bytes: Buffer): Fields {
  const [whole, ...more] = readDer(bytes)
  const [tbs, outerAlgorithm, signature, ...behind] = inside(expect(whole, 0x30))
  if (more.length + behind.length > 0) throw new RangeError('trailing data after the certificate')
  const all = inside(expect(tbs, 0x30))
  const version = all[0]?.tag === 0xa0 ? readVersion(all.shift()) : 0
  const [serialNumber, algorithm, issuer, validity, subject, publicKey, ...uniqueIds] = all
  const extensions = uniqueIds.at(-1)?.tag === 0xa3 ? uniqueIds.pop() : undefined
  // Go looks for the extensions behind these two alone, and passes over none that is constructed.
  const isKnown = uniqueIds.every(({ tag }, i) => [0x81, 0x82].includes(tag) && tag > (uniqueIds[i - 1]?.tag ?? 0))
  if (!isKnown) throw new RangeError('another field than a certificate has')
  return {
    signed: expect(tbs, 0x30),
    version,
    serialNumber: expect(serialNumber, 0x02),
    algorithm: expect(algorithm, 0x30),
    issuer: expect(issuer, 0x30),
    validity: expect(validity, 0x30),
    subject: expect(subject, 0x30),
    publicKey: expect(publicKey, 0x30),
    uniqueIds,
    extensions: readExtensions(extensions),
    outerAlgorithm: expect(outerAlgorithm, 0x30),
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

function readExtensions(tagged: Der | undefined): Extension[] {
  const extensions = tagged ? inside(expect(onlyOne(inside(tagged)), 0x30)) : []
  return extensions.map((extension) => {
    const [oid, ...rest] = inside(expect(extension, 0x30))
    const critical = rest[0]?.tag === 0x01 ? rest.shift() : undefined
    const known = expect(oid, 0x06)
    return { id: hex(known), oid: known, critical, value: expect(onlyOne(rest), 0x04) }
  })
}

function expect(element: Der | undefined, tag: number): Der {
  if (element?.tag !== tag) throw new RangeError(`another element than one with the tag ${tag}`)
  return element
}
