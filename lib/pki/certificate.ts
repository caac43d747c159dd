/** A certificate: what is desired of it, and what is there, as OpenSSL and as Go's crypto/x509 read it. Pure. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import { addressBytes, canonicalAddress, formatAddress } from '../address.ts'
import type { KeyKind } from '../cluster/cluster.ts'
import type { Diff } from '../results.ts'
import { formatNames, joinClauses } from '../wording.ts'
import { blocksIn, type Der, inside, oids, readDer } from './encoding.ts'

export interface Subject {
  readonly C?: string
  readonly ST?: string
  readonly L?: string
  readonly O?: string | readonly string[]
  readonly OU?: string
  readonly CN: string
}

export const subjectOrder = ['C', 'ST', 'L', 'O', 'OU', 'CN'] as const

export interface CertSpec {
  readonly subject: Subject
  /** Others that are left where they are. */
  readonly tolerated?: readonly Subject[] | undefined
  /** Of TLS, for a leaf; by default both. */
  readonly usages?: readonly ('server' | 'client')[] | undefined
  readonly sans: readonly string[]
  readonly isCa: boolean
  readonly key: KeyKind
}

const bothSides = ['server', 'client'] as const

export function usagesOf({ usages = bothSides }: Pick<CertSpec, 'usages'>): string[] {
  return usages.map((usage) => oids[`${usage}Auth`])
}

/** True for a server's RSA key; a client only signs: RFC 5280, 4.2.1.12. */
export function enciphersKeys({ usages = bothSides, key }: CertSpec): boolean {
  return key.startsWith('rsa') && usages.includes('server')
}

export const ellipticCurves = { 'ecdsa-p256': 'prime256v1', 'ecdsa-p384': 'secp384r1' } as const

export function keyKindOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa') return `rsa-${modulusLength}`
  const [kind] = Object.entries(ellipticCurves).find(([, curve]) => curve === namedCurve) ?? []
  return kind ?? String(namedCurve ?? key.asymmetricKeyType)
}

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const leafUsages = 0xa0
// An older version gave both to every leaf, as cfssl's profile of the guide does.
const bothUsages = usagesOf({})

export type Certificate = Readonly<NonNullable<ReturnType<typeof readDerCertificate>>>

export function readCertificate(pem: Uint8Array | string): Certificate | undefined {
  const [first] = blocksIn(pem, 'CERTIFICATE')
  return first && readDerCertificate(first)
}

/** All certificates of the PEM; none where one of them can't be read. */
export function readCertificates(pem: Uint8Array | string): Certificate[] {
  const all = blocksIn(pem, 'CERTIFICATE').map(readDerCertificate)
  return all.every((each) => each !== undefined) ? all : []
}

/** As OpenSSL reads it; undefined where it can't. */
export function readDerCertificate(der: Buffer) {
  try {
    const x509 = new X509Certificate(der)
    const { issuer, subject, extension } = readFields(der)
    // OpenSSL reads times that there are not, such as the 99th of a month: any date in validToDate, and "Bad time
    // value" here.
    if (!issuer || !subject || [x509.validFrom, x509.validTo].some((text) => Number.isNaN(Date.parse(text))))
      return undefined
    const sans: readonly string[] = inside(extension(oids.subjectAltName)).map(formatSan)
    const extKeyUsages: readonly string[] = inside(extension(oids.extKeyUsage)).map(hex)
    return {
      ...{ der, x509, issuer, subject },
      attributes: attributesIn(x509.subject),
      /** DNS names and IP addresses; what is neither, or a name that is an address, says its type: `DNS:10.0.0.1`. */
      sans,
      /** Whether it may sign certificates, also by its key usage. */
      isCa: x509.ca,
      /** By a path length of 0 there may be no other CA below it: RFC 5280, 4.2.1.9. */
      maySignCas: x509.ca && extension(oids.basicConstraints)?.content.toString('hex').endsWith('020100') === false,
      /** The first eight bits; undefined where it names none. */
      keyUsage: extension(oids.keyUsage)?.content[1],
      extKeyUsages,
      subjectKeyId: extension(oids.subjectKeyIdentifier)?.content,
      publicKey: x509.publicKey,
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
    }
  } catch {
    // Any parse error means that the file holds no valid certificate.
    return undefined
  }
}

/** What Node's X509Certificate does not show: DER of both names, and of the extensions by their OIDs. */
function readFields(der: Buffer) {
  const [tbs] = inside(readDer(der)[0])
  const all = inside(tbs)
  const extensions = inside(inside(all.find(({ tag }) => tag === 0xa3))[0])
  const [, , issuer, , subject] = all[0]?.tag === 0xa0 ? all.slice(1) : all
  const values = new Map(
    extensions.map((each) => {
      const [id, ...more] = inside(each)
      return [id && hex(id), more.at(-1)] as const
    }),
  )
  return { issuer: issuer?.bytes, subject: subject?.bytes, extension: (oid: string) => inside(values.get(oid))[0] }
}

