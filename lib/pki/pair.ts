/** A certificate and its private key as two files of auth/: checked, and made. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { CertificateFacts, Change } from '../change.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import type { AuthDir } from '../files/auth-dir.ts'
import { caName, nextName } from '../files/names.ts'
import { once, publicMode, secretMode } from '../files/plain-file.ts'
import type { Look, Reason } from '../reason.ts'
import { isNear } from '../wording.ts'
import { type Certificate, compareWithProfile, isIssuedBy, readDerCertificate } from './certificate.ts'
import { blocksIn } from './pem.ts'
import { isKeyOf, readPrivateKey } from './private-key.ts'
import { keyKindOf, type Profile } from './profile.ts'
import type { Issuer } from './x509.ts'

/** Certificates are valid from five minutes ago, for clocks that are a little behind. */
const backdating = 300_000

export interface Pair {
  readonly certificate: Certificate | undefined
  /** DER of the certificates that follow it in its file. */
  readonly chain: readonly Buffer[]
  readonly key: KeyObject | undefined
  /** What is wrong with the files themselves. */
  readonly reasons: readonly Reason[]
}

export function readPair(auth: AuthDir, name: string): Pair {
  const held = auth.checkFile(auth.files.certificate(name), publicMode, 'a valid certificate', readHeld)
  const { certificate, chain } = held.value ?? { certificate: undefined, chain: [] }
  const key = auth.checkFile(auth.files.key(name), secretMode, 'an unencrypted private key', readKeyOnce)
  const reasons = [...held.reasons, ...key.reasons]
  if (certificate && key.value && !isKeyOf(certificate, key.value))
    reasons.push({ kind: 'key-mismatch', path: auth.files.key(name) })
  return { certificate, chain, key: key.value, reasons }
}

/** For a CA that lost its certificate but not its key: another certificate for that key changes nothing for what it signed. */
export function isSignedByLostCa(auth: AuthDir, { certificate }: Pair): boolean {
  if (!certificate || tryCertificate(auth, caName)) return false
  const { key } = readPair(auth, caName)
  return key !== undefined && certificate.x509.verify(createPublicKey(key))
}

export interface Demands {
  readonly profile: Profile
  /** Undefined before there is a CA. */
  readonly issuer: Certificate | undefined
  /** What follows it in its file. */
  readonly chain?: Certificate | undefined
  readonly now: Date
  /** Milliseconds. */
  readonly renewBefore: number
}

export function checkPair({ certificate, chain, reasons }: Pair, demands: Demands): Look {
  if (!certificate) return { reasons }
  const wanted = demands.chain ? [demands.chain.der] : []
  const isChained = chain.length === wanted.length && wanted.every((der, i) => chain[i]?.equals(der))
  const { reasons: own, ...verdict } = checkCertificate(certificate, demands)
  return { ...verdict, reasons: [...reasons, ...own, ...(isChained ? [] : [{ kind: 'chain-changed' } as const])] }
}

/** Checks the certificate alone, without its key and chain. */
export function checkCertificate(certificate: Certificate, demands: Demands): Look {
  const { profile, issuer } = demands
  // Before there is a CA, a dry run says that it will be made.
  const issued: Reason[] = !issuer || isIssuedBy(certificate, issuer) ? [] : [{ kind: 'other-issuer' }]
  const differences = [...compareWithProfile(certificate, profile), ...issued, ...certificate.refusals]
  const { notAfter: until } = certificate
  const renewsFrom = isCutToIssuer(certificate, demands) ? undefined : new Date(until.getTime() - demands.renewBefore)
  return { reasons: [...differences, ...timeReasons(certificate, demands)], until, renewsFrom }
}

/** A leaf limited by its CA's expiry would not last longer if it were reissued. */
function isCutToIssuer({ notAfter }: Certificate, { issuer }: Demands): boolean {
  return issuer !== undefined && notAfter >= issuer.notAfter
}

function timeReasons(certificate: Certificate, demands: Demands): Reason[] {
  const { notBefore, notAfter } = certificate
  const { now, renewBefore } = demands
  if (notBefore > now) return [{ kind: 'not-yet-valid', notBefore }]
  const left = notAfter.getTime() - now.getTime()
  return left <= 0 || (left <= renewBefore && !isCutToIssuer(certificate, demands))
    ? [{ kind: 'expires', notAfter, expired: left <= 0, ...(isNear(notAfter, now) && { isNear: true }) }]
    : []
}

const aboutNames: ReadonlySet<Reason['kind']> = new Set([
  ...(['subject-changed', 'san-changed', 'usages-changed', 'other-issuer', 'not-accepted', 'chain-changed'] as const),
  ...(['wrong-mode', 'need-rebuilt'] as const),
])

