/**
 * Directories that cluster.yaml no longer has for a node, as deploys have recorded them in the login user's home: what
 * is left there. The record is that user's: it only says where to look.
 */
import { basename } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { backups, caName, hasDigest, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { sha256 } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/target.ts'
import { folderOf } from '../../lib/node/place.ts'
import { type Entry, entryLine, isEntry, type NodeState, realPath } from '../../lib/node/state.ts'
import type { Finding } from '../../lib/reason.ts'
import { quote } from '../../lib/wording.ts'
import { isKeptOff } from '../layouts/tables.ts'
import { digestOf, type NodeLook } from '../looks/look.ts'

/** Entries of this cluster, whatever its ca.pem was then. */
function ownEntries({ auth }: Run, { recorded }: NodeState): Entry[] {
  if (recorded.length === 0) return []
  const ca = auth.files.certificate(caName)
  const digests = new Set([auth.tryBytes(ca) ?? [], ...backups(auth, ca)].flat().map(sha256))
  return recorded.filter(({ digest }) => digests.has(digest))
}

/** `known`: names of our files, wherever they belong. */
export function checkRecord(run: Run, node: ClusterNode, look: NodeLook, known: ReadonlySet<string>) {
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
  const filesIn = (each: Entry) =>
    isHere(each)
      ? [...formerNodes].filter((name) => look.files.has(name))
      : filesLeft(run, look, each.directory).filter((name) => known.has(name) || formerNodes.has(name))
  const elsewhere = new Map(former.flatMap((each) => (isHere(each) ? [] : [[each.directory, filesIn(each)]])))
  return {
    /** Names of files of nodes that are no longer in cluster.yaml. */
    formerNodes,
    findings: [...elsewhere].flatMap(([directory, files]) => findLeft(run, node, look, { directory, files })),
    /** Entries whose directory has nothing of ours any more. */
    empty: former.filter((each) => filesIn(each).length === 0),
  }
}

/** With our CA beside it, a file is ours by its name: kubeconfigs are issued again. */
function filesLeft({ auth }: Run, { files }: NodeState, directory: string): string[] {
  const ca = auth.files.certificate(caName)
  const isOurs = hasDigest(auth, ca, files.get(`${directory}/${ca}`)?.sha256)
  return [...files].flatMap(([at, { kind, sha256 }]) => {
    const name = basename(at)
    const isIn = kind === 'file' && folderOf(at) === directory
    return isIn && (isOurs || hasDigest(auth, name, sha256)) ? [name] : []
  })
}

/** Left to its user, with the command that removes what no unit of the node reads. */
function findLeft(
  run: Run,
  node: ClusterNode,
  look: NodeLook,
  { directory, files }: { readonly directory: string; readonly files: readonly string[] },
): Finding[] {
  const left = files.filter((file) => !isRead(look, `${directory}/${file}`))
  if (left.length === 0 || isAuth(run, look, directory)) return []
  const text = `remove what deploys left in the former directory ${directory}, once nothing reads it`
  const remedy = `cd ${quote(directory)} && rm ${left.map(quote).join(' ')}`
  const why = 'cluster.yaml no longer has its directory'
  return left.map(
    (file, i): Finding => ({
      ...(i === 0 ? { owner: 'user', text, remedy } : { owner: 'run', text, isSilent: true }),
      nodes: [node.name],
      left: { file, path: `${directory}/${file}`, why, ...(isKeptOff(run.cluster, file) && { isKeptOff: true }) },
    }),
  )
}

function isRead({ units, places }: NodeLook, path: string): boolean {
  if (!places || places instanceof Failure) return false
  const read = units.flatMap(({ files, contradicted, unlistedFlags }) => [...files, ...contradicted, ...unlistedFlags])
  return read.some((each) => realPath(places, each.path) === path)
}

/** The auth/ of this run, or another whole one: a deploy copies the admin's key to no node. */
function isAuth({ auth }: Run, { files, former }: NodeState, directory: string): boolean {
  const key = auth.files.key(auth.files.names.admin)
  return files.has(`${directory}/${key}`) || auth.id().startsWith(`${former.get(directory)} `)
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
