/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate and OpenSSL lets pass:
 * parser.go and verify.go since Go 1.23 (Kubernetes 1.32), the strictest of them where they differ. Pure.
 */
import { isUtf8 } from 'node:buffer'
import { type Der, inside, readDer } from './der.ts'
import { type Extension, extensionIds, extensionOf, type Fields } from './fields.ts'

type Rule = readonly [what: string, isBroken: (fields: Fields) => boolean]

const rules: readonly Rule[] = [
  ['its version is not 3', ({ version }) => version !== 2],
  ['its serial number is negative or padded', ({ serialNumber }) => !isPositive(serialNumber)],
  ['its two signature algorithms differ', (of) => !of.algorithm.bytes.equals(of.outerAlgorithm.bytes)],
  // Nobody checks how a root has signed itself.
  ['it is not signed with SHA-256, 384 or 512', (of) => !isSelfIssued(of) && !isTrusted(of.algorithm)],
  // A leaf's issuer need not be looked at: it is its CA's subject, byte for byte.
  ['its subject has a character that its string type does not allow', ({ subject }) => !isName(subject)],
  ['it has a malformed time', ({ validity }) => !inside(validity).every(isTime)],
  ['its public key is encoded in an unusual form', ({ publicKey }) => !isPublicKey(publicKey)],
  ['it has a malformed bit string', (of) => !bitStringsOf(of).every(isBitString)],
  ['it has the same extension twice', ({ extensions }) => hasRepeated(extensions)],
  ['it has a malformed extension', ({ extensions }) => !extensions.every(isExtension)],
  ['it has an unknown critical extension', ({ extensions }) => extensions.some(isUnknownAndCritical)],
  ['it has a critical key identifier', ({ extensions }) => extensions.some(isCriticalIdentifier)],
  ['it has a malformed SAN', (of) => !listedIn(of, extensionIds.subjectAltName).every(isSan)],
  ['it may not issue for both servers and clients', (of) => isSelfIssued(of) && !issuesForBoth(of)],
]

/** Each is a clause about the certificate. */
export function findRefusals(fields: Fields): string[] {
  return rules.filter(([, isBroken]) => breaks(isBroken, fields)).map(([what]) => what)
}

function breaks(isBroken: Rule[1], fields: Fields): boolean {
  try {
    return isBroken(fields)
  } catch (error) {
    if (error instanceof RangeError) return true
    throw error
  }
}

function isSelfIssued({ issuer, subject }: Fields): boolean {
  return issuer.bytes.equals(subject.bytes)
}

const hex = ({ content }: Der) => content.toString('hex')
const [rsaPss, mgf1] = ['2a864886f70d01010a', '2a864886f70d010108']
/** RFC 4055 and RFC 5758. */
const trustedSignatures: ReadonlySet<string> = new Set([
  ...['2a864886f70d01010b', '2a864886f70d01010c', '2a864886f70d01010d'],
  ...['2a8648ce3d040302', '2a8648ce3d040303', '2a8648ce3d040304'],
])
/** SHA-256, 384 and 512, with the length of the salt that Go asks for. */
const saltLengths: Readonly<Record<string, number>> = {
  '608648016503040201': 32,
  '608648016503040202': 48,
  '608648016503040203': 64,
}

function isTrusted(identifier: Der): boolean {
  const [oid, parameters] = inside(identifier)
  if (!oid || hex(oid) !== rsaPss) return oid !== undefined && trustedSignatures.has(hex(oid))
  const [hash, mask, salt] = inside(parameters).map((tagged) => inside(tagged)[0])
  const [hashOid] = inside(hash)
  const [maskOid, maskHash] = inside(mask)
  const [maskHashOid] = inside(maskHash)
  if (!hashOid || !maskOid || !maskHashOid || !salt) return false
  return hex(maskOid) === mgf1 && hex(maskHashOid) === hex(hashOid) && salt.content[0] === saltLengths[hex(hashOid)]
}

