/** A certificate and its private key as two files of auth/: checked, and made. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import type { KeyKind } from '../cluster/cluster.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import { type AuthDir, type AuthFile, caName, caNames, nextName } from '../files/auth-dir.ts'
import { memoised, publicMode, secretMode } from '../files/plain-file.ts'
import type { Change, CheckResult, Reason } from '../results.ts'
import { isNear } from '../wording.ts'
import {
  type Certificate,
  type CertSpec,
  compareWithProfile,
  endOf,
  isIssuedBy,
  keyKindOf,
  readCertificate,
  readDerCertificate,
} from './certificate.ts'
import { blocksIn } from './encoding.ts'
import type { Issuer } from './x509.ts'

/** The unencrypted private key of the PEM; undefined where there is none, or several. */
export function readPrivateKey(pem: Uint8Array | string): KeyObject | undefined {
  try {
    const [der, ...others] = blocksIn(pem, 'PRIVATE KEY')
    return der && others.length === 0 ? createPrivateKey(Buffer.from(pem)) : undefined
  } catch {
    return undefined
  }
}

export function isKeyOf({ x509 }: Certificate, key: KeyObject): boolean {
  return x509.checkPrivateKey(key)
}

/** Certificates are valid from five minutes ago, for clocks that are a little behind. */
const backdating = 300_000

export type Pair = Readonly<ReturnType<typeof readPair>>

export function readPair(auth: AuthDir, name: string) {
  const held = auth.checkFile(auth.files.certificate(name), publicMode, 'a valid certificate', readHeld)
  /** `chain`: DER of the certificates that follow it in its file. */
  const { certificate, chain } = held.value ?? { certificate: undefined, chain: [] }
  const key = auth.checkFile(auth.files.key(name), secretMode, 'an unencrypted private key', keyIn)
  /** What is wrong with the files themselves. */
  const reasons = [...held.reasons, ...key.reasons]
  if (certificate && key.value && !isKeyOf(certificate, key.value))
    reasons.push({ kind: 'key-mismatch', path: auth.files.key(name) })
  return { certificate, chain, key: key.value, reasons }
}

/** `chain`: what follows the certificate in its file. */
export function checkPair(
  { certificate, chain, reasons }: Pair,
  wanted: Parameters<typeof checkCertificate>[1] & { readonly chain?: Certificate | undefined },
): CheckResult {
  if (!certificate) return { reasons }
  const following = wanted.chain ? [wanted.chain.der] : []
  const isChained = chain.length === following.length && following.every((der, i) => chain[i]?.equals(der))
  const { reasons: own, ...verdict } = checkCertificate(certificate, wanted)
  return { ...verdict, reasons: [...reasons, ...own, ...(isChained ? [] : [{ kind: 'chain-changed' } as const])] }
}

/**
 * Checks the certificate alone, without its key and chain. Undefined as its issuer: there is no CA yet; `renewBefore`
 * in milliseconds.
 */
export function checkCertificate(
  certificate: Certificate,
  wanted: {
    readonly profile: CertSpec
    readonly issuer: Certificate | undefined
    readonly now: Date
    readonly renewBefore: number
  },
): CheckResult {
  const { profile, issuer, now, renewBefore } = wanted
  const { notBefore, notAfter } = certificate
  // A leaf limited by its CA's expiry would not last longer if it were reissued.
  const isCut = issuer !== undefined && notAfter >= issuer.notAfter
  const left = notAfter.getTime() - now.getTime()
  const reasons = [...compareWithProfile(certificate, profile)]
  // Before there is a CA, a dry run says that it will be made.
  if (issuer && !isIssuedBy(certificate, issuer)) reasons.push({ kind: 'other-issuer' })
  if (notBefore > now) reasons.push({ kind: 'not-yet-valid', notBefore })
  else if (left <= 0 || (left <= renewBefore && !isCut))
    reasons.push({ kind: 'expires', notAfter, expired: left <= 0, ...(isNear(notAfter, now) && { isNear: true }) })
  const until = endOf(certificate, issuer ? [issuer] : [])
  return { reasons, until, renewsFrom: isCut ? undefined : new Date(notAfter.getTime() - renewBefore) }
}

const aboutNames: ReadonlySet<Reason['kind']> = new Set([
  ...(['subject-changed', 'san-changed', 'usages-changed', 'other-issuer', 'chain-changed'] as const),
  // The last: it was made by a wrong clock.
  ...(['wrong-mode', 'not-yet-valid'] as const),
])

/**
 * The key that a new certificate keeps if only its contents change. Components may read the two files at any moment,
 * and so never see a certificate with a key that does not match.
 */
export function keptKey({ key }: Pair, reasons: readonly Reason[]): KeyObject | undefined {
  return reasons.every(({ kind }) => aboutNames.has(kind)) ? key : undefined
}

