/**
 * Whose a file on a node is: a file of ours, at some time or in some stage of a rotation, or one of another cluster, or
 * somebody else's. Pure.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import {
  type AuthDir,
  type AuthFiles,
  backups,
  caName,
  caNames,
  crossName,
  type FileNames,
  frontProxyCaName,
  hasDigest,
} from '../../lib/files/auth-dir.ts'
import { secretMode, sha256 } from '../../lib/files/plain-file.ts'
import { isForeignAuthorization } from '../../lib/kubernetes/authorization.ts'
import { type EncryptionKey, readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { type Part, readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type FileState, type FilesSeen, folderOf, largestFile } from '../../lib/node/place.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, isIssuedBy, readCertificate, readCertificates } from '../../lib/pki/certificate.ts'
import { ownCas, readPrivateKey } from '../../lib/pki/pair.ts'
import type { Run } from '../cluster-target.ts'
import { digestAt, type NodeLook } from '../inspect/look.ts'
import { identityFiles, nodeFiles } from '../layouts/tables.ts'

export interface FileOnNode {
  readonly file: string
  readonly at: string
  readonly state: FileState
  /** Undefined if it is the same as in auth/, or could not be read. */
  readonly bytes: Buffer | undefined
  readonly isPlace: boolean
  readonly part?: Part | undefined
}

/** In the folder, and where units read. The check of `install` reports places that could not be looked at. */
export function filesOn(run: Run, node: ClusterNode, seen: NodeLook): FileOnNode[] {
  const { cluster, options } = run
  const { places, units } = seen
  // --prune would remove identity files that do not belong there.
  const names = [...nodeFiles(cluster, node), ...(options.prune ? identityFiles(cluster).keys() : [])]
  const inFolder = names.flatMap((name) => fileOn(seen, name, name))
  if (!places || places instanceof Failure) return inFolder
  const atPlaces = new Map(units.flatMap(({ files }) => files.map((place) => [realPath(places, place.path), place])))
  return [...inFolder, ...[...atPlaces].flatMap(([at, { file, part }]) => fileOn(places, at, file, part))]
}

export function fileOn({ files, contents }: FilesSeen, at: string, file: string, part?: Part): FileOnNode[] {
  const state = files.get(at)
  return state ? [{ file, at, state, bytes: contents.get(at), isPlace: at.startsWith('/'), part }] : []
}

export function whyNotCompared({ kind, size, sha256 }: FileState): string {
  if (kind !== 'file') return 'not a regular file'
  return size > largestFile || sha256 ? 'too large to compare' : 'not readable'
}

/** `replaceable`: ours, of another time or stage, or nothing that could be lost. */
export type Owner = 'same' | 'replaceable' | 'newer' | 'otherCluster' | 'stranger'

/**
 * Whose a file on a node is. Deploy, install, prune and the views ask this table, and nothing else:
 *
 *   what is there           is ours if
 *   ----------------------  ----------------------------------------------------------------------------------------
 *   a leaf                  a CA of auth/ or its backup issued it, directly or through a CA in its file; or the backup
 *                           has it. Newer, if it begins later than that of auth/
 *   its key                 auth/ or its backup has it, or such a leaf is beside it
 *   a CA, the tokens' pair  each key in it is of auth/, or of a CA that is cross-signed with it: isOtherIdentity
 *   the encryption config   as a list of keys: isOtherEncryption
 *   a kubeconfig            it trusts such a CA, or one of the backup; where units read, it may name that by a file
 *   the list of revoked     it has our form
 *
 * A secret that can't be made again is compared by its digest alone: what equals a file of auth/backup is judged by that
 * copy, and anything else is of another cluster. So no such key leaves a node.
 */
export function ownerOf(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { file, state } = there
  if (state.sha256 !== undefined && state.sha256 === digestAt(run, there)) return 'same'
  const isIdentity = identityFiles(run.cluster).has(file)
  if (state.size === 0 || (state.kind === 'link' && !isIdentity)) return 'replaceable'
  const owner = isIdentity ? ownerOfIdentity(run, there) : ownerByKind(run, there, all)
  return owner === 'replaceable' && isNewer(run, there) ? 'newer' : owner
}

