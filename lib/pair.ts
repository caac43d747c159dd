/** A certificate and its private key as two files of auth/: judged, and made. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { type AuthDir, type AuthFile, publicMode, secretMode } from './auth-dir.ts'
import {
  type Certificate,
  compareWithProfile,
  isIssuedBy,
  isKeyOf,
  readCertificate,
  readPrivateKey,
} from './certificate.ts'
import { Failure } from './failure.ts'
import type { Verdict } from './graph.ts'
import type { Reason } from './reason.ts'
import { generatePrivateKey, type Issuer, issueCertificate, type Profile, privateKeyPem, subjectKeyId } from './x509.ts'

export const certificateFile = (name: string): string => `${name}.pem`
export const keyFile = (name: string): string => `${name}-key.pem`

/** Certificates are valid from five minutes ago, for clocks that are a little behind. */
const backdating = 300_000

export interface Pair {
  readonly certificate: Certificate | undefined
  readonly key: KeyObject | undefined
  /** What is wrong with the files themselves. */
  readonly reasons: readonly Reason[]
  /** Modes that are not what they should be. */
  readonly modes: readonly (Reason & { kind: 'wrong-mode' })[]
}

export function readPair(auth: AuthDir, name: string): Pair {
  const certificatePath = certificateFile(name)
  const keyPath = keyFile(name)
  const files = { certificate: auth.read(certificatePath), key: auth.read(keyPath) }
  const certificate = files.certificate?.kind === 'file' ? readCertificate(files.certificate.bytes) : undefined
  const key = files.key?.kind === 'file' ? readPrivateKey(files.key.bytes) : undefined
  const reasons = [
    ...contentReason(certificatePath, files.certificate, certificate, 'certificate'),
    ...contentReason(keyPath, files.key, key, 'private key without a passphrase'),
  ]
  if (certificate && key && !isKeyOf(certificate, key)) reasons.push({ kind: 'key-mismatch', path: keyPath })
  const modes = [
    ...modeReason(certificatePath, files.certificate, publicMode),
    ...modeReason(keyPath, files.key, secretMode),
  ]
  return { certificate, key, reasons, modes }
}

/** Fresh, or every reason why not; the order is that of design: files, profile, issuer, times, modes. */
export function judgePair(
  pair: Pair,
  profile: Profile,
  issuer: Certificate | undefined,
  now: Date,
  renewBefore: number,
): Verdict {
  const reasons = [...pair.reasons]
  const { certificate } = pair
  if (certificate) {
    reasons.push(...compareWithProfile(certificate, profile))
    if (!issuer || !isIssuedBy(certificate, issuer)) reasons.push({ kind: 'other-issuer' })
    reasons.push(...timeReasons(certificate, issuer, now, renewBefore))
  }
  if (reasons.length > 0) return { kind: 'stale', reasons: [...reasons, ...pair.modes] }
  if (pair.modes.length > 0) return { kind: 'stale', reasons: pair.modes, repairOnly: true }
  return { kind: 'fresh', ...(certificate && { until: certificate.notAfter }) }
}

/** Sets the modes alone where nothing else is wrong. */
export function repairModes(auth: AuthDir, reasons: readonly Reason[]): boolean {
  const isModeOnly = reasons.length > 0 && reasons.every(({ kind }) => kind === 'wrong-mode')
  if (!isModeOnly) return false
  for (const reason of reasons) if (reason.kind === 'wrong-mode') auth.tighten(reason.path, reason.asked)
  return true
}

export interface Signing {
  readonly profile: Profile
  readonly issuer: SigningIssuer
  readonly now: Date
  /** Milliseconds. */
  readonly validity: number
  /** A key to keep; else a new one is made. */
  readonly key?: KeyObject | undefined
  readonly durable?: boolean
}

/** Writes a new certificate, with a new key unless one is kept. The key comes first: a certificate never lacks its key. */
export async function makePair(auth: AuthDir, name: string, signing: Signing): Promise<void> {
  const { profile, issuer, now, validity, durable = false } = signing
  const key = signing.key ?? (await generatePrivateKey(profile.key))
  const { notBefore, notAfter } = validityPeriod(now, validity, issuer.notAfter)
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), notBefore, notAfter }, issuer)
  if (!signing.key) auth.write(keyFile(name), privateKeyPem(key), secretMode, { durable })
  auth.write(certificateFile(name), certificate, publicMode, { durable })
}

export interface SigningIssuer extends Issuer {
  readonly notAfter: Date
}

/** The CA's certificate, read once a run; undefined before there is one. */
export function readCaCertificate(auth: AuthDir): Certificate | undefined {
  return auth.derive('CA certificate', [certificateFile('ca')], () => readPair(auth, 'ca').certificate)
}

/** The CA with its key, read once a run. */
export function readIssuer(auth: AuthDir): SigningIssuer {
  return auth.derive('issuer', [certificateFile('ca'), keyFile('ca')], () => {
    const { certificate, key } = readPair(auth, 'ca')
    if (!certificate || !key)
      throw new Failure(`the CA in ${auth.path} can't be read any more`, { remedy: 'run the same command again' })
    return issuerOf(certificate, key)
  })
}

function issuerOf(certificate: Certificate, privateKey: KeyObject): SigningIssuer {
  const keyId = certificate.subjectKeyId ?? subjectKeyId(certificate.publicKey)
  return { subject: certificate.subject, keyId, privateKey, notAfter: certificate.notAfter }
}

/** From five minutes ago for as long as asked (in milliseconds), but not past the issuer's end. */
export function validityPeriod(now: Date, validity: number, end?: Date): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(now.getTime() - backdating)
  return {
    notBefore,
    notAfter: new Date(Math.min(notBefore.getTime() + validity, end?.getTime() ?? Number.POSITIVE_INFINITY)),
  }
}

function timeReasons(
  certificate: Certificate,
  issuer: Certificate | undefined,
  now: Date,
  renewBefore: number,
): Reason[] {
  const { notBefore, notAfter } = certificate
  if (notBefore > now) return [{ kind: 'not-yet-valid', notBefore }]
  if (notAfter <= now) return [{ kind: 'expires', notAfter, expired: true }]
  // A leaf that was cut to its CA's end would not get more by being issued again.
  const isCutToIssuer = issuer !== undefined && notAfter >= issuer.notAfter
  const left = notAfter.getTime() - now.getTime()
  return left <= renewBefore && !isCutToIssuer ? [{ kind: 'expires', notAfter, expired: false }] : []
}

export function contentReason(path: string, file: AuthFile | undefined, content: unknown, what: string): Reason[] {
  if (!file) return [{ kind: 'missing', path }]
  if (file.kind === 'other') return [{ kind: 'not-a-file', path }]
  return content === undefined ? [{ kind: 'unreadable', path, what }] : []
}

export function modeReason(
  path: string,
  file: AuthFile | undefined,
  asked: number,
): (Reason & { kind: 'wrong-mode' })[] {
  return file?.kind === 'file' && file.mode !== asked ? [{ kind: 'wrong-mode', path, was: file.mode, asked }] : []
}