/** Of an issuer or a subject. */
export function isName(name: Der): boolean {
  return inside(name).every(
    (set) =>
      set.tag === 0x31 &&
      inside(set).every((attribute) => {
        const [type, value] = inside(attribute)
        return type !== undefined && isOid(type) && value !== undefined && isString(value)
      }),
  )
}

/** By X.680's string types, with the two characters that Go adds to PrintableString. */
function isString({ tag, content }: Der): boolean {
  switch (tag) {
    case 0x0c:
      return isUtf8(content)
    case 0x12:
      return /^[0-9 ]*$/.test(content.toString('latin1'))
    case 0x13:
      return /^[A-Za-z0-9 '()*+,\-./:=?&]*$/.test(content.toString('latin1'))
    case 0x14:
      return true
    case 0x16:
      return isAscii(content)
    case 0x1e:
      return content.length % 2 === 0 && !/[\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]/.test(utf16(content))
    default:
      return false
  }
}

function utf16(bigEndian: Buffer): string {
  return Buffer.from(bigEndian).swap16().toString('utf16le')
}

function isAscii(content: Buffer): boolean {
  return content.every((byte) => byte < 0x80)
}

/** Each number in at most 31 bits, in the fewest bytes. */
function isOid({ tag, content }: Der): boolean {
  return (
    tag === 0x06 && /^(?:(?!80)(?:[89a-f].){0,3}[0-7].|8[1-7](?:[89a-f].){3}[0-7].)+$/.test(content.toString('hex'))
  )
}

function isMinimal({ content: [first, second] }: { content: Iterable<number> }): boolean {
  if (first === undefined || second === undefined) return first !== undefined
  return !(first === 0 && second < 0x80) && !(first === 0xff && second >= 0x80)
}

function isPositive(integer: Der): boolean {
  return integer.tag === 0x02 && isMinimal(integer) && (integer.content[0] ?? 0) < 0x80
}

/** With seconds or, in UTCTime, without; that it is a day of the calendar OpenSSL has seen to. */
function isTime({ tag, content }: Der): boolean {
  const form = tag === 0x17 ? /^\d{10}(?:\d\d)?(?:Z|[+-](?!0000)\d{4})$/ : /^\d{14}(?:Z|[+-](?!0000)\d{4})$/
  return (tag === 0x17 || tag === 0x18) && form.test(content.toString('latin1'))
}

const [rsaKey, ecKey] = ['2a864886f70d010101', '2a8648ce3d0201']

/** A SubjectPublicKeyInfo of RFC 3279: NULL beside RSA; a named curve and an uncompressed point. */
function isPublicKey(publicKey: Der): boolean {
  const [identifier, bits] = inside(publicKey)
  const [oid, parameters] = inside(identifier)
  if (!oid || !bits) return false
  if (hex(oid) === ecKey) return parameters?.tag === 0x06 && bits.content[1] === 0x04
  if (hex(oid) !== rsaKey) return true
  const [modulus, exponent] = inside(readDer(bits.content.subarray(1))[0])
  if (!modulus || !exponent || !isPositive(modulus) || !isPositive(exponent)) return false
  return parameters?.bytes.toString('hex') === '0500' && exponent.content.length <= 4
}

/** SEC 1 or PKCS#8: of a named curve, and with no point or an uncompressed one. */
export function isPlainEcKey(der: Buffer): boolean {
  const [, second, third, ...optional] = inside(readDer(der)[0])
  if (second?.tag === 0x30) return inside(second)[1]?.tag === 0x06 && third !== undefined && isPlainEcKey(third.content)
  return [third, ...optional].every((each) => {
    const value = each && inside(each)[0]
    return value?.tag === 0x03 ? value.content[1] === 0x04 : !value || value.tag === 0x06
  })
}

function bitStringsOf(fields: Fields): (Der | undefined)[] {
  const usage = extensionOf(fields, extensionIds.keyUsage)
  return [fields.signature, inside(fields.publicKey)[1], ...(usage ? [usage] : [])]
}

/** X.690, 11.2: the unused bits are zeros. */
function isBitString(element: Der | undefined): boolean {
  if (element?.tag !== 0x03 || element.content.length === 0) return false
  const [unused = 0] = element.content
  const last = element.content.length > 1 ? (element.content.at(-1) ?? 0) : 0xff
  return unused <= 7 && (last & (2 ** unused - 1)) === 0
}

/** The tag of the value of those that Go reads. */
const knownExtensions: ReadonlyMap<string, number> = new Map([
  [extensionIds.subjectKeyIdentifier, 0x04],
  [extensionIds.keyUsage, 0x03],
  [extensionIds.subjectAltName, 0x30],
  [extensionIds.basicConstraints, 0x30],
  [extensionIds.nameConstraints, 0x30],
  [extensionIds.crlDistributionPoints, 0x30],
  [extensionIds.certificatePolicies, 0x30],
  [extensionIds.authorityKeyIdentifier, 0x30],
  [extensionIds.extKeyUsage, 0x30],
  [extensionIds.authorityInfoAccess, 0x30],
])
const identifiers: readonly string[] = [
  extensionIds.subjectKeyIdentifier,
  extensionIds.authorityKeyIdentifier,
  extensionIds.authorityInfoAccess,
]

function hasRepeated(extensions: readonly Extension[]): boolean {
  return new Set(extensions.map(({ id }) => id)).size < extensions.length
}

function isExtension({ id, oid, critical, value }: Extension): boolean {
  if (!isOid(oid) || (critical && !isBoolean(critical))) return false
  const tag = knownExtensions.get(id)
  if (tag === undefined) return true
  const all = readDer(value)
  return all[0]?.tag === tag && all.every(isWellFormed) && (!lists.includes(id) || isListOfIds(all[0], id))
}

/** Each entry is a sequence that begins with an OID. */
const lists: readonly string[] = [extensionIds.certificatePolicies, extensionIds.authorityInfoAccess]

function isListOfIds(list: Der, id: string): boolean {
  const begin = inside(list).map((entry) => (entry.tag === 0x30 ? inside(entry)[0] : undefined))
  const ids = new Set(begin.map((first) => first?.tag === 0x06 && hex(first)))
  return !ids.has(false) && (id !== extensionIds.certificatePolicies || ids.size === begin.length)
}

function isWellFormed(element: Der): boolean {
  if (element.tag === 0x01) return isBoolean(element)
  if (element.tag === 0x02) return isMinimal(element)
  return (element.tag & 0x20) === 0 || inside(element).every(isWellFormed)
}

function isBoolean({ content }: Der): boolean {
  return content.length === 1 && (content[0] === 0 || content[0] === 0xff)
}

function isUnknownAndCritical({ id, critical, value }: Extension): boolean {
  if (critical?.content[0] !== 0xff) return false
  if (id !== extensionIds.subjectAltName) return !knownExtensions.has(id)
  return !inside(readDer(value)[0]).some(({ tag }) => [0x81, 0x82, 0x86, 0x87].includes(tag))
}

function isCriticalIdentifier({ id, critical }: Extension): boolean {
  return critical?.content[0] === 0xff && identifiers.includes(id)
}

function listedIn(fields: Fields, id: string): Der[] {
  const list = extensionOf(fields, id)
  return list ? inside(list) : []
}

function isSan({ tag, content }: Der): boolean {
  if (tag === 0x87) return content.length === 4 || (content.length === 16 && !isMapped(content))
  return ![0x81, 0x82, 0x86].includes(tag) || isAscii(content)
}

/** An IPv4 address in the clothes of IPv6, ::ffff:10.0.0.1. */
function isMapped(address: Buffer): boolean {
  return address.toString('hex', 0, 12) === '00000000000000000000ffff'
}

/** A CA with extended key usages issues for these alone. */
function issuesForBoth(fields: Fields): boolean {
  const usages = listedIn(fields, extensionIds.extKeyUsage).map(hex)
  const [server, client, any] = ['2b06010505070301', '2b06010505070302', '551d2500'].map((id) => usages.includes(id))
  return usages.length === 0 || any === true || (server === true && client === true)
}
