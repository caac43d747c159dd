/** Reads a certificate and its key, and says in what they differ from what is asked. Pure: the clock is an argument. */
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { canonicalAddress, formatAddress } from './address.ts'
import { bitsOf, type Der, formatOid, inside, readDer } from './der.ts'
import { oids } from './oids.ts'
import type { Reason } from './reason.ts'
import { keyKindOf, type Profile, type Subject, subjectOrder } from './x509.ts'

// Bits of the first byte of the key usage: RFC 5280, 4.2.1.3.
const digitalSignature = 0x80
const certSign = 0x04
const leafUsages = 0xa0

export interface Certificate {
  readonly x509: X509Certificate
  /** DER of the subject, as it stands there. */
  readonly subject: Buffer
  /** `CN=kubernetes`, … : attributes of the table above by name, others by OID. */
  readonly attributes: readonly string[]
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
    if (!subject) return undefined
    const extensions = readExtensions(optional.find(({ tag }) => tag === 0xa3))
    const basic = extensions.get(oids.basicConstraints)
    return {
      x509,
      subject: subject.bytes,
      attributes: readAttributes(subject),
      sans: readGeneralNames(extensions.get(oids.subjectAltName)),
      isCa: basic !== undefined && inside(basic).some(({ tag, content }) => tag === 0x01 && content[0] !== 0),
      keyUsage: readKeyUsage(extensions.get(oids.keyUsage)),
      extKeyUsages: (extensions.has(oids.extKeyUsage) ? inside(extensions.get(oids.extKeyUsage)) : []).map(formatOid),
      subjectKeyId: extensions.get(oids.subjectKeyIdentifier)?.content,
      publicKey: x509.publicKey,
      notBefore: x509.validFromDate,
      notAfter: x509.validToDate,
    }
  } catch {
    // Whatever openssl or the DER reader stumbled on: to the caller it is a file that holds no certificate.
    return undefined
  }
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
  const kind = keyKindOf(certificate.publicKey)
  if (kind !== profile.key) reasons.push({ kind: 'key-kind-changed', was: kind, asked: profile.key })
  return reasons
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

function readExtensions(tagged: Der | undefined): Map<string, Der> {
  const extensions = new Map<string, Der>()
  if (!tagged) return extensions
  for (const extension of inside(inside(tagged)[0])) {
    const parts = inside(extension)
    const [value] = inside(parts.at(-1))
    if (value) extensions.set(formatOid(parts[0]), value)
  }
  return extensions
}

const shortNames = new Map<string, string>(subjectOrder.map((name) => [oids[name], name]))

function readAttributes(name: Der): string[] {
  return inside(name)
    .flatMap(inside)
    .map((attribute) => {
      const [type, value] = inside(attribute)
      const id = formatOid(type)
      return `${shortNames.get(id) ?? id}=${value?.content.toString('utf8')}`
    })
}

/** Other kinds of name (e-mail, URI) are shown by their tag: none of them is ever asked for. */
function readGeneralNames(names: Der | undefined): string[] {
  return (names ? inside(names) : []).map(({ tag, content }) => {
    if (tag === 0x82) return content.toString('latin1')
    if (tag === 0x87 && (content.length === 4 || content.length === 16)) return formatAddress(content)
    return `(${tag.toString(16)}) ${content.toString('latin1')}`
  })
}

/** The first eight bits, digitalSignature highest. */
function readKeyUsage(usage: Der | undefined): number {
  return usage ? (bitsOf(usage)[0] ?? 0) : 0
}
