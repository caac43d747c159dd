/**
 * Whose a file on a node is. Deploy, install, prune and the views ask this table, and nothing else:
 *
 *   what is there           is ours if
 *   ----------------------  ----------------------------------------------------------------------------------------
 *   a leaf                  a CA of auth/ or its backup issued it, directly or through a CA in its file; or the backup
 *                           has it. Newer, if it begins later than that of auth/
 *   its key                 auth/ or its backup has it, or such a leaf is beside it
 *   a CA, the tokens' pair  each key in it is of auth/, or of a CA that is cross-signed with it: identity.ts
 *   the encryption config   as a list of keys: identity.ts
 *   a kubeconfig            it trusts such a CA, or one of the backup; where units read, it may name that by a file
 *   the list of revoked     it has our form
 *
 * A secret that can't be made again is compared by its digest alone: what equals a file of auth/backup is judged by that
 * copy, and anything else is of another cluster. So no such key leaves a node.
 */
import type { KeyObject } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { type AuthDir, backups, caName, caNames, hasDigest } from '../../lib/files/auth-dir.ts'
import { secretMode, sha256 } from '../../lib/files/plain-file.ts'
import { isForeignAuthorization } from '../../lib/kubernetes/authorization.ts'
import { isOtherIdentity, isPreviousCa } from '../../lib/kubernetes/identity.ts'
import { type Part, readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type FileState, type FilesSeen, folderOf, largestFile } from '../../lib/node/place.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, isIssuedBy, readCertificates } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { digestAt, type NodeLook } from '../inspect/look.ts'
import { identityFiles, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

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

/** `earlier`: ours, of another time or stage. */
export type Owner = 'same' | 'earlier' | 'newer' | 'otherCluster' | 'stranger'

/** `all`: what the look has found, for the certificate beside a key. */
export function ownerOf(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { file, state } = there
  if (state.sha256 !== undefined && state.sha256 === digestAt(run, there)) return 'same'
  const isIdentity = identityFiles(run.cluster).has(file)
  // Nothing could be lost.
  if (state.size === 0 || (state.kind === 'link' && !isIdentity)) return 'earlier'
  const owner = isIdentity ? ownerOfIdentity(run, there) : ownerByKind(run, there, all)
  return owner === 'earlier' && isNewer(run, there) ? 'newer' : owner
}

function ownerOfIdentity({ auth }: Run, { file, state, bytes }: FileOnNode): Owner {
  const isSecret = auth.files.mode(file) === secretMode
  const content = isSecret ? backups(auth, file).find((copy) => sha256(copy) === state.sha256) : bytes
  const isOurs = content && !isOtherIdentity(file, auth, content, (name) => backups(auth, name))
  return isOurs ? 'earlier' : 'otherCluster'
}

function ownerByKind(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { auth } = run
  const { file, state, bytes, part, isPlace } = there
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  const ours = (isOurs: boolean): Owner => (isOurs || hasDigest(auth, file, state.sha256) ? 'earlier' : 'stranger')
  // The login can't read it.
  if (!bytes && state.sha256 === undefined && state.size <= largestFile && kind !== 'key') return 'stranger'
  if (kind === 'authorization') return ours(!bytes || !isForeignAuthorization(bytes.toString()))
  if (kind === 'kubeconfig') {
    if (!bytes) return state.size > largestFile ? 'otherCluster' : 'earlier'
    const trusted = readCertificates(part === 'ca' ? bytes : (readEmbedded(bytes.toString()).ca ?? ''))
    // Where units read, it may name its CA by a file.
    if (trusted.length === 0) return isPlace ? 'earlier' : 'stranger'
    return isTrustOurs(auth, trusted) ? 'earlier' : 'otherCluster'
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
