/** What a node, or a folder, holds of auth/. Reads only. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { joinParts } from '../../../lib/kubernetes/kubeconfig.ts'
import { realPath } from '../../../lib/remote/answer.ts'
import { whyNotCompared } from '../../nodes/guards.ts'
import { placesOf, readNode } from '../../nodes/look.ts'
import { nodeFiles } from '../../tables/files.ts'
import { nodeUnits } from '../../tables/places.ts'

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
  /** What stands there and was not read, each with the reason. */
  readonly unread: ReadonlyMap<string, string>
  /** Ports of the node on which a process listens. */
  readonly listening: ReadonlySet<number>
}

/** Bytes; ours have some ten thousand. It bounds the time that the YAML parser spends on a node's kubeconfig. */
const largest = 32 * 1024

export interface Sources {
  /** What has all that is no node's own; all of it, where there are no nodes. */
  readonly main: Holding
  readonly nodes?: ReadonlyMap<string, Holding>
  /** The one that `main` is. */
  readonly node?: ClusterNode
}

/**
 * Every node that has a certificate. The connection to `node` stays open: what runs there is queried next. Throws a Failure
 * where that one can't be read; another one is left out with a note.
 */
export async function readNodes(
  workspace: Workspace,
  node: ClusterNode,
  limit: LimitFunction,
  signal: AbortSignal,
): Promise<Sources> {
  const nodes = workspace.cluster.nodes.filter(({ role }) => role !== 'gateway')
  const read = (each: ClusterNode) =>
    readHolding(workspace, each).finally(() => (each === node ? undefined : workspace.disconnect(each)))
  const results = await Promise.allSettled(nodes.map((each) => limit(() => read(each))))
  signal.throwIfAborted()
  const holdings = new Map<string, Holding>()
  for (const [i, result] of results.entries())
    if (result.status === 'fulfilled') holdings.set(result.value.where, result.value)
    else if (nodes[i] === node || !(result.reason instanceof Failure)) throw result.reason
    else workspace.note(result.reason.message)
  return { main: holdings.get(node.name) as Holding, nodes: holdings, node }
}

/** What its units read, which the cluster runs with; else what was deployed. */
async function readHolding(workspace: Workspace, node: ClusterNode): Promise<Holding> {
  const { install } = workspace.cluster
  const units = nodeUnits(node, install || { units: new Map() })
  const look = await readNode(
    workspace,
    node,
    units.flatMap(({ serves }) => serves.map(({ port }) => port)),
  )
  // What was deployed may be older than what its units read.
  const places = placesOf(look)
  const placed = units.flatMap(({ files }) => files)
  const pathsOf = (isPair: boolean) =>
    new Map(placed.filter(({ part }) => (part === 'pair') === isPair).map(({ file, path }) => [file, path]))
  const [pathOf, pairPathOf] = [pathsOf(false), pathsOf(true)]
  const files = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  for (const name of nodeFiles(node)) {
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    const pair = places.contents.get(realPath(places, pairPathOf.get(name) ?? ''))
    const bytes = place ? whole(places.contents.get(at), pair) : look.folder.contents.get(name)
    const there = place ?? look.folder.files.get(name)
    if (bytes && bytes.length <= largest) files.set(name, bytes)
    else if (there) unread.set(name, whyNotCompared(there))
  }
  return { where: node.name, files, unread, listening: places.listening }
}

/** A kubeconfig with its pair, which units read from a file of its own. */
function whole(text: Buffer | undefined, pair: Buffer | undefined): Buffer | undefined {
  const joined = text && pair && joinParts(text.toString(), pair)
  return joined === undefined ? text : Buffer.from(joined)
}

export function readFolder(path: string, names: readonly string[]): Holding {
  const folder = new AuthDir(path)
  const files = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  for (const name of names) {
    const file = folder.read(name)
    if (file?.kind === 'file') files.set(name, file.bytes)
    else if (file) unread.set(name, 'not a plain file')
  }
  return { where: path, files, unread, listening: new Set() }
}
