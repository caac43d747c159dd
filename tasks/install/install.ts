/**
 * The targets of phase `install`, one a node, in the order of restarts, and before them the list of who is revoked.
 * Gateways restart first: they must trust a new CA before an API server serves by it. Then control nodes one at a time,
 * then workers. What works on a node is loaded by the first check.
 */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import { isLost, Skipped, type Waiting } from '../../lib/graph/target.ts'
import { hasVerb } from '../../lib/results.ts'
import type { DeployFound } from '../deploy/folder.ts'
import { deployId, placeOf } from '../phases/deploy.ts'
import type { ListFound } from '../revoked/revoked.ts'
import type { ClusterTarget } from '../target.ts'
import type { InstallFound } from './install-node.ts'
import type { UnitsFound } from './look-at-units.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const { install, nodes } = cluster
  if (!install) return []
  const lists = listTargets(cluster)
  const load = () => import('./install-node.ts')
  const installs = byTurn(nodes).map(
    (node): ClusterTarget<InstallFound> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      makes: [],
      desired: { ...placeOf(node), ...install, units: [...install.units], own: node.units },
      where: 'node',
      check: async (run, force, earlier) => {
        await Promise.all(lists.map(({ id }) => earlier?.ended(id)))
        const before = earlier?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
        return (await load()).checkUnits({ run, node }, { force, before })
      },
      waitForTurn: turnOf(node, nodes),
      build: async (run, work) => (await load()).updateUnits({ run, node }, work),
      release: (run) => run.disconnect(node),
    }),
  )
  return [...lists, ...installs]
}

/** The list of who is revoked, from auth/ to each API server, without a restart. */
function listTargets({ nodes, install, revoked }: Cluster): ClusterTarget[] {
  if (!install || !revoked) return []
  const load = () => import('../revoked/revoked.ts')
  return nodes
    .filter(({ role }) => role === 'control')
    .map(
      (node): ClusterTarget<ListFound> => ({
        id: `revoked/${node.name}`,
        phase: 'install',
        node: node.name,
        needs: ['revoked', deployId(node)],
        makes: [],
        desired: { list: authorizationConfigFile },
        where: 'node',
        check: async (run, _force, before) => {
          const copied = before?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
          return (await load()).checkList(run, node, copied?.units)
        },
        build: async (run, work) => (await load()).bringList({ run, node }, work),
      }),
    )
}

const roles: readonly ClusterNode['role'][] = ['gateway', 'control', 'worker']

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/** Who waits for a turn holds a connection, so those before it have to begin before it. */
export function byTurn(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.toSorted((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role))
}

/** Throws Skipped if a node before it was lost, or its restart failed. Without a restart it need not wait. */
export function turnOf(node: ClusterNode, nodes: readonly ClusterNode[]) {
  const isBefore = (other: ClusterNode) =>
    other.role === node.role
      ? other.role === 'control' && nodes.indexOf(other) < nodes.indexOf(node)
      : roles.indexOf(other.role) < roles.indexOf(node.role)
  const before = nodes.filter(isBefore).map(installId)
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
