/**
 * What Go's crypto/x509, and so every component of Kubernetes and etcd, refuses in a certificate that options of openssl, cfssl or
 * easy-rsa can produce, and OpenSSL lets pass: parser.go and verify.go since Go 1.23 (Kubernetes 1.32). Pure.
 */
import type { X509Certificate } from 'node:crypto'
import { type Der, expect, hex, inside, oids } from './der.ts'
import { type Extension, listedIn, type readFields } from './fields.ts'

/** Each is a clause about the certificate. */
export function findRefusals({ ca, serialNumber }: X509Certificate, of: ReturnType<typeof readFields>): string[] {
  const ids = of.extensions.map(({ id }) => id)
  const broken: readonly [what: string, isBroken: boolean][] = [
    ['its serial number is negative', serialNumber.startsWith('-')],
    // The signature of a CA that is trusted itself is never verified.
    ['it is not signed with SHA-256, 384 or 512', !ca && !isSignedBySha2(of.algorithm)],
    ['its public key is encoded in an unusual form', isUnusualKey(of.keyInfo)],
    ['it has the same extension twice', new Set(ids).size < ids.length],
    ['it has a critical extension that Go does not accept', of.extensions.some(isWronglyCritical)],
    ['it may not issue for both servers and clients', ca && !issuesForBoth(listedIn(of, oids.extKeyUsage).map(hex))],
  ]
  return broken.flatMap(([what, isBroken]) => (isBroken ? [what] : []))
}

function isSignedBySha2(algorithm: Der): boolean {
  const [id] = inside(algorithm)
  const known = (['rsa', 'ecdsa'] as const).flatMap((key) =>
    ([256, 384, 512] as const).map((bits): string => oids[`${key}WithSha${bits}`]),
  )
  return id !== undefined && known.includes(hex(id))
}

/** Go reads a named curve and an uncompressed point: not what openssl's -param_enc and -conv_form choose. */
function isUnusualKey(keyInfo: Der): boolean {
  const [identifier, bits] = inside(keyInfo)
  const [algorithm, parameters] = inside(identifier)
  return hex(expect(algorithm, 0x06)) === oids.ecPublicKey && (parameters?.tag !== 0x06 || bits?.content[1] !== 0x04)
}

/** Those that Go reads, and takes as critical. Any other is ignored, unless it is critical. */
const mayBeCritical: readonly string[] = [
  ...[oids.keyUsage, oids.subjectAltName, oids.basicConstraints, oids.nameConstraints],
  ...[oids.crlDistributionPoints, oids.certificatePolicies, oids.extKeyUsage],
]

function isWronglyCritical({ id, isCritical }: Extension): boolean {
  return isCritical && !mayBeCritical.includes(id)
}

/** A CA with extended key usages issues for these alone. */
function issuesForBoth(usages: readonly string[]): boolean {
  return (
    usages.length === 0 ||
    usages.includes(oids.anyExtendedKeyUsage) ||
    [oids.serverAuth, oids.clientAuth].every((id) => usages.includes(id))
  )
}
