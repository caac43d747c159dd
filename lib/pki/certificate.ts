/** Reads a certificate, and compares it with the wanted profile. Pure. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import { addressBytes, canonicalAddress, formatAddress } from '../address.ts'
import type { Reason } from '../reason.ts'
import { type CertSpec, enciphersKeys, keyKindOf, type Subject, subjectOrder, usagesOf } from './cert-spec.ts'
import { bitsOf, type Der, expect, hex, oids } from './der.ts'
import { type Extension, extensionOf, listedIn, readFields } from './fields.ts'
import { blocksIn } from './pem.ts'
import { findRefusals } from './strictness.ts'

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const leafUsages = 0xa0
// An older version gave both to every leaf, as cfssl's profile of the guide does.
const bothUsages = usagesOf({})

export interface Certificate {
  readonly der: Buffer
  readonly x509: X509Certificate
  /** Of its signature, with its parameters. */
  readonly algorithm: Der
  /** The SubjectPublicKeyInfo. */
  readonly keyInfo: Der
  readonly extensions: readonly Extension[]
  /** Why Go, and so every Kubernetes component, would refuse it, whatever the profile. */
  readonly refusals: readonly Reason[]
  /** DER of the subject, as it stands there. */
  readonly subject: Buffer
  /** DER of the issuer's subject, as it stands here. */
  readonly issuer: Buffer
  /** `CN=kubernetes`, … */
  readonly attributes: readonly string[]
  /** DNS names and IP addresses; what is neither, or a name that is an address, says its type: `DNS:10.0.0.1`. */
  readonly sans: readonly string[]
  /** Whether it may sign certificates, also by its key usage. */
  readonly isCa: boolean
  /** The first eight bits; undefined where it names none. */
  readonly keyUsage: number | undefined
  /** As in `oids` of der.ts. */
  readonly extKeyUsages: readonly string[]
  readonly subjectKeyId: Buffer | undefined
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

/** As OpenSSL reads it; undefined where it can't, or where it is more than one certificate. */
export function readDerCertificate(der: Buffer): Certificate | undefined {
  try {
    const x509 = new X509Certificate(der)
    const fields = readFields(der)
    // OpenSSL reads times that there are not, such as the 99th of a month: any date in validToDate, and "Bad time value" here.
    if ([x509.validFrom, x509.validTo].some((text) => Number.isNaN(Date.parse(text)))) return undefined
    const usage = extensionOf(fields, oids.keyUsage)
    return {
      der,
      x509,
      ...fields,
      refusals: findRefusals(x509, fields).map((what) => ({ kind: 'not-accepted', what })),
      attributes: attributesIn(x509.subject),
      sans: listedIn(fields, oids.subjectAltName).map(formatSan),
      isCa: x509.ca,
      keyUsage: usage && (bitsOf(usage)[0] ?? 0),
      extKeyUsages: listedIn(fields, oids.extKeyUsage).map((each) => hex(expect(each, 0x06))),
      subjectKeyId: extensionOf(fields, oids.subjectKeyIdentifier)?.content,
      publicKey: x509.publicKey,
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
    }
  } catch {
    // Any parse error means that the file holds no valid certificate.
    return undefined
  }
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
export function isIssuedBy({ issuer, x509 }: Certificate, by: Certificate): boolean {
  return issuer.equals(by.subject) && x509.checkIssued(by.x509) && x509.verify(by.publicKey)
}

/** Until when it is accepted: what issued it may expire first. */
export function endOf(certificate: Certificate, issuers: readonly Certificate[]): Date {
  const { notAfter } = certificate
  const earlier = issuers.filter((by) => by.notAfter < notAfter && isIssuedBy(certificate, by))
  return new Date(Math.min(Number(notAfter), ...earlier.map((by) => Number(by.notAfter))))
}

/** How the certificate differs from the profile, apart from validity and issuer. */
export function compareWithProfile(certificate: Certificate, profile: CertSpec): Reason[] {
  const isTolerated = profile.tolerated?.some((each) => compareSubject(certificate.attributes, each).length === 0)
  const reasons = isTolerated ? [] : compareSubject(certificate.attributes, profile.subject)
  const sans = difference(certificate.sans, [...new Set(profile.sans.map(canonicalAddress))])
  if (sans) reasons.push({ kind: 'san-changed', ...sans })
  if (!hasUsages(certificate, profile)) reasons.push({ kind: 'usages-changed' })
  return [...reasons, ...compareKeyKind(certificate.publicKey, profile)]
}

function compareSubject(attributes: readonly string[], wanted: Subject): Reason[] {
  const values = subjectOrder.flatMap((name) => [wanted[name] ?? []].flat().map((value) => `${name}=${value}`))
  const changed = difference(attributes, values)
  return changed ? [{ kind: 'subject-changed', ...changed }] : []
}

export function compareKeyKind(key: KeyObject, { key: wanted }: CertSpec): Reason[] {
  const was = keyKindOf(key)
  return was === wanted ? [] : [{ kind: 'key-kind-changed', was, wanted }]
}

/** A leaf has digitalSignature and, as a server with RSA, keyEncipherment; and its side of TLS, or both sides. */
function hasUsages({ isCa, keyUsage, extKeyUsages, publicKey }: Certificate, wanted: CertSpec): boolean {
  if (isCa !== wanted.isCa) return false
  if (isCa) return true
  const needed = enciphersKeys(wanted) && publicKey.asymmetricKeyType === 'rsa' ? leafUsages : digitalSignature
  const usages = keyUsage ?? 0
  const hasSides = usagesOf(wanted).every((each) => extKeyUsages.includes(each))
  const hasMore = !extKeyUsages.every((each) => bothUsages.includes(each))
  return hasSides && !hasMore && (usages & needed) === needed && (usages & ~leafUsages) === 0
}

/** Undefined if both have the same. */
function difference(has: readonly string[], wanted: readonly string[]) {
  const added = wanted.filter((item) => !has.includes(item))
  const removed = has.filter((item) => !wanted.includes(item))
  return added.length + removed.length > 0 ? { added, removed } : undefined
}
