/** Reads a certificate, and compares it with the wanted profile. Pure. */
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { addressBytes, canonicalAddress, formatAddress } from '../address.ts'
import type { Reason } from '../reason.ts'
import { bitsOf, type Der, expect, hex, inside, oids } from './der.ts'
import { plainAttributes, readTime } from './encodings.ts'
import { extensionOf, type Fields, isCaIn, listedIn, readFields, verifySignature } from './fields.ts'
import { blocksIn } from './pem.ts'
import { keyKindOf, type Profile, type Subject, subjectOrder, usagesOf } from './profile.ts'
import { findRefusals, isKnown } from './strictness.ts'

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const leafUsages = 0xa0

export interface Certificate {
  readonly der: Buffer
  /** As OpenSSL reads it, when it is first used: 0.03 ms each. */
  readonly x509: X509Certificate
  readonly fields: Fields
  /** Why Go, and so every Kubernetes component, would refuse it, whatever the profile. */
  readonly refusals: readonly Reason[]
  /** DER of the subject, as it stands there. */
  readonly subject: Buffer
  /** DER of the issuer's subject, as it stands here. */
  readonly issuer: Buffer
  /** `CN=kubernetes`, … : attributes of a known OID by name, others by OID. */
  readonly attributes: readonly string[]
  /** DNS names and IP addresses; what is neither, or a name that is an address, says its type: `DNS:10.0.0.1`. */
  readonly sans: readonly string[]
  /** Whether it may sign certificates, also by its key usage: no if OpenSSL finds an extension malformed. */
  readonly isCa: boolean
  /** The first eight bits; undefined where it names none. */
  readonly keyUsage: number | undefined
  /** As in `oids` of der.ts. */
  readonly extKeyUsages: readonly string[]
  readonly subjectKeyId: Buffer | undefined
  readonly authorityKeyId: Buffer | undefined
  readonly publicKey: KeyObject
  readonly notBefore: Date
  readonly notAfter: Date
}

/** The first certificate of the PEM; undefined where there is none that can be read. */
export function readCertificate(pem: Uint8Array | string): Certificate | undefined {
  const [first] = blocksIn(pem, 'CERTIFICATE')
  return first && readDerCertificate(first)
}

/** All certificates of the PEM; none where one of them can't be read. */
export function readCertificates(pem: Uint8Array | string): Certificate[] {
  const all = blocksIn(pem, 'CERTIFICATE').map(readDerCertificate)
  return all.every((each) => each !== undefined) ? all : []
}

/** Undefined where it can't be read. */
export function readDerCertificate(der: Buffer): Certificate | undefined {
  try {
    const fields = readFields(der)
    const refusals = findRefusals(fields)
    let parsed: X509Certificate | undefined
    const parse = () => {
      parsed ??= new X509Certificate(der)
      return parsed
    }
    if (refusals.length > 0 || !isPlainLeaf(fields)) parse()
    const [notBefore, notAfter, ...more] = inside(fields.validity).map(readTime)
    if (!notBefore || !notAfter || more.length > 0) return undefined
    const usage = extensionOf(fields, oids.keyUsage)
    const keyUsage = usage && (bitsOf(usage)[0] ?? 0)
    return {
      der,
      get x509() {
        return parse()
      },
      fields,
      refusals: refusals.map((what) => ({ kind: 'not-accepted', what })),
      subject: fields.subject.bytes,
      issuer: fields.issuer.bytes,
      attributes: plainAttributes(fields.subject) ?? attributesIn(parse().subject),
      sans: listedIn(fields, oids.subjectAltName).map(formatSan),
      isCa: isCaIn(fields) && parse().ca,
      keyUsage,
      extKeyUsages: listedIn(fields, oids.extKeyUsage).map((usage) => hex(expect(usage, 0x06))),
      subjectKeyId: extensionOf(fields, oids.subjectKeyIdentifier)?.content,
      authorityKeyId: listedIn(fields, oids.authorityKeyIdentifier).find(({ tag }) => tag === 0x80)?.content,
      publicKey: createPublicKey({ key: fields.publicKey.bytes, format: 'der', type: 'spki' }),
      notBefore,
      notAfter,
    }
  } catch {
    // Any parse error means that the file holds no valid certificate.
    return undefined
  }
}

/** OpenSSL reads each of these, if nothing in it is refused: test/lib/pki/reading.test.ts. */
function isPlainLeaf(fields: Fields): boolean {
  return !isCaIn(fields) && fields.extensions.every(isKnown) && plainAttributes(fields.issuer) !== undefined
}

