/**
 * The order of restarts. Gateways first: they must trust a new CA before an API server serves by it. Then control nodes
 * one at a time, then workers.
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isLost, Skipped, type Work } from '../../../lib/graph/target.ts'

const roles: readonly ClusterNode['role'][] = ['gateway', 'control', 'worker']

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/** Who waits for a turn holds a connection, so those before it have to begin before it. */
export function byTurn(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.toSorted((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role))
}

/** The targets of the nodes that restart before it. */
export function restartedBefore(node: ClusterNode, nodes: readonly ClusterNode[]): string[] {
  const isBefore = (other: ClusterNode) =>
    other.role === node.role
      ? other.role === 'control' && nodes.indexOf(other) < nodes.indexOf(node)
      : roles.indexOf(other.role) < roles.indexOf(node.role)
  return nodes.filter(isBefore).map(installId)
}

/**
 * Returns whether something was changed meanwhile. Throws Skipped for a restart if a node before it was lost, and for
 * what needs no restart if the work on one has failed. Workers that restart nothing need not wait.
 */
export async function waitForTurn(
  { earlier, signal, tell }: Work,
  before: readonly string[],
  { restarts }: { readonly restarts: boolean },
): Promise<boolean> {
  const turns = before.filter((id) => earlier.ended(id))
  if (turns.some((id) => !earlier.rows.has(id))) tell({ doing: 'waiting' })
  const rows = await Promise.all(turns.flatMap((id) => earlier.ended(id) ?? []))
  signal.throwIfAborted()
  const lost = rows.filter((row) => isLost(row) && (restarts || (row.kind === 'failed' && row.isBegun)))
  if (lost.length > 0) throw new Skipped(lost.map(({ id }) => id))
  return rows.some(({ kind }) => kind === 'built')
}