/**
 * The key that a new certificate keeps if only its contents change. Components may read the two files at any moment, and
 * so never see a certificate with a key that does not match.
 */
export function keptKey({ key }: Pair, reasons: readonly Reason[]): KeyObject | undefined {
  return reasons.every(({ kind }) => aboutNames.has(kind)) ? key : undefined
}

export interface Signing {
  readonly profile: Profile
  readonly issuer: SigningIssuer
  readonly now: Date
  /** Milliseconds. */
  readonly validity: number
  /** A key to keep; else a new one is made. */
  readonly key?: KeyObject | undefined
  /** PEM of what follows it in its file. */
  readonly chain?: string
  readonly durable?: boolean
  readonly tell?: (step: { readonly doing: 'new key' | 'signing' }) => void
}

/**
 * Writes a new certificate, with a new key unless one is kept. The key comes first: a certificate never lacks its key. It is
 * valid from no earlier than the one in its place: of two, the later notBefore tells the newer (cfssl rounds it up).
 */
export async function makePair(auth: AuthDir, name: string, signing: Signing): Promise<Change> {
  // It loads node-forge's ASN.1, which a run that makes nothing does not need.
  const { generatePrivateKey, issueCertificate, privateKeyPem } = await import('./x509.ts')
  const { profile, issuer, now, validity, chain = '', durable = false, tell = () => {} } = signing
  const { notBefore, notAfter } = validityPeriod(now, validity, issuer.notAfter)
  const earlier = tryCertificate(auth, name)?.notBefore ?? notBefore
  const period = { notBefore: earlier > notBefore && earlier <= now ? earlier : notBefore, notAfter }
  const change = changeOfPair(auth, name, { profile, expires: notAfter, isKeyKept: signing.key !== undefined })
  if (!signing.key) tell({ doing: 'new key' })
  const key = signing.key ?? (await generatePrivateKey(profile.key))
  tell({ doing: 'signing' })
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), ...period }, issuer)
  if (!signing.key) auth.write(auth.files.key(name), privateKeyPem(key), secretMode, { durable })
  auth.write(auth.files.certificate(name), certificate + chain, publicMode, { durable })
  return change
}

/** The change that making the pair would be, computed before it is made. */
export function changeOfPair(
  auth: AuthDir,
  name: string,
  { profile, expires, isKeyKept }: { profile: Profile; expires: Date; isKeyKept: boolean },
): Change {
  const was = tryCertificate(auth, name)
  return {
    kind: 'made',
    files: isKeyKept ? [auth.files.certificate(name)] : auth.files.pair(name),
    isNew: !isKeyKept && auth.read(auth.files.certificate(name)) === undefined,
    is: { key: profile.key, expires, names: new Set(profile.sans).size },
    was: was && factsOf(was),
  }
}

function factsOf({ publicKey, notAfter, sans }: Certificate): CertificateFacts {
  return { key: keyKindOf(publicKey), expires: notAfter, names: sans.length }
}

export type SigningIssuer = Issuer & { readonly notAfter: Date }

/** Undefined if the first certificate of the file can't be read; what follows it is not parsed. */
const readHeld = once((pem) => {
  const [first, ...chain] = blocksIn(pem, 'CERTIFICATE')
  const certificate = first && readDerCertificate(first)
  return certificate && { certificate, chain }
})
const readKeyOnce = once(readPrivateKey)

/** Undefined if there is none that can be read; its mode and key are not checked. */
export function tryCertificate(auth: AuthDir, name: string): Certificate | undefined {
  const bytes = tryTo(() => auth.tryBytes(auth.files.certificate(name)))
  return bytes && readHeld(bytes)?.certificate
}

/** Our CA; during a rotation the next one too. */
export function ownCas(auth: AuthDir): Certificate[] {
  return [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
}

/** A CA with its key, which a target has just made or checked. */
export function readIssuer(auth: AuthDir, name = caName): SigningIssuer {
  const certificate = readHeld(auth.bytes(auth.files.certificate(name)))?.certificate
  const privateKey = readKeyOnce(auth.bytes(auth.files.key(name)))
  if (!certificate || !privateKey)
    throw new Failure(`the CA in ${auth.path} can't be read any more`, { remedy: runAgain })
  const { subject, subjectKeyId: keyId, notAfter } = certificate
  return { subject, keyId, notAfter, privateKey }
}

/** From five minutes ago, for `validity` milliseconds, but not past the issuer's expiry. */
export function validityPeriod(now: Date, validity: number, end?: Date): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(now.getTime() - backdating)
  const notAfter = Math.min(notBefore.getTime() + validity, end?.getTime() ?? Number.POSITIVE_INFINITY)
  return { notBefore, notAfter: new Date(notAfter) }
}
