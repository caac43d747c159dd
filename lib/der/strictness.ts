/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate and OpenSSL lets pass:
 * parser.go and verify.go since Go 1.23 (Kubernetes 1.32), the strictest of them where they differ. Pure.
 */
import { areConstraintsRead } from './constraints.ts'
import { type Der, hex, inside } from './der.ts'
import { isAscii, isBitString, isBoolean, isMinimal, isName, isOid, isPositive, isPublicKey } from './encodings.ts'
import { type Extension, extensionIds, extensionOf, type Fields } from './fields.ts'

type Rule = readonly [what: string, isBroken: (fields: Fields) => boolean]

const rules: readonly Rule[] = [
  ['its version is not 3', ({ version }) => version !== 2],
  ['its serial number is negative or padded', ({ serialNumber }) => !isPositive(serialNumber)],
  ['its two signature algorithms differ', (of) => !of.algorithm.bytes.equals(of.outerAlgorithm.bytes)],
  // The self-signature of a root is never verified.
  ['it is not signed with SHA-256, 384 or 512', (of) => !isSelfIssued(of) && !isTrusted(of.algorithm)],
  // A leaf's issuer need not be looked at: it is its CA's subject, byte for byte.
  ['its subject has a character that its string type does not allow', ({ subject }) => !isName(subject)],
  ['its public key is encoded in an unusual form', ({ publicKey }) => !isPublicKey(publicKey)],
  ['it has a malformed bit string', (of) => !bitStringsOf(of).every(isBitString)],
  ['it has the same extension twice', ({ extensions }) => hasRepeated(extensions)],
  ['it has a malformed extension', ({ extensions }) => !extensions.every(isExtension)],
  ['it has an unknown critical extension', ({ extensions }) => extensions.some(isUnknownAndCritical)],
  ['it has a critical key identifier', ({ extensions }) => extensions.some(isCriticalIdentifier)],
  ['it has a malformed SAN', (of) => !listedIn(of, extensionIds.subjectAltName).every(isSan)],
  ['it has name constraints that Go does not read', (of) => !areConstraintsRead(of)],
  ['its signature algorithm is malformed', ({ algorithm }) => !isWellFormed(algorithm)],
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

function bitStringsOf(fields: Fields): (Der | undefined)[] {
  const usage = extensionOf(fields, extensionIds.keyUsage)
  return [fields.signature, inside(fields.publicKey)[1], ...(usage ? [usage] : [])]
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

/** Policy mappings, policy constraints, inhibitAnyPolicy: read since Go 1.24, and unknown before. */
const onPolicies: ReadonlyMap<string, number> = new Map([
  ['551d21', 0x30],
  ['551d24', 0x30],
  ['551d36', 0x02],
])

function hasRepeated(extensions: readonly Extension[]): boolean {
  return new Set(extensions.map(({ id }) => id)).size < extensions.length
}

function isExtension({ id, oid, critical, value }: Extension): boolean {
  if (!isOid(oid) || (critical && !isBoolean(critical))) return false
  const tag = knownExtensions.get(id) ?? onPolicies.get(id)
  if (tag === undefined) return true
  const all = inside(value)
  return all[0]?.tag === tag && all.every(isWellFormed) && (!listsOfIds.includes(id) || isListOfIds(all[0], id))
}

/** Each entry is a sequence that begins with an OID. */
const listsOfIds: readonly string[] = [extensionIds.certificatePolicies, extensionIds.authorityInfoAccess]

function isListOfIds(list: Der, id: string): boolean {
  const begin = inside(list).map((entry) => (entry.tag === 0x30 ? inside(entry)[0] : undefined))
  const ids = new Set(begin.map((first) => first !== undefined && isOid(first) && hex(first)))
  return !ids.has(false) && (id !== extensionIds.certificatePolicies || ids.size === begin.length)
}

function isWellFormed(element: Der): boolean {
  if (element.tag === 0x01) return isBoolean(element)
  if (element.tag === 0x02) return isMinimal(element)
  return (element.tag & 0x20) === 0 || inside(element).every(isWellFormed)
}

function isUnknownAndCritical({ id, critical, value }: Extension): boolean {
  if (critical?.content[0] !== 0xff) return false
  if (id !== extensionIds.subjectAltName) return !knownExtensions.has(id)
  return !inside(inside(value)[0]).some(({ tag }) => [0x81, 0x82, 0x86, 0x87].includes(tag))
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

/** An IPv4-mapped IPv6 address, ::ffff:10.0.0.1. */
function isMapped(address: Buffer): boolean {
  return address.toString('hex', 0, 12) === '00000000000000000000ffff'
}

/** A CA with extended key usages issues for these alone. */
function issuesForBoth(fields: Fields): boolean {
  const usages = listedIn(fields, extensionIds.extKeyUsage).map(hex)
  const [server, client, any] = ['2b06010505070301', '2b06010505070302', '551d2500'].map((id) => usages.includes(id))
  return usages.length === 0 || any === true || (server === true && client === true)
}
