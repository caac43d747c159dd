/** What `recover` reads: control nodes, or a backup of auth/. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import {
  type AuthDir,
  authorizationConfigFile,
  authorizationWebhookFile,
  caName,
  type FileNames,
  markersIn,
} from '../../lib/files/auth-dir.ts'
import { formatAuthorization, type RevokedList, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { isOtherIdentity } from '../../lib/kubernetes/identity.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, readCertificate } from '../../lib/pki/certificate.ts'
import { whyNotCompared } from '../deploy/owner.ts'
import { type NodeLook, placesOf, readNode, withList } from '../inspect/look.ts'
import { listPath, nodeFiles } from '../layouts/tables.ts'
import { listsOn, refusalOfKeys } from '../revoked/revoked.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { Run } from '../target.ts'

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, SourceFile>
  /** What the lists on the node have: in its folder, and where its API server reads one. */
  readonly revoked?: RevokedList
}

interface SourceFile {
  /** Absolute; it may be that nothing is there. */
  readonly path: string
  readonly bytes?: Buffer | undefined
  /** Why it was not read. */
  readonly unread?: string | undefined
  /** It was read where units read it. */
  readonly isPlaced?: boolean
}

export interface LookedAt {
  readonly node: ClusterNode
  readonly look: NodeLook
}

export interface Sources {
  readonly main: Holding
  /** The other control nodes. */
  readonly others: readonly Holding[]
  /** What `main` is from: a node, or a backup. */
  readonly source?: LookedAt
  readonly backup?: AuthDir
}

/**
 * Reads the control nodes. The connection to `node` stays open: its components are queried next. Throws a Failure if
 * that one can't be read; any other is left out with a note.
 */
export async function readNodes(run: CommandRun, node: ClusterNode): Promise<Sources> {
  const rest = run.cluster.nodes.filter(({ role, name }) => role === 'control' && name !== node.name)
  const read = (each: ClusterNode) =>
    run.limits.node(async () => {
      const look = await readNode(run, each)
      return { look, holding: holdingOf(run, each, look) }
    })
  const [main, ...results] = await Promise.allSettled([
    read(node),
    ...rest.map((each) => read(each).finally(() => run.disconnect(each))),
  ])
  run.signal.throwIfAborted()
  if (main.status === 'rejected') throw main.reason
  const others = results.flatMap((result) => {
    if (result.status === 'fulfilled') return [result.value.holding]
    if (!(result.reason instanceof Failure)) throw result.reason
    run.note(result.reason.message)
    return []
  })
  const { look, holding } = main.value
  return { main: { ...holding, files: newestOf(run, holding, others) }, others, source: { node, look } }
}

/** Another control node may have a certificate that was issued later, or list somebody else as revoked. */
function newestOf({ auth, cluster }: Run, main: Holding, others: readonly Holding[]): Holding['files'] {
  const files = new Map(main.files)
  const lists = [main, ...others].flatMap((each) => (each.revoked ? { where: each.where, ...each.revoked } : []))
  const withKeys = lists.find(({ keys }) => keys.length > 0)
  if (withKeys) throw refusalOfKeys(`${authorizationConfigFile} on ${withKeys.where}`, withKeys.keys)
  const listed = new Set(lists.flatMap(({ names }) => names))
  const text = formatAuthorization([...listed], listPath(cluster, authorizationWebhookFile))
  const name = authorizationConfigFile
  if (listed.size > 0) files.set(name, { path: name, ...files.get(name), bytes: Buffer.from(text) })
  const ca = readCertificate(files.get(auth.files.certificate(caName))?.bytes ?? '')
  const newest = (name: string, bytes: Buffer) =>
    others.reduce((held, other) => newer(auth.files, name, held, other.files.get(name)?.bytes, ca), bytes)
  return new Map(
    [...files].map(([name, held]) => [name, held.bytes ? { ...held, bytes: newest(name, held.bytes) } : held]),
  )
}

/** Of two certificates over one key the one that was issued later, if it holds all keys that the other does. */
function newer(files: FileNames, name: string, held: Buffer, other: Buffer | undefined, ca?: Certificate): Buffer {
  const [one, two] = [held, other ?? ''].map((pem) => readCertificate(pem))
  if (!one || !two?.publicKey.equals(one.publicKey) || two.notBefore <= one.notBefore) return held
  if (!other || !ca || !two.x509.verify(ca.publicKey)) return held
  const tryBytes = (file: string) => (file === name ? other : undefined)
  return isOtherIdentity(name, { files, tryBytes }, held) ? held : other
}

/** The files that its units read, which the cluster runs with; otherwise the deployed ones. */
export function holdingOf(run: Run, node: ClusterNode, look: NodeLook): Holding {
  // What was deployed may be older than what its units read.
  const places = placesOf(look)
  const pathOf = new Map(look.units.flatMap(({ files }) => files.map(({ file, path }) => [file, path])))
  const { files } = run.auth
  const inFolder = (name: string) => look.contents.get(name)
  const ca = readCertificate(inFolder(files.certificate(caName)) ?? '')
  const read = (name: string): SourceFile => {
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    const bytes = place ? places.contents.get(at) : inFolder(name)
    const held = { path: place ? at : join(look.folder ?? node.directory, name), isPlaced: place !== undefined }
    // Units read the service account's key alone, so its certificate may be older there.
    if (bytes) return { ...held, bytes: newer(files, name, bytes, inFolder(name), ca) }
    const there = place ?? look.files.get(name)
    return { ...held, unread: there && whyNotCompared(there) }
  }
  const names = nodeFiles(withList(run).cluster, node).filter((name) => files.parse(name)?.kind !== 'kubeconfig')
  const lists = listsOn(run, node, look).flatMap(({ bytes }) => readRevoked(bytes?.toString() ?? '') ?? [])
  const revoked = { names: lists.flatMap((each) => each.names), keys: lists.flatMap(({ keys }) => keys) }
  return { where: node.name, files: new Map(names.map((name) => [name, read(name)])), revoked }
}

/** Follows no link. Throws a Failure if there is no such directory. */
export function readBackup(folder: AuthDir, names: readonly string[]): Sources {
  const { path, files } = folder
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new Failure(`directory ${path} does not exist`, {
      remedy: `give the directory that contains ${files.certificate(caName)}`,
    })
  // Without it, a version that would misread these files runs.
  const markers = markersIn(folder)
  const read = (name: string): SourceFile => {
    const file = folder.read(name)
    const found = file?.kind === 'file' ? { bytes: file.bytes } : { unread: file && 'not a regular file' }
    return { path: join(path, name), ...found }
  }
  const main = { where: path, files: new Map([...markers, ...names].map((name) => [name, read(name)])) }
  return { main, others: [], backup: folder }
}
