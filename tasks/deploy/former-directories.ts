/**
 * Directories that cluster.yaml no longer has for a node, as deploys have recorded them in the login user's home: what
 * is left there. The record is that user's: it only says where to look.
 */
import { realpathSync } from 'node:fs'
import { basename } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { backups, caName, hasDigest, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { sha256 } from '../../lib/files/plain-file.ts'
import { folderOf } from '../../lib/node/place.ts'
import { type Entry, entryLine, isEntry, type NodeState, realPath } from '../../lib/node/state.ts'
import type { Finding } from '../../lib/results.ts'
import { pasteable, quote } from '../../lib/wording.ts'
import { digestOf, type NodeLook } from '../inspect/look.ts'
import { isKeptOff, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

/** Entries of this cluster, whatever its ca.pem was then. */
function ownEntries({ auth }: Run, { recorded }: NodeState): Entry[] {
  if (recorded.length === 0) return []
  const ca = auth.files.certificate(caName)
  const digests = new Set([auth.tryBytes(ca) ?? [], ...backups(auth, ca)].flat().map(sha256))
  return recorded.filter(({ digest }) => digests.has(digest))
}

export function checkRecord(run: Run, node: ClusterNode, look: NodeLook) {
  const { auth, cluster } = run
  const own = ownEntries(run, look)
  const others = cluster.nodes.filter((each) => each !== node)
  // Another node may be on this machine, or have this home; it may not have been deployed to what cluster.yaml has now.
  const inUse = others.map(({ name }) => own.findLast((each) => each.node === name)?.directory)
  const isHere = (each: Entry) => each.directory === look.folder
  const entries = own.filter(
    (each) => !others.some(({ name }) => name === each.node) && !inUse.includes(each.directory),
  )
  const former = entries.filter((each) => !(isHere(each) && each.node === node.name))
  // A node was renamed, or the machine used to be another node.
  const names = new Set(former.flatMap((each) => (each.node === node.name ? [] : each.node)))
  const formerNodes = new Set([...names].flatMap((name) => [...auth.files.pair(name), kubeconfigFile(name)]))
  const couldHave = new Set([...namesOf(run, node), ...formerNodes])
  const filesIn = (each: Entry) =>
    isHere(each)
      ? [...formerNodes].filter((name) => look.files.has(name))
      : filesLeft(run, look, each.directory, couldHave)
  const elsewhere = new Map(
    former.flatMap((each) => (isHere(each) || isInAuth(run, each) ? [] : [[each.directory, filesIn(each)]])),
  )
  return {
    /** Names of files of nodes that are no longer in cluster.yaml. */
    formerNodes,
    findings: [...elsewhere].flatMap(([directory, files]) => findLeft(run, node, look, { directory, files })),
    /** Entries whose directory has nothing of ours any more. */
    empty: former.filter((each) => filesIn(each).length === 0 && !look.shared.has(each.directory)),
  }
}

/** All that the node may have been given, whatever cluster.yaml had switched on. */
function namesOf({ cluster }: Run, node: ClusterNode): string[] {
  const certificates = { ...cluster.certificates, caKeyOnNodes: true }
  const etcd = { ...cluster.etcd, ca: 'own' as const }
  return nodeFiles({ ...cluster, certificates, etcd, aggregation: true, revoked: [] }, node)
}

/** The auth/ of this run, or a folder in it: a node may be this machine, or say so. */
function isInAuth({ auth }: Run, { directory }: Entry): boolean {
  return `${directory}/`.startsWith(`${realpathSync(auth.path)}/`)
}

/**
 * The login user's: by their digest, which nobody knows of a key without it; or with our CA beside them by name, of
 * those that the node may have had: kubeconfigs are issued again.
 */
function filesLeft({ auth }: Run, { files, uid }: NodeState, directory: string, names: ReadonlySet<string>): string[] {
  const ca = auth.files.certificate(caName)
  const isOurs = hasDigest(auth, ca, files.get(`${directory}/${ca}`)?.sha256)
  return [...files].flatMap(([at, { kind, sha256, ...access }]) => {
    const name = basename(at)
    const isIn = kind === 'file' && access.uid === uid && folderOf(at) === directory
    return isIn && ((isOurs && names.has(name)) || hasDigest(auth, name, sha256)) ? [name] : []
  })
}

/**
 * Left to its user; with the command only where no other user can have it remove something else, and nothing is known
 * to read files there.
 */
function findLeft(
  run: Run,
  node: ClusterNode,
  look: NodeLook,
  { directory, files }: { readonly directory: string; readonly files: readonly string[] },
): Finding[] {
  const { shared, places, units, otherProcesses } = look
  const at = { nodes: [node.name] }
  if (shared.has(directory)) {
    const text = `look at the former directory ${directory}, which other users could change, and remove what nothing reads; then its line in ~/.harderway.directories`
    return [{ owner: 'user', text, ...at }]
  }
  const seen = places && !(places instanceof Failure) ? places : undefined
  const read = [
    ...units.flatMap(({ files, contradicted, unlistedFlags }) => [...files, ...contradicted, ...unlistedFlags]),
    ...otherProcesses.flatMap(({ names }) => names),
  ].map(({ path }) => (seen ? realPath(seen, path) : path))
  const left = files.filter((file) => !read.includes(`${directory}/${file}`))
  // A whole auth/: a deploy copies the admin's key to no node.
  const { auth, cluster } = run
  if (left.length === 0 || look.files.has(`${directory}/${auth.files.key(auth.files.names.admin)}`)) return []
  // What a component of no unit reads is not known, whether cluster.yaml leaves it out or not.
  const isKnown = seen !== undefined && !otherProcesses.some(({ component }) => component !== undefined)
  const isUnread = isKnown && !read.some((path) => folderOf(path) === directory)
  const what = `remove what deploys left in the former directory ${directory}, once nothing reads it`
  const text = isUnread ? what : `${what} (${left.join(', ')})`
  const remedy = isUnread ? { remedy: pasteable(`cd ${quote(directory)} && rm ${left.map(quote).join(' ')}`) } : {}
  const why = 'cluster.yaml no longer has its directory'
  return left.map(
    (file, i): Finding => ({
      ...(i === 0 ? { owner: 'user', text, ...remedy } : { owner: 'run', text, isSilent: true }),
      ...at,
      left: { file, path: `${directory}/${file}`, why, ...(isKeptOff(cluster, file) && { isKeptOff: true }) },
    }),
  )
}

/** What a deploy to that directory changes in the record; undefined if nothing, or if the record can't have its path. */
export function changeRecord(
  run: Run,
  node: ClusterNode,
  look: NodeState,
  { directory, empty }: { readonly directory: string; readonly empty: readonly Entry[] },
): { readonly entry: Entry; readonly void: readonly Entry[] } | undefined {
  const entry = { node: node.name, digest: digestOf(run, run.auth.files.certificate(caName)) ?? '', directory }
  const own = ownEntries(run, look).filter((each) => each.node === node.name)
  const earlier = own.filter((each) => each.directory === directory && each.digest !== entry.digest)
  const last = own.at(-1)
  const isLast = last !== undefined && entryLine(last) === entryLine(entry)
  const isRight = isLast && empty.length + earlier.length === 0
  return isRight || !isEntry(entry) ? undefined : { entry, void: [...empty, ...earlier] }
}
