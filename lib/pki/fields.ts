/** What OpenSSL does not say of a certificate (RFC 5280, 4.1), from its DER: names as they stand there, and its extensions. */
import { type Der, expect, hex, inside, readDer } from './der.ts'

export interface Extension {
  /** Its OID, as in `oids` of der.ts. */
  readonly id: string
  readonly isCritical: boolean
  /** An OCTET STRING, whose content is DER. */
  readonly value: Der
}

/** Throws a RangeError unless the bytes are exactly one certificate. Unique identifiers, which RFC 5280 forbids, are not read. */
export function readFields(bytes: Buffer) {
  const [tbs] = inside(onlyOne(readDer(bytes)), 0x30)
  const all = inside(tbs, 0x30)
  if (all[0]?.tag === 0xa0) all.shift()
  const [, algorithm, issuer, , subject, publicKey, extensions] = all
  return {
    algorithm: expect(algorithm, 0x30),
    issuer: expect(issuer, 0x30).bytes,
    subject: expect(subject, 0x30).bytes,
    keyInfo: expect(publicKey, 0x30),
    extensions: extensions ? inside(onlyOne(inside(extensions, 0xa3)), 0x30).map(readExtension) : [],
  }
}

function onlyOne([first, ...more]: readonly Der[]): Der | undefined {
  if (more.length > 0) throw new RangeError('more elements than one')
  return first
}

function readExtension(extension: Der): Extension {
  const [oid, ...rest] = inside(extension, 0x30)
  const isCritical = rest[0]?.tag === 0x01
  return { id: hex(expect(oid, 0x06)), isCritical, value: expect(rest.at(-1), 0x04) }
}

interface Extended {
  readonly extensions: readonly Extension[]
}

/** The value of an extension; undefined where there is none of that kind. */
export function extensionOf({ extensions }: Extended, wanted: string): Der | undefined {
  const found = extensions.find(({ id }) => id === wanted)
  return found && onlyOne(inside(found.value))
}

/** The elements of the value of an extension that is a list; none where there is none of that kind. */
export function listedIn(of: Extended, id: string): Der[] {
  const list = extensionOf(of, id)
  return list ? inside(list, 0x30) : []
}
