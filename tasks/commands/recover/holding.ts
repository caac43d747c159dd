/** What a node, or a folder, holds of auth/. Reads only. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { whyNotCompared } from '../../nodes/guards.ts'
import { readNode } from '../../nodes/look.ts'
import { realPath } from '../../nodes/units.ts'
import { nodeFiles } from '../../tables/files.ts'
import { nodeUnits } from '../../tables/places.ts'

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
  /** What stands there and was not read, each with the reason. */
  readonly unread: ReadonlyMap<string, string>
  /** Why it is not known what the node's units read. */
  readonly hidden?: string
  /** Ports of the node on which a process listens. */
  readonly listening: ReadonlySet<number>
}

/** Bytes: one of ours has some ten thousand. It may be a kubeconfig of a node's: the parser's time has a bound. */
const largest = 32 * 1024

export interface Nodes {
  readonly holdings: ReadonlyMap<string, Holding>
  /** Those that could not be looked at. */
  readonly lost: ReadonlyMap<string, Failure>
}

/** Every node that has a certificate. The connection to `kept` stays open: more is asked there. */
export async function readNodes(workspace: Workspace, limit: LimitFunction, kept: ClusterNode): Promise<Nodes> {
  const holdings = new Map<string, Holding>()
  const lost = new Map<string, Failure>()
  const read = async (node: ClusterNode) => {
    try {
      holdings.set(node.name, await readHolding(workspace, node))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      lost.set(node.name, error)
    } finally {
      if (node !== kept) await workspace.disconnect(node)
    }
  }
  await Promise.all(
    workspace.cluster.nodes.filter(({ role }) => role !== 'gateway').map((node) => limit(() => read(node))),
  )
  return { holdings, lost }
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
  const places = look.places instanceof Failure ? undefined : look.places
  const pathOf = new Map(units.flatMap(({ files }) => files.map(({ file, path }) => [file, path] as const)))
  const files = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  for (const name of nodeFiles(node)) {
    const at = realPath({ real: places?.real ?? new Map() }, pathOf.get(name) ?? '')
    const place = places?.files.get(at)
    const bytes = place ? places?.contents.get(at) : look.folder.contents.get(name)
    const there = place ?? look.folder.files.get(name)
    if (bytes && bytes.length <= largest) files.set(name, bytes)
    else if (there) unread.set(name, whyNotCompared(there))
  }
  const hidden =
    look.places instanceof Failure ? look.places.message : install ? undefined : 'cluster.yaml has no install'
  return {
    where: node.name,
    files,
    unread,
    ...(hidden !== undefined && { hidden }),
    listening: places?.listening ?? new Set(),
  }
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
