/** A certificate: what is wanted of it, and what is there, as OpenSSL and as Go's crypto/x509 read it. Pure. */
import { type KeyObject, X509Certificate } from 'node:crypto'
import { addressBytes, canonicalAddress, formatAddress } from '../address.ts'
import type { KeyKind } from '../cluster/cluster.ts'
import type { Diff } from '../results.ts'
import { formatNames, joinClauses } from '../wording.ts'
import { bitsOf, blocksIn, type Der, expect, hex, inside, oids, readDer } from './encoding.ts'

/** A distinguished name; the certificate has the attributes in this order. */
export interface Subject {
  readonly C?: string
  readonly ST?: string
  readonly L?: string
  /** The groups of a client, of which there may be several. */
  readonly O?: string | readonly string[]
  readonly OU?: string
  readonly CN: string
}

export const subjectOrder = ['C', 'ST', 'L', 'O', 'OU', 'CN'] as const

/** The wanted content of a certificate, apart from its key and its times. */
export interface CertSpec {
  readonly subject: Subject
  /** Others that are left where they are. */
  readonly tolerated?: readonly Subject[] | undefined
  /** Of TLS, for a leaf; by default both. */
  readonly usages?: readonly ('server' | 'client')[] | undefined
  /** DNS names and IP addresses; empty means no such extension. */
  readonly sans: readonly string[]
  readonly isCa: boolean
  readonly key: KeyKind
}

const bothSides = ['server', 'client'] as const

/** The extended key usages of a leaf. */
export function usagesOf({ usages = bothSides }: Pick<CertSpec, 'usages'>): string[] {
  return usages.map((usage) => oids[`${usage}Auth`])
}

/** True for a server's RSA key; a client only signs: RFC 5280, 4.2.1.12. */
export function enciphersKeys({ usages = bothSides, key }: CertSpec): boolean {
  return key.startsWith('rsa') && usages.includes('server')
}

export const ellipticCurves = { 'ecdsa-p256': 'prime256v1', 'ecdsa-p384': 'secp384r1' } as const

/** The kind of a private or public key; a text such as `rsa-1024` or `ed25519` for one that is not offered. */
export function keyKindOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'rsa') return `rsa-${modulusLength}`
  const [kind] = Object.entries(ellipticCurves).find(([, curve]) => curve === namedCurve) ?? []
  return kind ?? String(namedCurve ?? key.asymmetricKeyType)
}

interface Extension {
  /** Its OID, as in `oids`. */
  readonly id: string
  /** An OCTET STRING, whose content is DER. */
  readonly value: Der
}

/**
 * Throws a RangeError unless the bytes are exactly one certificate. Unique identifiers, which RFC 5280 forbids, are not
 * read.
 */
