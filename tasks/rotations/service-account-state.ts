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
import { type Pair, readPair } from '../../lib/pki/pair.ts'
import { blocksIn, certificatePem } from '../../lib/pki/pem.ts'
import { readPrivateKey } from '../../lib/pki/private-key.ts'
import type { Unclear } from './rotation.ts'

interface TokenFiles {
  readonly certificate: string
  readonly key: string
  readonly nextKey: string
}

export const tokenFiles = once<TokenFiles, FileNames>((files) => ({
  certificate: files.certificate(files.names.tokens),
  key: files.key(files.names.tokens),
  nextKey: files.key(nextName(files.names.tokens)),
}))

export interface TokenState {
  /**
   * `settled`: one key. `published`: the next key is accepted, and does not sign yet. `signing`: the next key signs, and
   * tokens of the previous one are accepted.
   */
  readonly stage: 'settled' | 'published' | 'signing'
  /** The keys whose certificates API servers need besides that of the key that signs. */
  readonly others: readonly KeyObject[]
}

interface Files {
  /** The public key of the one that signs. */
  readonly signing: KeyObject | undefined
  /** The public keys in the certificate file, without the one that signs. */
  readonly others: readonly KeyObject[]
  /** False for a key that does not match its certificate; the target reports it. */
  readonly isPair: boolean
  readonly next: KeyObject | undefined
  readonly isNextBroken: boolean
}

type Row = (Unclear | { readonly stage: TokenState['stage']; others(files: Files): readonly KeyObject[] }) & {
  when(files: Files): unknown
}

const none = () => []
/** An accepted key stays accepted until it is removed by name. */
const accepted = ({ others }: Files) => others

/** The first row that applies. A row may rely on what the rows before it have ruled out. */
const statesOf = once<readonly Row[], TokenFiles>(({ nextKey }) => [
  {
    stage: 'unclear',
    file: nextKey,
    why: `${nextKey} is not an unencrypted private key`,
    when: ({ isNextBroken }) => isNextBroken,
  },
  { stage: 'settled', others: none, when: ({ isPair }) => !isPair },
  {
    stage: 'published',
    others: ({ others, next }) => [...others.filter((each) => !next?.equals(each)), ...(next ? [next] : [])],
    when: ({ next, signing }) => next && !signing?.equals(next),
  },
  { stage: 'signing', others: accepted, when: ({ next, others }) => next || others.length > 0 },
  { stage: 'settled', others: none, when: () => true },
])

const keyIn = once(readPrivateKey)
const keysIn = once<KeyObject[]>((pem) =>
  blocksIn(pem, 'CERTIFICATE').flatMap((der) => readDerCertificate(der)?.publicKey ?? []),
)

export function tokenState(auth: AuthFiles): TokenState | Unclear {
  const named = tokenFiles(auth.files)
  const publicKeyIn = (file: string) => {
    const pem = auth.tryBytes(file)
    const key = pem && keyIn(pem)
    return key && createPublicKey(key)
  }
  const [signing, next, certificates] = [
    publicKeyIn(named.key),
    publicKeyIn(named.nextKey),
    auth.tryBytes(named.certificate),
  ]
  const inFile = certificates ? keysIn(certificates) : []
  const others = inFile.filter((each) => !signing?.equals(each))
  const isPair = signing !== undefined && (inFile.length === 0 || others.length < inFile.length)
  const files = { signing, others, isPair, next, isNextBroken: !next && auth.tryBytes(named.nextKey) !== undefined }
  const state = statesOf(named).find(({ when }) => when(files))
  if (!state) throw new Error('no row applies')
  if (state.stage !== 'unclear') return { stage: state.stage, others: state.others(files) }
  const { when, ...found } = state
  return found
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
