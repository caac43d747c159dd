/** A certificate and its private key as two files of auth/: checked, and made. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import type { KeyKind } from '../cluster/cluster.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import { type AuthDir, type AuthFile, caName, caNames, nextName } from '../files/auth-dir.ts'
import { memoised, publicMode, secretMode } from '../files/plain-file.ts'
import { type Check, type Diff, hasVerb, missing, type Verb } from '../results.ts'
import { formatDate } from '../wording.ts'
import {
  type Certificate,
  type CertSpec,
  compareWithProfile,
  endOf,
  isIssuedBy,
  readDerCertificate,
} from './certificate.ts'
import { blocksIn } from './encoding.ts'
import type { Credentials } from './handshake.ts'
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
  const files = auth.files.pair(name)
  const certificateFile = auth.checkFile(files[0], 'a valid certificate', readChain)
  const { certificate, chain } = certificateFile.value ?? { certificate: undefined, chain: [] }
  const keyFile = auth.checkFile(files[1], 'an unencrypted private key', keyIn)
  const isMismatched = certificate !== undefined && keyFile.value !== undefined && !isKeyOf(certificate, keyFile.value)
  return {
    certificate,
    chain,
    key: keyFile.value,
    missing: files.filter((_, i) => [certificateFile, keyFile][i]?.isMissing),
    ofFiles:
      certificateFile.isMissing && keyFile.isMissing
        ? missing(files)
        : [...halfOf(certificateFile, 'renew'), ...halfOf(keyFile, 'replace')],
    mismatch: isMismatched ? [mismatchOf(files[1])] : [],
  }
}

/** A file of a pair whose other one is there: it is not new. */
function halfOf(
  { diffs, isMissing }: Pick<ReturnType<AuthDir['checkFile']>, 'diffs' | 'isMissing'>,
  verb: Verb,
): Diff[] {
  return isMissing ? diffs.map((diff) => ({ ...diff, verb })) : diffs
}

function mismatchOf(key: string): Diff {
  return { what: `${key} is not the key of its certificate`, verb: 'replace', names: [key] }
}

export function wrongIn({ ofFiles, mismatch }: Pair): Diff[] {
  return [...ofFiles, ...mismatch]
}

export function checkPair(
  pair: Pair,
  desired: CertificateDemands & { readonly chain?: Certificate | undefined },
): Check {
  const { certificate, chain } = pair
  if (!certificate) return { diffs: wrongIn(pair) }
  const following = desired.chain ? [desired.chain.der] : []
  const isChained = chain.length === following.length && following.every((der, i) => chain[i]?.equals(der))
  const ofChain: Diff[] = isChained ? [] : [{ what: 'certificate chain differs', verb: 'change' }]
  const { diffs, ...checked } = checkCertificate(certificate, desired)
  return { ...checked, diffs: [...wrongIn(pair), ...diffs, ...ofChain] }
}

interface CertificateDemands {
  readonly profile: CertSpec
  /** Undefined where there is no CA yet. */
  readonly issuer: Certificate | undefined
  readonly now: Date
  /** Milliseconds. */
  readonly renewBefore: number
}

/** The certificate alone. */
export function checkCertificate(certificate: Certificate, desired: CertificateDemands): Check {
  const { profile, issuer, now, renewBefore } = desired
  const { notBefore, notAfter } = certificate
  // A leaf limited by its CA's expiry would not last longer if it were reissued.
  const isCappedByCa = issuer !== undefined && notAfter >= issuer.notAfter
  const left = notAfter.getTime() - now.getTime()
  const diffs = compareWithProfile(certificate, profile)
  // Before there is a CA, a dry run says that it will be made.
  if (issuer && !isIssuedBy(certificate, issuer)) diffs.push({ what: 'not issued by the current CA', verb: 'change' })
  // It was made by a wrong clock.
  if (notBefore > now) diffs.push({ what: `not valid before ${notBefore.toISOString().slice(0, 16)}Z`, verb: 'change' })
  else if (left <= 0 || (left <= renewBefore && !isCappedByCa))
    diffs.push({
      what: `${left <= 0 ? 'expired' : 'expires'} ${formatDate(notAfter, now)}`,
      verb: 'renew',
    })
  const until = endOf(certificate, issuer ? [issuer] : [])
  const note = isCappedByCa
    ? `expires ${formatDate(until)} (with the CA)`
    : `renews from ${formatDate(new Date(notAfter.getTime() - renewBefore))}`
  return { diffs, until, note }
}

/** A new certificate keeps its key, so that no component reads one that does not match the other. */
export function keptKey({ key }: Pair, diffs: readonly Diff[]): KeyObject | undefined {
  return hasVerb(diffs, 'make', 'replace', 'renew') ? undefined : key
}