function ownerOfIdentity({ auth }: Run, { file, state, bytes }: FileOnNode): Owner {
  const isSecret = auth.files.mode(file) === secretMode
  const content = isSecret ? backups(auth, file).find((copy) => sha256(copy) === state.sha256) : bytes
  const isOurs = content && !isOtherIdentity(file, auth, content, (name) => backups(auth, name))
  return isOurs ? 'replaceable' : 'otherCluster'
}

function ownerByKind(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { auth } = run
  const { file, state, bytes, part, isPlace } = there
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  const ours = (isOurs: boolean): Owner => (isOurs || hasDigest(auth, file, state.sha256) ? 'replaceable' : 'stranger')
  // The login can't read it.
  if (!bytes && state.sha256 === undefined && state.size <= largestFile && kind !== 'key') return 'stranger'
  if (kind === 'authorization') return ours(!bytes || !isForeignAuthorization(bytes.toString()))
  if (kind === 'kubeconfig') {
    if (!bytes) return state.size > largestFile ? 'otherCluster' : 'replaceable'
    const trusted = readCertificates(part === 'ca' ? bytes : (readEmbedded(bytes.toString()).ca ?? ''))
    // Where units read, it may name its CA by a file.
    if (trusted.length === 0) return isPlace ? 'replaceable' : 'stranger'
    return isTrustOurs(auth, trusted) ? 'replaceable' : 'otherCluster'
  }
  if (kind === 'certificate') return ours(isIssuedByUs(auth, certificatesIn(auth, there)))
  const certificate = auth.files.certificate(name)
  const leaves = all.filter((each) => each.file === certificate && each.isPlace === isPlace)
  const beside = leaves.filter((each) => folderOf(each.at) === folderOf(there.at))
  return ours((beside.length > 0 ? beside : leaves).some((leaf) => ownerOf(run, leaf, all) !== 'stranger'))
}

/** By a CA of auth/ or its backup, directly or through a CA in the same file that one of these has signed. */
function isIssuedByUs(auth: AuthDir, [certificate, ...links]: readonly Certificate[]): boolean {
  if (!certificate) return false
  const isIssuer = (ca: Certificate) =>
    isIssuedBy(certificate, ca) || links.some((link) => isIssuedBy(link, ca) && isIssuedBy(certificate, link))
  const replaced = () =>
    caNames.flatMap((name) => backups(auth, auth.files.certificate(name)).flatMap(readCertificates))
  return ownCas(auth).some(isIssuer) || replaced().some(isIssuer)
}

/** True for one of our CAs, or one that preceded ours; and where auth/ has none. */
function isTrustOurs(auth: AuthDir, trusted: readonly Certificate[]): boolean {
  const ours = [...ownCas(auth), ...backups(auth, auth.files.certificate(caName)).flatMap(readCertificates)]
  const isKnown = (key: KeyObject) => ours.some(({ publicKey }) => publicKey.equals(key)) || isPreviousCa(key, auth)
  return ours.length === 0 || trusted.some(({ publicKey }) => isKnown(publicKey))
}

/** Signed later by our CA, or by one that ours has signed. What is not valid yet was issued with a wrong clock. */
function isNewer({ auth, now }: Run, there: FileOnNode): boolean {
  const { file, part } = there
  const [theirs, ...links] = part === 'ca' ? [] : certificatesIn(auth, there)
  const [ours] = certificatesIn(auth, { file, bytes: auth.tryBytes(file) })
  if (!theirs || !ours || theirs.notBefore <= ours.notBefore || theirs.notBefore > now) return false
  const cas = ownCas(auth)
  const issuers = [...cas, ...links.filter((link) => link.isCa && cas.some((ca) => isIssuedBy(link, ca)))]
  return issuers.some((ca) => isIssuedBy(theirs, ca))
}

