/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate and OpenSSL lets pass:
 * parser.go and verify.go since Go 1.23 (Kubernetes 1.32). Extensions are accepted in the shapes that CAs write. Pure.
 */

import { addressBytes } from '../address.ts'
import { type Der, hex, inside, oids, readDer } from './der.ts'
import { isAscii, isName, isPositive, isWellFormed } from './encodings.ts'
import { type Extension, type Fields, isCaIn, listedIn, signatureAlgorithms } from './fields.ts'

type Rule = readonly [what: string, isBroken: (fields: Fields) => boolean]

const rules: readonly Rule[] = [
  ['its version is not 3', ({ version }) => version !== 2],
  ['its serial number is negative or padded', ({ serialNumber }) => !isPositive(serialNumber)],
  // The signature of a CA that is trusted itself is never verified.
  ['it is not signed with SHA-256, 384 or 512', (of) => !isCaIn(of) && !signatureAlgorithms.has(hex(of.algorithm))],
  ['its subject has a character that its string type does not allow', ({ subject }) => !isName(subject)],
  ['its issuer has a character that its string type does not allow', ({ issuer }) => !isName(issuer)],
  ['its public key is encoded in an unusual form', ({ publicKey }) => !isPublicKey(publicKey)],
  ['its signature is malformed', ({ signature }) => !isWellFormed(signature)],
  ['it has the same extension twice', ({ extensions: all }) => new Set(all.map(({ id }) => id)).size < all.length],
  ['it has a malformed extension', ({ extensions }) => !extensions.every(isExtension)],
  ['it has a critical extension that Go does not accept', ({ extensions }) => extensions.some(isWronglyCritical)],
  ['it has name constraints that Go does not read', (of) => !areConstraintsRead(of)],
  ['it may not issue for both servers and clients', (of) => isCaIn(of) && !issuesForBoth(of)],
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

/** A SubjectPublicKeyInfo of RFC 3279: NULL beside RSA; a named curve and an uncompressed point. */
function isPublicKey(publicKey: Der): boolean {
  const [identifier, bits] = inside(publicKey)
  const [oid, parameters] = inside(identifier)
  // Go shifts unused bits out, and reads what is left.
  if (!oid || !parameters || bits?.content[0] !== 0) return false
  if (hex(oid) === oids.ecPublicKey) return parameters.tag === 0x06 && bits.content[1] === 0x04
  return parameters.tag === 0x05 && inside(readDer(bits.content.subarray(1))[0]).every(isPositive)
}

/** The tags of the value and of what is in it. */
const shapes: ReadonlyMap<string, RegExp> = new Map([
  [oids.subjectKeyIdentifier, /^04$/],
  [oids.keyUsage, /^03$/],
  [oids.subjectAltName, /^30( 8[12678]| a4)*$/],
  [oids.basicConstraints, /^30( 01)?( 02)?$/],
  [oids.nameConstraints, /^30( a0| a1| a0 a1)$/],
  [oids.crlDistributionPoints, /^30( 30)+$/],
  [oids.certificatePolicies, /^30( 30)+$/],
  [oids.authorityKeyIdentifier, /^30( 80)?( a1 82)?$/],
  [oids.extKeyUsage, /^30( 06)+$/],
  [oids.authorityInfoAccess, /^30( 30)+$/],
])
const neverCritical: readonly string[] = [
  oids.subjectKeyIdentifier,
  oids.authorityKeyIdentifier,
  oids.authorityInfoAccess,
]

function isExtension({ id, oid, critical, value }: Extension): boolean {
  const [shape, [first, ...more]] = [shapes.get(id), shapes.has(id) ? inside(value) : []]
  if (!isWellFormed(oid) || (critical && !isWellFormed(critical))) return false
  return !shape || (first !== undefined && more.length === 0 && shape.test(shapeOf(first)) && isWellFormed(first))
}

function shapeOf(value: Der): string {
  const all = [value, ...((value.tag & 0x20) === 0 ? [] : inside(value))]
  return all.map(({ tag }) => tag.toString(16).padStart(2, '0')).join(' ')
}

function isWronglyCritical({ id, critical }: Extension): boolean {
  return critical?.content[0] === 0xff && (!shapes.has(id) || neverCritical.includes(id))
}

/** A CA with extended key usages issues for these alone. */
function issuesForBoth(fields: Fields): boolean {
  const usages = listedIn(fields, oids.extKeyUsage).map(hex)
  return (
    usages.length === 0 ||
    usages.includes(oids.anyExtendedKeyUsage) ||
    [oids.serverAuth, oids.clientAuth].every((id) => usages.includes(id))
  )
}

/** GeneralName: email, DNS, URI, IP. */
// The names for which a CA may issue (RFC 5280, 4.2.1.10), as Go's crypto/x509 reads and applies them.

const [email, dns, uri, ip] = [0x81, 0x82, 0x86, 0x87] as const
const known: readonly number[] = [email, dns, uri, ip]

/** Throws a RangeError where they are malformed. */
function readConstraints(fields: Fields): Readonly<Record<'permitted' | 'excluded', readonly Der[]>> {
  const lists = listedIn(fields, oids.nameConstraints)
  const bases = (tag: number) => lists.filter((each) => each.tag === tag).flatMap((each) => inside(each).map(baseOf))
  return { permitted: bases(0xa0), excluded: bases(0xa1) }
}

function baseOf(subtree: Der): Der {
  const [base] = inside(subtree, 0x30)
  if (!base) throw new RangeError('a subtree without a base')
  return base
}

const maskOf = (range: Buffer): Buffer => range.subarray(range.length / 2)
/** Ones, then zeros, in hex. */
const prefixMask = /^(ff)*(80|c0|e0|f0|f8|fc|fe)?(00)*$/

/** Go refuses a kind of name that it does not know only where they are critical. */
function areConstraintsRead(fields: Fields): boolean {
  const critical = fields.extensions.find(({ id }) => id === oids.nameConstraints)?.critical
  return Object.values(readConstraints(fields))
    .flat()
    .every(({ tag, content }) => {
      if (tag === ip) return [8, 32].includes(content.length) && prefixMask.test(maskOf(content).toString('hex'))
      return known.includes(tag) ? isAscii(content) : critical?.content[0] !== 0xff
    })
}

/** The names and addresses that nobody accepts from this CA. Its constraints must be readable. */
export function findUnpermitted(fields: Fields, names: readonly string[]): string[] {
  const { permitted, excluded } = readConstraints(fields)
  return names.filter((name) => {
    const address = addressBytes(name)
    const [kind, matches] = address
      ? [ip, (base: Der) => isInRange(address, base.content)]
      : [dns, (base: Der) => isUnder(name, base.content.toString('latin1'))]
    const ofKind = (bases: readonly Der[]) => bases.filter(({ tag }) => tag === kind)
    const allowed = ofKind(permitted)
    return ofKind(excluded).some(matches) || (allowed.length > 0 && !allowed.some(matches))
  })
}

function isInRange(address: Uint8Array, range: Buffer): boolean {
  const mask = maskOf(range)
  return (
    address.length === mask.length && mask.every((bits, i) => ((range[i] ?? 0) & bits) === ((address[i] ?? 0) & bits))
  )
}

/** A domain is under itself, unless that begins with a dot. */
function isUnder(name: string, domain: string): boolean {
  const [lower, base] = [name.toLowerCase(), domain.toLowerCase()]
  if (base === '' || base === '.' || lower === base) return true
  return lower.endsWith(base.startsWith('.') ? base : `.${base}`)
}