const hex = ({ content }: Der) => content.toString('hex')

function formatSan({ tag, content }: Der): string {
  const text = content.toString('latin1')
  if (tag === 0x82) return addressBytes(text) ? `DNS:${text}` : text
  if (tag === 0x87 && [4, 16].includes(content.length)) return formatAddress(content)
  return `type ${tag & 0x1f}:${text}`
}

/** Of x509.subject or x509.issuer. OpenSSL escapes as in RFC 2253; none with a control character is desired. */
function attributesIn(name: string | undefined): string[] {
  return name === undefined ? [] : name.split('\n').map((line) => line.replace(/\\([^0-9A-F])/g, '$1'))
}

/** The issuer name equals the subject (byte for byte, as in Go), the key identifiers match, the signature verifies. */
export function isIssuedBy({ issuer, x509 }: Certificate, by: Certificate): boolean {
  return issuer.equals(by.subject) && x509.checkIssued(by.x509) && x509.verify(by.publicKey)
}

/** Until when it is accepted: what issued it may expire first. */
export function endOf(certificate: Certificate, issuers: readonly Certificate[]): Date {
  const { notAfter } = certificate
  const earlier = issuers.filter((by) => by.notAfter < notAfter && isIssuedBy(certificate, by))
  return new Date(Math.min(Number(notAfter), ...earlier.map((by) => Number(by.notAfter))))
}

export function compareWithProfile(certificate: Certificate, profile: CertSpec): Diff[] {
  const usages: Diff[] = hasUsages(certificate, profile) ? [] : [{ what: 'key usages differ', verb: 'change' }]
  return [...compareIdentity(certificate, profile), ...usages]
}

export function compareIdentity(certificate: Certificate, profile: CertSpec): Diff[] {
  const isTolerated = profile.tolerated?.some((each) => compareSubject(certificate.attributes, each).length === 0)
  const subject = isTolerated ? [] : compareSubject(certificate.attributes, profile.subject)
  const { added, removed } = compareNames(certificate, profile)
  const names = formatDifference(
    added.length > 0 && `adds SAN ${formatNames(added)}`,
    removed.length > 0 && `drops SAN ${formatNames(removed)}`,
  )
  return [...subject, ...names, ...compareKeyKind(certificate.publicKey, profile)]
}

export function compareNames({ sans }: Certificate, profile: CertSpec) {
  return difference(sans, [...new Set(profile.sans.map(canonicalAddress))])
}

/** Of its subject; the last if it has several, as Go has it. Undefined if it has none. */
export function commonNameOf({ attributes }: Pick<Certificate, 'attributes'>): string | undefined {
  return attributes.findLast((each) => each.startsWith('CN='))?.slice('CN='.length)
}

function compareSubject(attributes: readonly string[], desired: Subject): Diff[] {
  const values = subjectOrder.flatMap((name) => [desired[name] ?? []].flat().map((value) => `${name}=${value}`))
  const { added, removed } = difference(attributes, values)
  return formatDifference(
    added.length > 0 && `adds ${formatNames(added)} to the subject`,
    removed.length > 0 && `drops ${formatNames(removed)} from the subject`,
  )
}

function formatDifference(...clauses: readonly (string | false)[]): Diff[] {
  const what = joinClauses(...clauses)
  return what === '' ? [] : [{ what, verb: 'change' }]
}

export function compareKeyKind(key: KeyObject, { key: desired }: CertSpec): Diff[] {
  const was = keyKindOf(key)
  return was === desired ? [] : [{ what: `key is ${was}, not ${desired}`, verb: 'replace' }]
}

/** A leaf has digitalSignature and, as a server with RSA, keyEncipherment; and its side of TLS, or both sides. */
export function hasUsages({ isCa, keyUsage, extKeyUsages, publicKey }: Certificate, desired: CertSpec): boolean {
  if (isCa !== desired.isCa) return false
  if (isCa) return true
  const needed = enciphersKeys(desired) && publicKey.asymmetricKeyType === 'rsa' ? leafUsages : digitalSignature
  const usages = keyUsage ?? 0
  const hasSides = usagesOf(desired).every((each) => extKeyUsages.includes(each))
  const hasMore = !extKeyUsages.every((each) => bothUsages.includes(each))
  return hasSides && !hasMore && (usages & needed) === needed && (usages & ~leafUsages) === 0
}

function difference(has: readonly string[], desired: readonly string[]) {
  const added = desired.filter((item) => !has.includes(item))
  const removed = has.filter((item) => !desired.includes(item))
  return { added, removed }
}
