/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate and OpenSSL lets pass:
 * parser.go and verify.go since Go 1.23 (Kubernetes 1.32). Extensions are accepted in the shapes that CAs write. Pure.
 */
import { areConstraintsRead } from './constraints.ts'
import { type Der, hex, inside, readDer } from './der.ts'
import { isName, isPositive, isWellFormed } from './encodings.ts'
import { type Extension, type Fields, isCaIn, listedIn } from './fields.ts'
import { oids } from './oids.ts'
import { signatureAlgorithms } from './signature.ts'

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
