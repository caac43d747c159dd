/** What the files in auth/ say of rotations: the stage of each, and what it requires. Every run reads this. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal } from '../../lib/failure.ts'
import {
  type AuthDir,
  type AuthFiles,
  backups,
  caName,
  crossName,
  etcdCaName,
  type FileNames,
  nextName,
} from '../../lib/files/auth-dir.ts'
import { memoised } from '../../lib/files/plain-file.ts'
import { type EncryptionKeys, readEncryptionKeys } from '../../lib/kubernetes/encryption.ts'
import {
  type Certificate,
  type CertSpec,
  commonNameOf,
  readCertificate,
  readDerCertificate,
} from '../../lib/pki/certificate.ts'
import { blocksIn } from '../../lib/pki/encoding.ts'
import { certificateIn, isKeyOf, keyIn, type Pair, readPair, tryCertificate } from '../../lib/pki/pair.ts'
import { quote } from '../../lib/wording.ts'
import type { Run } from '../cluster-target.ts'
import { encryptionConfig } from '../layouts/tables.ts'

/** No stage: the files do not fit together. */
interface Unclear {
  readonly stage: 'unclear'
  readonly why: string
  readonly file: string
}

export function caFiles({ certificate, key }: FileNames, name: string) {
  return {
    present: certificate(name),
    next: certificate(nextName(name)),
    nextKey: key(nextName(name)),
    cross: certificate(crossName(name)),
  }
}

export function caRotationFiles(files: FileNames, name: string): string[] {
  const { nextKey, next, cross } = caFiles(files, name)
  return [nextKey, next, cross]
}

export interface CaState {
  /**
   * `settled`: one CA. `both`: the next CA signs, and the present one is trusted as well. `finishing`: the next CA's
   * certificate has replaced the present one's, its key has not yet.
   */
  readonly stage: 'settled' | 'both' | 'finishing'
  readonly issuer: string
  /** Follows each leaf in its file, for clients that trust only the previous CA. */
  readonly chain: Certificate | undefined
  readonly trusted: readonly string[]
}

const settledBy = (name: string) => ({ issuer: name, trusted: [name] })
const unclear = (file: string, why: string): Unclear => ({ stage: 'unclear', file, why: `${file} ${why}` })

function isSame(one: Certificate, other: Certificate): boolean {
  return one.publicKey.equals(other.publicKey)
}

/** By its key and its name: of the two, one may be the other's cross certificate. */
export function isTwin(one: Certificate, other: Certificate): boolean {
  return isSame(one, other) && one.subject.equals(other.subject)
}

/** `now`: an expired chain is left out. A condition may rely on what those before it have ruled out. */
export function caState(auth: AuthFiles, now: Date, name: string = caName): CaState | Unclear {
  const files = caFiles(auth.files, name)
  const isThere = (file: string) => auth.tryBytes(file) !== undefined
  const parse = <T>(file: string, parser: (bytes: Buffer) => T | undefined) => {
    const bytes = auth.tryBytes(file)
    return bytes && parser(bytes)
  }
  const nextKey = parse(files.nextKey, keyIn)
  const [next, cross] = [parse(files.next, certificateIn), parse(files.cross, certificateIn)]
  const present = next || nextKey || cross ? parse(files.present, certificateIn) : undefined
  const crossOf = (signer: Certificate | undefined) =>
    signer && cross && isTwin(cross, signer) && cross.notAfter > now ? cross : undefined

  if (!nextKey && isThere(files.nextKey)) return unclear(files.nextKey, 'is not an unencrypted private key')
  if (!next && isThere(files.next)) return unclear(files.next, 'is not a valid certificate')
  if (!cross && !nextKey && isThere(files.cross)) return unclear(files.cross, 'is not a valid certificate')
  if (next && nextKey && !isKeyOf(next, nextKey)) return unclear(files.next, `does not match ${files.nextKey}`)
  const nextPublic = nextKey ? createPublicKey(nextKey) : next?.publicKey
  if (present && nextPublic?.equals(present.publicKey))
    return { stage: 'finishing', ...settledBy(name), chain: crossOf(present) }
  if (next && !nextKey) return unclear(files.nextKey, `is missing, but ${files.next} exists`)
  if (next && present?.subject.equals(next.subject))
    return unclear(files.next, `has the same subject as ${files.present}`)
  if (nextKey) return { stage: 'both', issuer: nextName(name), trusted: [nextName(name), name], chain: crossOf(next) }
  if (cross && present && !isSame(cross, present))
    return unclear(files.cross, `does not have the key of ${files.present}`)
  return { stage: 'settled', ...settledBy(name), chain: crossOf(present) }
}

/** Throws a refusal if the files do not fit together. */
export function readCaState({ auth, now, command }: Run, name: string = caName): CaState {
  const state = caState(auth, now, name)
  if (state.stage !== 'unclear') return state
  throw refusal(`${auth.path}/${state.why}`, [
    `restore ${state.file} from a backup of auth/:\n    ${command('recover --from DIR')}`,
    `or undo the rotation:\n    ${command(`rotate ${name} --undo`)}`,
  ])
}

/** For leaves and kubeconfigs. Files that don't fit together count as no rotation: the CA's target reports them. */
export function signingCa(auth: AuthDir, now: Date, name: string = caName): CaState {
  const state = caState(auth, now, name)
  return state.stage === 'unclear' ? { stage: 'settled', ...settledBy(name), chain: undefined } : state
}

/** What etcd's CA is at first on a cluster that shared it: the cluster's, under its own name. */
export function isCopyOfCa(auth: AuthDir): boolean {
  const [ca, etcdCa] = [caName, etcdCaName].map((name) => tryCertificate(auth, name))
  return ca !== undefined && etcdCa?.publicKey.equals(ca.publicKey) === true
}