/** GeneralName of RFC 5280, 4.2.1.6, by the number of its tag. */
const sanTypes = ['other name', 'email', 'DNS', 'X.400', 'directory name', 'EDI', 'URI', 'IP', 'registered id']

function formatSan({ tag, content }: Der): string {
  const text = content.toString('latin1')
  if (tag === 0x82 && !addressBytes(text)) return text
  if (tag === 0x87 && (content.length === 4 || content.length === 16)) return formatAddress(content)
  return `${sanTypes[tag & 0x1f] ?? tag}:${tag === 0x82 || tag === 0x81 || tag === 0x86 ? text : content.toString('hex')}`
}

/**
 * The attributes in x509.subject or x509.issuer. OpenSSL escapes as in RFC 2253; escaped control characters stay escaped:
 * none is ever wanted.
 */
export function attributesIn(name: string | undefined): string[] {
  return name === undefined ? [] : name.split('\n').map((line) => line.replace(/\\([^0-9A-F])/g, '$1'))
}

/** The issuer name equals the subject byte for byte (as Go requires), the key identifiers match, and the signature verifies. */
export function isIssuedBy(certificate: Certificate, by: Certificate): boolean {
  return namesAsIssuer(certificate, by) && certificate.x509.verify(by.publicKey)
}

/** The same, with the signature verified on libuv's threads: for the many leaves of a cluster. */
export async function verifyIssuedBy(certificate: Certificate, by: Certificate): Promise<boolean> {
  return namesAsIssuer(certificate, by) && (await verifySignature(certificate, by.publicKey))
}

function namesAsIssuer(certificate: Certificate, by: Certificate): boolean {
  return certificate.issuer.equals(by.subject) && (hasKeyIdOf(certificate, by) || certificate.x509.checkIssued(by.x509))
}

/** As OpenSSL's X509_check_issued requires if only a key identifier names the issuer: it is that of a certificate that may sign. */
function hasKeyIdOf({ fields, refusals, authorityKeyId }: Certificate, by: Certificate): boolean {
  const named = extensionOf(fields, oids.authorityKeyIdentifier)
  const isAlone = refusals.length + by.refusals.length === 0 && named !== undefined && inside(named).length === 1
  return isAlone && by.isCa && by.subjectKeyId !== undefined && authorityKeyId?.equals(by.subjectKeyId) === true
}

/** How the certificate differs from the profile, apart from validity and issuer. */
export function compareWithProfile(certificate: Certificate, profile: Profile): Reason[] {
  const isTolerated = profile.tolerated?.some((each) => compareSubject(certificate.attributes, each).length === 0)
  const reasons = isTolerated ? [] : compareSubject(certificate.attributes, profile.subject)
  const sans = difference(certificate.sans, [...new Set(profile.sans.map(canonicalAddress))])
  if (sans) reasons.push({ kind: 'san-changed', ...sans })
  if (!hasUsages(certificate, profile)) reasons.push({ kind: 'usages-changed' })
  return [...reasons, ...compareKeyKind(certificate.publicKey, profile)]
}

function compareSubject(attributes: readonly string[], wanted: Subject): Reason[] {
  const changed = difference(attributes, subjectAttributes(wanted))
  return changed ? [{ kind: 'subject-changed', ...changed }] : []
}

export function compareKeyKind(key: KeyObject, { key: wanted }: Profile): Reason[] {
  const was = keyKindOf(key)
  return was === wanted ? [] : [{ kind: 'key-kind-changed', was, wanted }]
}

/** A leaf has digitalSignature and, with RSA, keyEncipherment, and both sides of TLS; no more. */
function hasUsages({ isCa, keyUsage, extKeyUsages, publicKey }: Certificate, wanted: Profile): boolean {
  if (isCa !== wanted.isCa) return false
  if (isCa) return true
  const needed = publicKey.asymmetricKeyType === 'rsa' ? leafUsages : digitalSignature
  const usages = keyUsage ?? 0
  const isExact = !difference(extKeyUsages, usagesOf(wanted))
  return isExact && (usages & needed) === needed && (usages & ~leafUsages) === 0
}

function subjectAttributes(subject: Subject): string[] {
  return subjectOrder.flatMap((name) => [subject[name] ?? []].flat().map((value) => `${name}=${value}`))
}

function difference(
  has: readonly string[],
  wanted: readonly string[],
): { added: string[]; removed: string[] } | undefined {
  const added = wanted.filter((item) => !has.includes(item))
  const removed = has.filter((item) => !wanted.includes(item))
  return added.length + removed.length > 0 ? { added, removed } : undefined
}
