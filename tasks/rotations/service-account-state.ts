/**
 * What the files of the service-account key in auth/ mean: which key signs tokens, and which others API servers accept. Every
 * run reads this; the stages are in service-account.ts.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import type { AuthDir, AuthFiles } from '../../lib/files/auth-dir.ts'
import { type FileNames, nextName } from '../../lib/files/names.ts'
import { once, publicMode } from '../../lib/files/plain-file.ts'
import { type Certificate, readDerCertificate } from '../../lib/pki/certificate.ts'
import { keyIn, type Pair, readPair } from '../../lib/pki/pair.ts'
import { blocksIn, certificatePem } from '../../lib/pki/pem.ts'
import type { Unclear } from './rotation.ts'

export function tokenFiles({ names: { tokens }, certificate, key }: FileNames) {
  return { certificate: certificate(tokens), key: key(tokens), nextKey: key(nextName(tokens)) }
}

export interface TokenState {
  /**
   * `settled`: one key. `published`: the next key is accepted, and does not sign yet. `signing`: the next key signs, and
   * tokens of the previous one are accepted.
   */
  readonly stage: 'settled' | 'published' | 'signing'
  /** The keys whose certificates API servers need besides that of the key that signs. */
  readonly others: readonly KeyObject[]
}

/** Of a file of certificates. */
export const keysIn = once<KeyObject[]>((pem) =>
  blocksIn(pem, 'CERTIFICATE').flatMap((der) => readDerCertificate(der)?.publicKey ?? []),
)

/** The public half of a private key in PEM. */
export function publicKeyIn(pem: Buffer | undefined): KeyObject | undefined {
  const key = pem && keyIn(pem)
  return key && createPublicKey(key)
}

export function tokenState(auth: AuthFiles): TokenState | Unclear {
  const { certificate, key, nextKey } = tokenFiles(auth.files)
  const [signing, next] = [publicKeyIn(auth.tryBytes(key)), publicKeyIn(auth.tryBytes(nextKey))]
  if (!next && auth.tryBytes(nextKey))
    return { stage: 'unclear', file: nextKey, why: `${nextKey} is not an unencrypted private key` }
  const certificates = auth.tryBytes(certificate)
  const inFile = certificates ? keysIn(certificates) : []
  // An accepted key stays accepted until it is removed by name.
  const others = inFile.filter((each) => !signing?.equals(each))
  // The target reports a key that does not match its certificate.
  const isPair = signing && (inFile.length === 0 || others.length < inFile.length)
  if (!isPair) return { stage: 'settled', others: [] }
  if (next && !next.equals(signing))
    return { stage: 'published', others: [...others.filter((each) => !each.equals(next)), next] }
  return { stage: next || others.length > 0 ? 'signing' : 'settled', others }
}

/** Throws a refusal if the files do not fit together. */
export function readTokenState({ auth }: { readonly auth: AuthDir }): TokenState {
  const state = tokenState(auth)
  if (state.stage !== 'unclear') return state
  throw refusal(`${auth.path}: ${state.why}`, [
    `restore it from a backup, or remove it if it was never deployed: rm ${auth.path}/${state.file}`,
  ])
}

/** The pair. Where the signing key has just changed, its certificate does not come first in the file yet. */
export function readTokenPair(auth: AuthDir): Pair {
  const pair = readPair(auth, auth.files.names.tokens)
  const { certificate, key, reasons } = pair
  const isElsewhere = reasons.some(({ kind }) => kind === 'key-mismatch')
  const own =
    key && isElsewhere ? chainOf(pair).find(({ publicKey }) => publicKey.equals(createPublicKey(key))) : undefined
  if (!own || !certificate) return pair
  const what = 'the certificate of the key that signs does not come first'
  return {
    key,
    certificate: own,
    chain: [certificate.der, ...pair.chain.filter((der) => !der.equals(own.der))],
    reasons: [...reasons.filter(({ kind }) => kind !== 'key-mismatch'), { kind: 'rotation', what }],
  }
}

export function chainOf({ chain }: Pair): Certificate[] {
  return chain.flatMap((der) => readDerCertificate(der) ?? [])
}

/** Keeps only the certificate of the key that signs: tokens of every other key are refused. Throws a Failure without that one. */
export function dropOtherKeys({ auth }: { readonly auth: AuthDir }): void {
  const { certificate, key } = readTokenPair(auth)
  if (!certificate || !key)
    throw new Failure(`${tokenFiles(auth.files).certificate} in ${auth.path} can't be read any more`, {
      remedy: runAgain,
    })
  auth.write(tokenFiles(auth.files).certificate, certificatePem(certificate.der), publicMode, { durable: true })
}
