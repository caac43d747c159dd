/**
 * How far the rotation of a CA or of the key of service accounts has come, told by the files in auth/ alone, and what they
 * ask for. Every set of files has a meaning, or is none: then it is said why.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { AuthDir } from '../files/auth-dir.ts'
import { caName, certificateFile, crossName, keyFile, nextName } from '../files/names.ts'
import { once } from '../files/plain-file.ts'
import {
  attributesIn,
  type Certificate,
  compareSubject,
  isIssuedBy,
  readCertificate,
  readDerCertificate,
} from '../pki/certificate.ts'
import { isName } from '../pki/encodings.ts'
import { tryCertificate } from '../pki/pair.ts'
import { blocksIn } from '../pki/pem.ts'
import { isKeyOf, readPrivateKey } from '../pki/private-key.ts'
import type { Subject } from '../pki/profile.ts'
import type { IssuerName } from '../pki/x509.ts'

export type Read = (file: string) => Buffer | undefined

/** No stage: the files do not fit together. */
export interface Unclear {
  readonly stage: 'unclear'
  readonly why: string
  /** The file that is to be restored, or to be removed. */
  readonly file: string
}

export interface CaRotation {
  /**
   * `settled`: one CA. `both`: the next one signs, and the present one is trusted as well. `finishing`: the next one has
   * taken the place of the certificate, and not yet of all of it.
   */
  readonly stage: 'settled' | 'both' | 'finishing'
  /** By its name: what signs leaves. */
  readonly issuer: string
  /** What follows each leaf in its file: those who trust the earlier CA alone find their way by it. */
  readonly chain: Certificate | undefined
  /** By their names: whom kubeconfigs trust. */
  readonly trusted: readonly string[]
}

const caNext = nextName(caName)
const [presentFile, nextFile, nextKeyFile, crossFile] = [
  certificateFile(caName),
  certificateFile(caNext),
  keyFile(caNext),
  certificateFile(crossName),
]
/** In the order in which they are made. */
export const caRotationFiles = [nextKeyFile, nextFile, crossFile] as const

const certificateIn = once(readCertificate)
const keyIn = once(readPrivateKey)

/** One CA. */
const settledCa: CaRotation = { stage: 'settled', issuer: caName, chain: undefined, trusted: [caName] }

/** Now: a chain that has expired helps nobody. */
export function caRotation(read: Read, now: Date): CaRotation | Unclear {
  const [nextKeyBytes, nextBytes, crossBytes] = caRotationFiles.map(read)
  if (!nextKeyBytes && !nextBytes && !crossBytes) return settledCa
  const present = tryRead(read(presentFile), certificateIn)
  const nextKey = tryRead(nextKeyBytes, keyIn)
  const next = tryRead(nextBytes, certificateIn)
  const cross = tryRead(crossBytes, certificateIn)
  if (nextKeyBytes && !nextKey) return unclear(nextKeyFile, 'is not an unencrypted private key')
  if (nextBytes && !next) return unclear(nextFile, 'is not a valid certificate')
  if (crossBytes && !cross && !nextKey) return unclear(crossFile, 'is not a valid certificate')
  if (next && nextKey && !isKeyOf(next, nextKey)) return unclear(nextFile, `is not of the key in ${nextKeyFile}`)
  if (nextKey || next) {
    const key = nextKey ? createPublicKey(nextKey) : next?.publicKey
    if (present && key?.equals(present.publicKey))
      return { ...settledCa, stage: 'finishing', chain: leadingTo(present, cross, now) }
    if (!nextKey) return unclear(nextKeyFile, `is missing, and ${nextFile} is there`)
    if (next && present?.subject.equals(next.subject)) return unclear(nextFile, `has the subject of ${presentFile}`)
    return { stage: 'both', issuer: caNext, chain: next && leadingTo(next, cross, now), trusted: [caNext, caName] }
  }
  if (present && cross && !cross.publicKey.equals(present.publicKey))
    return unclear(crossFile, `is not of the key of ${presentFile}`)
  return { ...settledCa, chain: present && leadingTo(present, cross, now) }
}

/** What signs leaves, and what is trusted. Files that do not fit together are told by the target of the CA, which comes before all. */
export function readCaRotation(auth: AuthDir, now: Date): CaRotation {
  const rotation = caRotation((file) => auth.tryBytes(file), now)
  return rotation.stage === 'unclear' ? settledCa : rotation
}

/** Our CA; during a rotation the next one too. */
export function ownCas(auth: AuthDir): Certificate[] {
  return [caName, caNext].flatMap((name) => tryCertificate(auth, name) ?? [])
}

