/**
 * The order of restarts. Gateways first: they must trust a new CA before an API server serves by it. Then control nodes
 * one at a time, then workers.
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isLost, Skipped, type Waiting } from '../../../lib/graph/target.ts'
import { hasVerb } from '../../../lib/results.ts'

const roles: readonly ClusterNode['role'][] = ['gateway', 'control', 'worker']

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/** Who waits for a turn holds a connection, so those before it have to begin before it. */
export function byTurn(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.toSorted((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role))
}

/** The targets of the nodes that restart before it. */
function restartedBefore(node: ClusterNode, nodes: readonly ClusterNode[]): string[] {
  const isBefore = (other: ClusterNode) =>
    other.role === node.role
      ? other.role === 'control' && nodes.indexOf(other) < nodes.indexOf(node)
      : roles.indexOf(other.role) < roles.indexOf(node.role)
  return nodes.filter(isBefore).map(installId)
}

/**
 * `waitForTurn` of the node's target. Throws Skipped for a restart if a node before it was lost, and for what needs no
 * restart if the work on one has failed. Workers that restart nothing need not wait.
 */
export function turnOf(node: ClusterNode, nodes: readonly ClusterNode[]) {
  const before = restartedBefore(node, nodes)
  return async ({ diffs, force, earlier, wait }: Waiting): Promise<boolean> => {
    const restarts = force !== undefined || hasVerb(diffs, 'restart', 'undrain')
    // A unit that does not reload is restarted after all, so control nodes take turns in any case.
    if (!restarts && node.role === 'worker') return false
    const turns = before.filter((id) => earlier.ended(id))
    if (turns.some((id) => !earlier.rows.has(id))) wait()
    const rows = await Promise.all(turns.flatMap((id) => earlier.ended(id) ?? []))
    const lost = rows.filter((row) => isLost(row) && (restarts || (row.state === 'failed' && row.isBegun)))
    if (lost.length > 0) throw new Skipped(lost.map(({ id }) => id))
    return rows.some(({ state }) => state === 'built')
  }
}
