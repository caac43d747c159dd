/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate and OpenSSL lets pass:
 * parser.go and verify.go since Go 1.23 (Kubernetes 1.32). Not all of it: what options of openssl can produce, and what is
 * checked in a line. Pure.
 */

import { expect, hex, inside, oids } from './der.ts'
import { isName } from './encodings.ts'
import { type Extension, type Fields, isCaIn, listedIn, signatureAlgorithms } from './fields.ts'

type Rule = readonly [what: string, isBroken: (fields: Fields) => boolean]

const rules: readonly Rule[] = [
  ['its version is not 3', ({ version }) => version !== 2],
  ['its serial number is negative or padded', ({ serialNumber }) => /^($|00[0-7]|[89a-f])/.test(hex(serialNumber))],
  // The signature of a CA that is trusted itself is never verified.
  ['it is not signed with SHA-256, 384 or 512', (of) => !isCaIn(of) && !signatureAlgorithms.has(hex(of.algorithm))],
  ['its subject has a character that its string type does not allow', ({ subject }) => !isName(subject)],
  ['its issuer has a character that its string type does not allow', ({ issuer }) => !isName(issuer)],
  ['its public key is encoded in an unusual form', isUnusualKey],
  ['its signature is malformed', ({ signature }) => signature.content[0] !== 0],
  ['it has the same extension twice', ({ extensions: all }) => new Set(all.map(({ id }) => id)).size < all.length],
  ['it has a critical extension that Go does not accept', ({ extensions }) => extensions.some(isWronglyCritical)],
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

/** Go reads a named curve and an uncompressed point: not what openssl's -param_enc and -conv_form choose. */
function isUnusualKey({ publicKey }: Fields): boolean {
  const [identifier, bits] = inside(publicKey)
  const [algorithm, parameters] = inside(identifier)
  return hex(expect(algorithm, 0x06)) === oids.ecPublicKey && (parameters?.tag !== 0x06 || bits?.content[1] !== 0x04)
}

/** Those that Go reads. Any other is ignored, unless it is critical. */
const knownExtensions: readonly string[] = [
  ...[oids.subjectKeyIdentifier, oids.keyUsage, oids.subjectAltName, oids.basicConstraints, oids.nameConstraints],
  ...[oids.crlDistributionPoints, oids.certificatePolicies, oids.authorityKeyIdentifier, oids.extKeyUsage],
  oids.authorityInfoAccess,
]
const neverCritical: readonly string[] = [
  oids.subjectKeyIdentifier,
  oids.authorityKeyIdentifier,
  oids.authorityInfoAccess,
]

export function isKnown({ id }: Extension): boolean {
  return knownExtensions.includes(id)
}

function isWronglyCritical(extension: Extension): boolean {
  const { id, critical } = extension
  if (!critical || hex(critical) === '00') return false
  return hex(critical) !== 'ff' || !isKnown(extension) || neverCritical.includes(id)
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