function unclear(file: string, why: string): Unclear {
  return { stage: 'unclear', file, why: `${file} ${why}` }
}

function tryRead<T>(bytes: Buffer | undefined, parse: (bytes: Buffer) => T | undefined): T | undefined {
  return bytes && parse(bytes)
}

function leadingTo(ca: Certificate, cross: Certificate | undefined, now: Date): Certificate | undefined {
  const leads = cross?.subject.equals(ca.subject) && cross.publicKey.equals(ca.publicKey) && cross.notAfter > now
  return leads ? cross : undefined
}

/** Whether the key is of the CA before ours: it signed ours, and we hold the proof. */
export function isEarlierCa(key: KeyObject, read: Read): boolean {
  const [present, cross] = [presentFile, crossFile].map((file) => tryRead(read(file), certificateIn))
  return (
    present !== undefined &&
    cross?.publicKey.equals(present.publicKey) === true &&
    !key.equals(present.publicKey) &&
    cross.x509.verify(key)
  )
}

/** Whether it is what it is for. */
export function isCross(cross: Certificate, next: Certificate, present: Certificate): boolean {
  return (
    cross.isCa &&
    cross.publicKey.equals(next.publicKey) &&
    cross.subject.equals(next.subject) &&
    isIssuedBy(cross, present)
  )
}

/** `Kubernetes 2` after `Kubernetes`: OpenSSL takes two CAs of one name for one. */
export function nextCaCommonName(present: string): string {
  const [, base = present, number = '1'] = /^(.*?)(?: (\d{1,6}))?$/.exec(present) ?? []
  return `${base} ${Number(number) + 1}`
}

/** The name that is asked for, or one that rotations have made of it. */
export function isCaCommonName(found: string, asked: string): boolean {
  return found === asked || (found.startsWith(`${asked} `) && /^ \d{1,6}$/.test(found.slice(asked.length)))
}

export interface TokenRotation {
  /**
   * `settled`: one key. `published`: the next one is accepted, and does not sign yet. `signing`: it signs, and tokens of
   * an earlier one are accepted.
   */
  readonly stage: 'settled' | 'published' | 'signing'
  /** Whose certificates API servers are to have besides that of the key that signs. */
  readonly others: readonly KeyObject[]
}

/** Of the pair of that name, such as service-account. What is accepted stays so until it is taken out by name. */
export function tokenRotation(read: Read, name: string): TokenRotation | Unclear {
  const bytes = read(keyFile(nextName(name)))
  const certificates = read(certificateFile(name))
  const key = tryRead(read(keyFile(name)), keyIn)
  const next = tryRead(bytes, keyIn)
  if (bytes && !next) return unclear(keyFile(nextName(name)), 'is not an unencrypted private key')
  const signing = key && createPublicKey(key)
  const accepted = certificates ? keysIn(certificates) : []
  const others = accepted.filter((each) => !signing?.equals(each))
  // A key that is not of its certificate is told as such.
  if (!signing || (accepted.length > 0 && others.length === accepted.length)) return { stage: 'settled', others: [] }
  const coming = next && createPublicKey(next)
  if (!coming || coming.equals(signing)) return { stage: coming || others.length > 0 ? 'signing' : 'settled', others }
  return { stage: 'published', others: [...others.filter((each) => !each.equals(coming)), coming] }
}

const keysIn = once<KeyObject[]>((pem) =>
  blocksIn(pem, 'CERTIFICATE').flatMap((der) => readDerCertificate(der)?.publicKey ?? []),
)

/** Undefined where Go would not read it. */
export function nameOfCa({ fields, subject, subjectKeyId }: Certificate): IssuerName | undefined {
  return isName(fields.subject) ? { subject, keyId: subjectKeyId } : undefined
}

/** The issuer name in certificates signed by the key. Undefined if there are none, they disagree, or the name is not the one asked for. */
export function nameInIssued(made: readonly Certificate[], key: KeyObject, asked: Subject): IssuerName | undefined {
  const [first, ...others] = made.filter(({ x509 }) => x509.verify(key))
  if (!first || !isName(first.fields.issuer) || compareSubject(attributesIn(first.x509.issuer), asked).length > 0)
    return undefined
  const agree = others.every(
    ({ issuer, authorityKeyId }) => isSame(issuer, first.issuer) && isSame(authorityKeyId, first.authorityKeyId),
  )
  return agree ? { subject: first.issuer, keyId: first.authorityKeyId } : undefined
}

function isSame(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one && other ? one.equals(other) : one === other
}