/**
 * Writes a new certificate, with a new key unless one is kept. The key comes first: a certificate never lacks its key.
 * It is valid from no earlier than the one in its place: of two, the later notBefore tells the newer (cfssl rounds it
 * up).
 */
export async function makePair(
  auth: AuthDir,
  name: string,
  signing: {
    readonly profile: CertSpec
    readonly issuer: SigningIssuer
    readonly now: Date
    /** Milliseconds. */
    readonly validity: number
    /** A key to keep; else a new one is made. */
    readonly key?: KeyObject | undefined
    /** PEM of what follows it in its file. */
    readonly chain?: string | undefined
    /** Of a new key, where it is not that of the profile. */
    readonly keyKind?: KeyKind | undefined
    readonly tell?: (step: { readonly doing: 'new key' | 'signing' }) => void
  },
): Promise<Change> {
  // It loads node-forge's ASN.1, which a run that makes nothing does not need.
  const { generatePrivateKey, issueCertificate, privateKeyPem } = await import('./x509.ts')
  const { profile, issuer, now, validity, chain = '', keyKind = profile.key, tell = () => {} } = signing
  const { notAfter } = validityPeriod(now, validity, issuer.notAfter)
  const period = { notBefore: nextStart(auth, name, now), notAfter }
  const change = changeOfPair(auth, name, { profile, expires: notAfter, isKeyKept: signing.key !== undefined })
  if (!signing.key) tell({ doing: 'new key' })
  const key = signing.key ?? (await generatePrivateKey(keyKind))
  tell({ doing: 'signing' })
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), ...period }, issuer)
  const files: AuthFile[] = [[auth.files.certificate(name), certificate + chain, publicMode]]
  if (!signing.key) files.unshift([auth.files.key(name), privateKeyPem(key), secretMode])
  auth.writeDurably(...files)
  return change
}

/** When a certificate that is issued now begins to be valid. */
function nextStart(auth: AuthDir, name: string, now: Date): Date {
  const { notBefore } = validityPeriod(now, 0)
  const earlier = tryCertificate(auth, name)?.notBefore
  return earlier && earlier > notBefore && earlier <= now ? earlier : notBefore
}

/** The change that making the pair is, computed before it is made. */
export function changeOfPair(
  auth: AuthDir,
  name: string,
  { profile, expires, isKeyKept }: { profile: CertSpec; expires: Date; isKeyKept: boolean },
): Change {
  const was = tryCertificate(auth, name)
  return {
    kind: 'made',
    files: isKeyKept ? [auth.files.certificate(name)] : auth.files.pair(name),
    isNew: !isKeyKept && auth.read(auth.files.certificate(name)) === undefined,
    is: { key: profile.key, expires, names: new Set(profile.sans).size },
    was: was && { key: keyKindOf(was.publicKey), expires: endOf(was, ownCas(auth)), names: was.sans.length },
  }
}

type SigningIssuer = Issuer & { readonly notAfter: Date }

/** Undefined if the first certificate of the file can't be read; what follows it is not parsed. */
const readHeld = memoised((pem) => {
  const [first, ...chain] = blocksIn(pem, 'CERTIFICATE')
  const certificate = first && readDerCertificate(first)
  return certificate && { certificate, chain }
})
export const keyIn = memoised(readPrivateKey)
export const certificateIn = memoised(readCertificate)

/** Undefined if there is none that can be read; its mode and key are not checked. */
export function tryCertificate(auth: AuthDir, name: string): Certificate | undefined {
  const bytes = tryTo(() => auth.tryBytes(auth.files.certificate(name)))
  return bytes && readHeld(bytes)?.certificate
}

/** Our CAs; during a rotation the next one too. */
export function ownCas(auth: AuthDir): Certificate[] {
  return caNames.flatMap((name) => [name, nextName(name)]).flatMap((name) => tryCertificate(auth, name) ?? [])
}

export function isOfOwnCa(auth: AuthDir, certificate: Certificate): boolean {
  return ownCas(auth).some((ca) => isIssuedBy(certificate, ca))
}

/** A CA with its key, which a target has just made or checked. */
export function readIssuer(auth: AuthDir, name: string = caName): SigningIssuer {
  const certificate = readHeld(auth.bytes(auth.files.certificate(name)))?.certificate
  const privateKey = keyIn(auth.bytes(auth.files.key(name)))
  if (!certificate || !privateKey) throw new Failure(`can't read the CA in ${auth.path} any more`, { remedy: runAgain })
  const { subject, subjectKeyId: keyId, notAfter } = certificate
  return { subject, keyId, notAfter, privateKey }
}

/** From five minutes ago, for `validity` milliseconds, but not past the issuer's expiry. */
export function validityPeriod(now: Date, validity: number, end?: Date): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(now.getTime() - backdating)
  const notAfter = Math.min(notBefore.getTime() + validity, end?.getTime() ?? Number.POSITIVE_INFINITY)
  return { notBefore, notAfter: new Date(notAfter) }
}
