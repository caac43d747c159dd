/** What a node, or a folder, holds of auth/. Reads only. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { readFiles } from '../../nodes/look.ts'
import { whyNotCompared } from '../../nodes/verdict.ts'
import { nodeFiles } from '../../tables/files.ts'

export interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
  /** What stands there and was not read, each with the reason. */
  readonly unread: ReadonlyMap<string, string>
}

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
      holdings.set(node.name, await readNode(workspace, node))
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

async function readNode(workspace: Workspace, node: ClusterNode): Promise<Holding> {
  const names = nodeFiles(node)
  const { files, contents } = await readFiles(workspace, node, names)
  const unread = names.flatMap((name): [string, string][] => {
    const there = files.get(name)
    return there && !contents.has(name) ? [[name, whyNotCompared(there)]] : []
  })
  return { where: node.name, files: contents, unread: new Map(unread) }
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
  return { where: path, files, unread }
}