/**
 * Writes a new certificate, with a new key unless one is kept, and returns what there is now. The key comes first: a kill
 * leaves it beside the old certificate, which the next run replaces.
 * It is valid from no earlier than the one in its place: of two, the later notBefore tells the newer (cfssl rounds it
 * up).
 */
export async function makePair(
  auth: AuthDir,
  name: string,
  signing: {
    readonly profile: CertSpec
    readonly issuer: Issuer
    readonly now: Date
    readonly validity: number
    readonly key?: KeyObject | undefined
    readonly chain?: string | undefined
    readonly keyKind?: KeyKind | undefined
    readonly tell?: (step: string) => void
  },
): Promise<string> {
  // It loads node-forge's ASN.1, which a run that makes nothing does not need.
  const { generatePrivateKey, issueCertificate, privateKeyPem } = await import('./x509.ts')
  const { profile, issuer, now, validity, chain = '', keyKind = profile.key, tell = () => {} } = signing
  const { notAfter } = validityPeriod(now, validity, issuer.certificate.notAfter)
  const period = { notBefore: nextStart(auth, name, now), notAfter }
  const note = noteOnPair(auth, name, notAfter, { isKeyKept: signing.key !== undefined })
  if (!signing.key) tell('new key')
  const key = signing.key ?? (await generatePrivateKey(keyKind))
  tell('signing')
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), ...period }, issuer)
  const files: AuthFile[] = [[auth.files.certificate(name), certificate + chain, publicMode]]
  if (!signing.key) files.unshift([auth.files.key(name), privateKeyPem(key), secretMode])
  auth.writeDurably(...files)
  return note
}

function nextStart(auth: AuthDir, name: string, now: Date): Date {
  const { notBefore } = validityPeriod(now, 0)
  const earlier = tryCertificate(auth, name)?.notBefore
  return earlier && earlier > notBefore && earlier <= now ? earlier : notBefore
}

/** "new key, expires 2028-10-30", before the pair is made. */
export function noteOnPair(auth: AuthDir, name: string, expires: Date, { isKeyKept }: { isKeyKept: boolean }): string {
  const isKeyReplaced = !isKeyKept && tryCertificate(auth, name) !== undefined
  return `${isKeyReplaced ? 'new key, ' : ''}expires ${formatDate(expires)}`
}

/** Undefined if the first certificate of the file can't be read; what follows it is not parsed. */
const readChain = memoised((pem) => {
  const [first, ...chain] = blocksIn(pem, 'CERTIFICATE')
  const certificate = first && readDerCertificate(first)
  return certificate && { certificate, chain }
})
export const keyIn = memoised(readPrivateKey)
export const certificateIn = (pem: Buffer): Certificate | undefined => readChain(pem)?.certificate

/** Undefined if there is none that can be read; its mode and key are not checked. */
export function tryCertificate(auth: AuthDir, name: string): Certificate | undefined {
  const bytes = tryTo(() => auth.tryBytes(auth.files.certificate(name)))
  return bytes && certificateIn(bytes)
}

/** Our CAs; during a rotation the next one too. */
export function ownCas(auth: AuthDir): Certificate[] {
  return caNames.flatMap((name) => [name, nextName(name)]).flatMap((name) => tryCertificate(auth, name) ?? [])
}

export function isOfOwnCa(auth: AuthDir, certificate: Certificate): boolean {
  return ownCas(auth).some((ca) => isIssuedBy(certificate, ca))
}

/** Of files that are there. */
export function readCredentials(auth: AuthDir, name: string): Credentials {
  return { certificate: auth.bytes(auth.files.certificate(name)), key: auth.bytes(auth.files.key(name)) }
}

export function readIssuer(auth: AuthDir, name: string = caName): Issuer {
  const certificate = certificateIn(auth.bytes(auth.files.certificate(name)))
  const privateKey = keyIn(auth.bytes(auth.files.key(name)))
  if (!certificate || !privateKey) throw new Failure(`can't read the CA in ${auth.path} any more`, { remedy: runAgain })
  return { certificate, privateKey }
}

/** From five minutes ago, for `validity` milliseconds, but not past the issuer's expiry. */
export function validityPeriod(now: Date, validity: number, end?: Date): { notBefore: Date; notAfter: Date } {
  const notBefore = new Date(now.getTime() - backdating)
  const notAfter = Math.min(notBefore.getTime() + validity, end?.getTime() ?? Number.POSITIVE_INFINITY)
  return { notBefore, notAfter: new Date(notAfter) }
}