/** Another CA of the cluster would leave etcd with the one that it replaces. Throws a refusal. */
export function refuseWithCopy({ auth, cluster, command }: Run): void {
  if (!isCopyOfCa(auth)) return
  const pair = auth.files.pair(etcdCaName)
  throw refusal(`etcd uses the CA that would be replaced (${pair[0]} in ${auth.path})`, [
    cluster.etcd.ca === 'own'
      ? `give etcd its own CA first (then again with --finish):\n    ${command(`rotate ${etcdCaName}`)}`
      : `cluster.yaml has etcd.ca: shared, so move ${pair.join(' and ')} aside`,
  ])
}

export function replacedCas(auth: AuthDir, name: string): Certificate[] {
  return backups(auth, caFiles(auth.files, name).present).flatMap((pem) => readCertificate(pem) ?? [])
}

/** The desired profile; a CA that a rotation has made keeps the number in its name. */
export function caProfile(certificate: Certificate | undefined, desired: CertSpec): CertSpec {
  const CN = (certificate && commonNameOf(certificate)) ?? ''
  const its = [desired.subject, ...(desired.tolerated ?? [])].find((subject) => isCaCommonName(CN, subject.CN))
  return its ? { ...desired, subject: { ...its, CN } } : desired
}

/** `Kubernetes 2` after `Kubernetes`: OpenSSL takes two CAs of one name for one. */
export function nextCaCommonName(present: string, desired: string): string {
  if (!isCaCommonName(present, desired)) return desired
  const [, base = present, number = '1'] = /^(.*?)(?: (\d{1,6}))?$/.exec(present) ?? []
  return `${base} ${Number(number) + 1}`
}

/** True for the desired name, and for one that rotations have made of it. */
function isCaCommonName(found: string, desired: string): boolean {
  return found === desired || (found.startsWith(`${desired} `) && /^ \d{1,6}$/.test(found.slice(desired.length)))
}

export function tokenFiles({ names: { tokens }, certificate, key }: FileNames) {
  return { certificate: certificate(tokens), key: key(tokens), nextKey: key(nextName(tokens)) }
}

interface TokenState {
  /**
   * `settled`: one key. `published`: the next key is accepted, and does not sign yet. `signing`: the next key signs,
   * and tokens of the previous one are accepted.
   */
  readonly stage: 'settled' | 'published' | 'signing'
  /** The keys whose certificates API servers need besides that of the key that signs. */
  readonly others: readonly KeyObject[]
}

export const publicKeysIn = memoised<KeyObject[]>((pem) =>
  blocksIn(pem, 'CERTIFICATE').flatMap((der) => readDerCertificate(der)?.publicKey ?? []),
)

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
  const inFile = certificates ? publicKeysIn(certificates) : []
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
  throw refusal(`${auth.path}/${state.why}`, [
    `restore it from a backup; or, if it was never deployed, remove it:\n    rm ${quote(`${auth.path}/${state.file}`)}`,
  ])
}

/** The pair. Where the signing key has just changed, its certificate does not come first in the file yet. */
export function readTokenPair(auth: AuthDir): Pair {
  const pair = readPair(auth, auth.files.names.tokens)
  const { certificate, key, mismatch } = pair
  const isElsewhere = mismatch.length > 0
  const own =
    key && isElsewhere ? chainOf(pair).find(({ publicKey }) => publicKey.equals(createPublicKey(key))) : undefined
  if (!own || !certificate) return pair
  const what = 'the certificate of the signing key does not come first'
  return {
    ...pair,
    certificate: own,
    chain: [certificate.der, ...pair.chain.filter((der) => !der.equals(own.der))],
    mismatch: [{ what, verb: 'change' }],
  }
}

export function chainOf({ chain }: Pair): Certificate[] {
  return chain.flatMap((der) => readDerCertificate(der) ?? [])
}

/** Undefined without a file, or if it holds no key that can be rotated. */
export function readEncryptionState({ auth }: { readonly auth: AuthDir }): EncryptionKeys | undefined {
  const bytes = auth.tryBytes(encryptionConfig.file)
  return bytes && readEncryptionKeys(bytes)
}

/** What is refused while that rotation is under way, with each way out. */
export function refusalDuring(
  name: string,
  what: string,
  { command }: Pick<Run, 'command'>,
  { isLast = false } = {},
): Failure {
  const undo = `or undo it:\n    ${command(`rotate ${name} --undo`)}`
  return refusal(what, [`finish it:\n    ${command(`rotate ${name} --finish`)}`, ...(isLast ? [] : [undo])])
}

/** Restores all of auth/ from a node, or from a backup if no node has all of it. It overwrites nothing. */
export function recoverCommand(run: Run, from?: ClusterNode): string {
  return run.cluster.certificates.caKeyOnNodes ? recoverFromNode(run, from) : run.command('recover --from DIR')
}

export function recoverFromNode({ cluster, command }: Run, from?: ClusterNode): string {
  const node = from ?? cluster.nodes.find(({ role }) => role === 'control')
  return command(`recover --node ${node?.name}`)
}

/** The ways out if nodes hold what auth/ has lost. What is left in auth/ is kept: nodes do not have all of it. */
export function waysOutOfLost(run: Run, from?: ClusterNode): string[] {
  const { command } = run
  const ways = new Set([recoverCommand(run, from), command('recover --from DIR')])
  return [
    ...[...ways].map((each, i) => `${i === 0 ? 'recover the cluster' : 'or recover it from a backup'}:\n    ${each}`),
    `or abandon it and everything that depends on it:\n    ${command('bootstrap --replace-identity')}`,
  ]
}