/** Of a kubeconfig, or the pair of one, the client's. */
function certificatesIn({ files }: AuthDir, { file, bytes }: Pick<FileOnNode, 'file' | 'bytes'>): Certificate[] {
  if (!bytes) return []
  const isKubeconfig = files.parse(file)?.kind === 'kubeconfig'
  return readCertificates((isKubeconfig && readEmbedded(bytes.toString()).certificate) || bytes)
}

/** The files of that name that were kept when they were replaced, the latest first. */
type Kept = (file: string) => readonly Buffer[]

/**
 * False if theirs holds nothing that overwriting it with ours could lose; unequal or unreadable means another identity,
 * and an empty file holds nothing. Of a CA and of the service accounts' key one is ours, in the certificate or in its
 * key: from the key a lost certificate can be reissued. Any others were kept, or are of the CA that signed ours. Nothing
 * that is stored needs the front proxy's CA: one that was kept is out of date.
 */
export function isOtherIdentity(file: string, ours: AuthFiles, theirs: Buffer, kept: Kept = () => []): boolean {
  if (theirs.length === 0) return false
  return ours.files.parse(file)?.kind === 'encryption-config'
    ? isOtherEncryption(ours.tryBytes(file), theirs, kept(file)[0])
    : isOtherKey(file, ours, theirs, kept)
}

/** False if each key there is ours, or one that a rotation took out and that does not encrypt there. */
function isOtherEncryption(our: Buffer | undefined, their: Buffer, replaced: Buffer | undefined): boolean {
  const [ours, theirs] = [our, their].map((bytes) => bytes && readEncryptionConfig(bytes))
  if (!ours || !theirs || theirs.keys.length === 0) return true
  const isReplaced = replaced?.equals(their) === true
  const isOurs = (resource: string, key: EncryptionKey) =>
    ours.entries
      .find(({ resources }) => resources.includes(resource))
      ?.keys.some((each) => isDeepStrictEqual(each, key)) === true
  return theirs.entries.some(({ resources, keys }) =>
    resources.some((resource) => keys.some((key, i) => !isOurs(resource, key) && !(isReplaced && i > 0))),
  )
}

function isOtherKey(file: string, our: AuthFiles, their: Buffer, kept: Kept): boolean {
  const { files } = our
  const { name = '' } = files.parse(file) ?? {}
  const heldBy = (read: (each: string) => readonly (Buffer | undefined)[]) =>
    files.pair(name).flatMap((each) => read(each).flatMap((pem) => identityKeysIn(files, each, pem)))
  const [ours, earlier] = [heldBy((each) => [our.tryBytes(each)]), heldBy(kept)]
  const theirs = identityKeysIn(files, file, their)
  const isOurs = (key: KeyObject) => ours.some((each) => each.equals(key)) || isPreviousCa(key, our, name)
  const isKnown = (key: KeyObject) => isOurs(key) || earlier.some((each) => each.equals(key))
  return !theirs.some(name === frontProxyCaName ? isKnown : isOurs) || !theirs.every(isKnown)
}

/** True for the key of the CA before ours: it signed the cross certificate that we hold. */
export function isPreviousCa(key: KeyObject, ours: AuthFiles, ca: string = caName): boolean {
  const read = (name: string) => readCertificate(ours.tryBytes(ours.files.certificate(name)) ?? '')
  const [present, cross] = [read(ca), read(crossName(ca))]
  if (!present || !cross?.publicKey.equals(present.publicKey)) return false
  return !key.equals(present.publicKey) && cross.x509.verify(key)
}

/** The public keys of all certificates, or of the private key, in the file; none if one can't be read. */
function identityKeysIn(files: FileNames, file: string, pem: Buffer = Buffer.alloc(0)): KeyObject[] {
  if (files.parse(file)?.kind === 'certificate') return readCertificates(pem).map(({ publicKey }) => publicKey)
  const key = readPrivateKey(pem)
  return key ? [createPublicKey(key)] : []
}