function readFields(bytes: Buffer) {
  const [tbs] = inside(onlyOne(readDer(bytes)), 0x30)
  const all = inside(tbs, 0x30)
  if (all[0]?.tag === 0xa0) all.shift()
  const [, , issuer, , subject, publicKey, extensions] = all
  return {
    /** DER of the issuer's subject, as it stands here. */
    issuer: expect(issuer, 0x30).bytes,
    /** DER of the subject, as it stands there. */
    subject: expect(subject, 0x30).bytes,
    /** The SubjectPublicKeyInfo. */
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
  return { id: hex(expect(oid, 0x06)), value: expect(rest.at(-1), 0x04) }
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
function listedIn(of: Extended, id: string): Der[] {
  const list = extensionOf(of, id)
  return list ? inside(list, 0x30) : []
}

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const leafUsages = 0xa0
// An older version gave both to every leaf, as cfssl's profile of the guide does.
const bothUsages = usagesOf({})

export type Certificate = Readonly<NonNullable<ReturnType<typeof readDerCertificate>>>

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
export function readDerCertificate(der: Buffer) {
  try {
    const x509 = new X509Certificate(der)
    const fields = readFields(der)
    // OpenSSL reads times that there are not, such as the 99th of a month: any date in validToDate, and "Bad time
    // value" here.
    if ([x509.validFrom, x509.validTo].some((text) => Number.isNaN(Date.parse(text)))) return undefined
    const usage = extensionOf(fields, oids.keyUsage)
    const sans: readonly string[] = listedIn(fields, oids.subjectAltName).map(formatSan)
    const extKeyUsages: readonly string[] = listedIn(fields, oids.extKeyUsage).map((each) => hex(expect(each, 0x06)))
    return {
      der,
      x509,
      ...fields,
      /** `CN=kubernetes`, … */
      attributes: attributesIn(x509.subject),
      /** DNS names and IP addresses; what is neither, or a name that is an address, says its type: `DNS:10.0.0.1`. */
      sans,
      /** Whether it may sign certificates, also by its key usage. */
      isCa: x509.ca,
      /** The first eight bits; undefined where it names none. */
      keyUsage: usage && (bitsOf(usage)[0] ?? 0),
      /** As in `oids`. */
      extKeyUsages,
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
 * The attributes in x509.subject or x509.issuer. OpenSSL escapes as in RFC 2253; escaped control characters stay
 * escaped: none is ever wanted.
 */
export function attributesIn(name: string | undefined): string[] {
  return name === undefined ? [] : name.split('\n').map((line) => line.replace(/\\([^0-9A-F])/g, '$1'))
}

/**
 * The issuer name equals the subject byte for byte (as Go requires), the key identifiers match, and the signature
 * verifies.
 */
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
export function compareWithProfile(certificate: Certificate, profile: CertSpec): Diff[] {
  const usages: Diff[] = hasUsages(certificate, profile) ? [] : [{ what: 'key usages differ', verb: 'change' }]
  return [...compareIdentity(certificate, profile), ...usages]
}

/** How its subject, its names and the kind of its key differ. */
export function compareIdentity(certificate: Certificate, profile: CertSpec): Diff[] {
  const isTolerated = profile.tolerated?.some((each) => compareSubject(certificate.attributes, each).length === 0)
  const subject = isTolerated ? [] : compareSubject(certificate.attributes, profile.subject)
  const { added, removed } = compareNames(certificate, profile)
  const names = formatDifference(['adds SAN ', added], ['drops SAN ', removed])
  return [...subject, ...names, ...compareKeyKind(certificate.publicKey, profile)]
}

/** Names and addresses that it lacks, and that it has beyond the profile. */
export function compareNames({ sans }: Certificate, profile: CertSpec) {
  return difference(sans, [...new Set(profile.sans.map(canonicalAddress))])
}

/** Of its subject; the last if it has several, as Go has it. Undefined if it has none. */
export function commonNameOf({ attributes }: Pick<Certificate, 'attributes'>): string | undefined {
  return attributes.findLast((each) => each.startsWith('CN='))?.slice('CN='.length)
}

function compareSubject(attributes: readonly string[], wanted: Subject): Diff[] {
  const values = subjectOrder.flatMap((name) => [wanted[name] ?? []].flat().map((value) => `${name}=${value}`))
  const { added, removed } = difference(attributes, values)
  return formatDifference(['adds ', added, ' to the subject'], ['drops ', removed, ' from the subject'])
}

/** None without names. */
function formatDifference(
  ...parts: readonly (readonly [before: string, names: readonly string[], after?: string])[]
): Diff[] {
  const clauses = parts.map(([before, names, after = '']) => names.length > 0 && before + formatNames(names) + after)
  const what = joinClauses(...clauses)
  return what === '' ? [] : [{ what, verb: 'change' }]
}

export function compareKeyKind(key: KeyObject, { key: wanted }: CertSpec): Diff[] {
  const was = keyKindOf(key)
  return was === wanted ? [] : [{ what: `key is ${was}, not ${wanted}`, verb: 'replace' }]
}

/** A leaf has digitalSignature and, as a server with RSA, keyEncipherment; and its side of TLS, or both sides. */
export function hasUsages({ isCa, keyUsage, extKeyUsages, publicKey }: Certificate, wanted: CertSpec): boolean {
  if (isCa !== wanted.isCa) return false
  if (isCa) return true
  const needed = enciphersKeys(wanted) && publicKey.asymmetricKeyType === 'rsa' ? leafUsages : digitalSignature
  const usages = keyUsage ?? 0
  const hasSides = usagesOf(wanted).every((each) => extKeyUsages.includes(each))
  const hasMore = !extKeyUsages.every((each) => bothUsages.includes(each))
  return hasSides && !hasMore && (usages & needed) === needed && (usages & ~leafUsages) === 0
}

function difference(has: readonly string[], wanted: readonly string[]) {
  const added = wanted.filter((item) => !has.includes(item))
  const removed = has.filter((item) => !wanted.includes(item))
  return { added, removed }
}
