/** Reads a certificate and its key, and says in what they differ from what is asked. Pure. */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { canonicalAddress } from '../address.ts'
import type { Reason } from '../reason.ts'
import { bitsOf, type Der, inside, readDer } from './der.ts'
import { oids } from './oids.ts'
import { keyKindOf, type Profile, type Subject, subjectOrder } from './x509.ts'

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const certSign = 0x04
const leafUsages = 0xa0
/** 2.5.29.15 and 2.5.29.14. */
const keyUsageOid = '551d0f'
const subjectKeyIdentifierOid = '551d0e'

export interface Certificate {
  readonly x509: X509Certificate
  /** DER of the subject, as it stands there. */
  readonly subject: Buffer
  /** `CN=kubernetes`, … : attributes of a known OID by name, others by OID. */
  readonly attributes: readonly string[]
  /** Of the issuer. */
  readonly issuerAttributes: readonly string[]
  readonly sans: readonly string[]
  readonly isCa: boolean
  /** The first eight bits. */
  readonly keyUsage: number
  readonly extKeyUsages: readonly string[]
  readonly subjectKeyId: Buffer | undefined
  readonly publicKey: KeyObject
  readonly notBefore: Date
  readonly notAfter: Date
}

/** The first certificate of the PEM; undefined where there is none that can be read. */
export function readCertificate(pem: Uint8Array | string): Certificate | undefined {
  try {
    const x509 = new X509Certificate(pem)
    const [tbs] = inside(readDer(x509.raw)[0])
    const [, , , , , subject, , ...optional] = inside(tbs)
    if (!subject || Number.isNaN(x509.validFromDate.getTime()) || Number.isNaN(x509.validToDate.getTime()))
      return undefined
    const extensions = readExtensions(optional.find(({ tag }) => tag === 0xa3))
    const usage = extensions.get(keyUsageOid)
    return {
      x509,
      subject: subject.bytes,
      attributes: attributesIn(x509.subject),
      issuerAttributes: attributesIn(x509.issuer),
      sans: (x509.subjectAltName?.split(', ') ?? []).map((san) =>
        canonicalAddress(san.replace(/^(DNS|IP Address):/, '')),
      ),
      isCa: x509.ca,
      keyUsage: usage ? (bitsOf(usage)[0] ?? 0) : 0,
      extKeyUsages: x509.keyUsage ?? [],
      subjectKeyId: extensions.get(subjectKeyIdentifierOid)?.content,
      publicKey: x509.publicKey,
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
    }
  } catch {
    // Whatever openssl or the DER reader stumbled on: to the caller it is a file that holds no certificate.
    return undefined
  }
}

/** OpenSSL escapes as RFC 2253 does; control characters, as hexadecimal, are not undone: none is ever asked for. */
function attributesIn(name: string | undefined): string[] {
  return name === undefined ? [] : name.split('\n').map((line) => line.replace(/\\([^0-9A-F])/g, '$1'))
}

/** The private key of the PEM; undefined where there is none that can be read without a passphrase. */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  try {
    return createPrivateKey(Buffer.from(pem))
  } catch {
    return undefined
  }
}

export function isKeyOf(certificate: Certificate, key: KeyObject): boolean {
  return certificate.publicKey.equals(createPublicKey(key))
}

/** Names the issuer, by its subject and key identifier, and is signed by it. */
export function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  return certificate.x509.checkIssued(issuer.x509) && certificate.x509.verify(issuer.publicKey)
}

/** In what the certificate is not what the profile asks for; times and issuer aside. */
export function compareWithProfile(certificate: Certificate, profile: Profile): Reason[] {
  const reasons: Reason[] = []
  const subject = difference(certificate.attributes, subjectAttributes(profile.subject))
  if (subject) reasons.push({ kind: 'subject-changed', ...subject })
  const sans = difference(certificate.sans, [...new Set(profile.sans.map(canonicalAddress))])
  if (sans) reasons.push({ kind: 'san-changed', ...sans })
  if (!hasUsages(certificate, profile)) reasons.push({ kind: 'usages-changed' })
  return [...reasons, ...compareKeyKind(certificate.publicKey, profile)]
}

export function compareKeyKind(key: KeyObject, { key: asked }: Profile): Reason[] {
  const was = keyKindOf(key)
  return was === asked ? [] : [{ kind: 'key-kind-changed', was, asked }]
}

/** A CA must be able to sign; a leaf has digitalSignature and, with RSA, keyEncipherment, and both sides of TLS; no more. */
function hasUsages({ isCa, keyUsage, extKeyUsages, publicKey }: Certificate, asked: Profile): boolean {
  if (isCa !== asked.isCa) return false
  if (isCa) return (keyUsage & certSign) !== 0
  const needed = publicKey.asymmetricKeyType === 'rsa' ? leafUsages : digitalSignature
  const isExact = !difference(extKeyUsages, [oids.serverAuth, oids.clientAuth])
  return isExact && (keyUsage & needed) === needed && (keyUsage & ~leafUsages) === 0
}

function subjectAttributes(subject: Subject): string[] {
  return subjectOrder.flatMap((name) => (subject[name] === undefined ? [] : [`${name}=${subject[name]}`]))
}

function difference(
  has: readonly string[],
  asked: readonly string[],
): { added: string[]; removed: string[] } | undefined {
  const added = asked.filter((item) => !has.includes(item))
  const removed = has.filter((item) => !asked.includes(item))
  return added.length + removed.length > 0 ? { added, removed } : undefined
}

/** What node:crypto does not tell, by the OID in hex. */
function readExtensions(tagged: Der | undefined): Map<string, Der> {
  const extensions = tagged ? inside(inside(tagged)[0]).map(inside) : []
  return new Map(
    extensions.flatMap(([oid, ...rest]): [string, Der][] => {
      const [value] = inside(rest.at(-1))
      return oid && value ? [[oid.content.toString('hex'), value]] : []
    }),
  )
}
