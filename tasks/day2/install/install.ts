/**
 * The targets of phase `install`, one a node, in the order of restarts, and before them the list of who is revoked.
 * What works on a node is loaded by the first check.
 */
import type { Cluster, ClusterNode } from '../../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../../lib/files/auth-dir.ts'
import { isLost, Skipped, type Work } from '../../../lib/graph/target.ts'
import type { DeployFound } from '../../deploy/deploy-node.ts'
import { deployId, placeOf } from '../../phases/deploy.ts'
import type { ClusterTarget } from '../../target.ts'
import type { InstallFound } from './install-node.ts'
import type { UnitsFound } from './look-at-units.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const { install, nodes } = cluster
  if (!install) return []
  const lists = listTargets(cluster)
  const load = () => import('./install-node.ts')
  const inOrder = nodes.toSorted((a, b) => roles.indexOf(a.role) - roles.indexOf(b.role))
  const installs = inOrder.map(
    (node): ClusterTarget<InstallFound> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      makes: [],
      wanted: { ...placeOf(node), ...install, units: [...install.units], own: node.units },
      where: 'node',
      check: async (run, force, earlier) => {
        await Promise.all(lists.map(({ id }) => earlier?.ended(id)))
        const before = earlier?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
        return (await load()).checkUnits({ run, node }, { force, before })
      },
      build: async (run, work) => {
        const { checkUnits, updateUnits } = await load()
        const isInTurn = work.force || work.reasons.some((each) => each.kind !== 'unit' || each.restarts)
        if (!isInTurn || !(await waitForTurn(work, restartedBefore(node, nodes))))
          return updateUnits({ run, node }, work)
        // Much may have happened while others were restarted: what is wrong is looked at again.
        const { reasons, found = work.found } = await checkUnits(
          { run, node },
          { force: work.force, before: undefined },
        )
        return updateUnits({ run, node }, { ...work, reasons, found })
      },
      release: (run) => run.disconnect(node),
    }),
  )
  return [...lists, ...installs]
}

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/**
 * The order of restarts. Gateways first: they must trust a new CA before an API server serves by it. Then control nodes
 * one at a time, then workers.
 */
const roles: readonly ClusterNode['role'][] = ['gateway', 'control', 'worker']

function restartedBefore(node: ClusterNode, nodes: readonly ClusterNode[]): string[] {
  const isBefore = (other: ClusterNode) =>
    other.role === node.role
      ? other.role === 'control' && nodes.indexOf(other) < nodes.indexOf(node)
      : roles.indexOf(other.role) < roles.indexOf(node.role)
  return nodes.filter(isBefore).map(installId)
}

/**
 * A renewal that needs no restart does not wait. Returns whether something was changed meanwhile; throws Skipped if a
 * node before it was lost.
 */
async function waitForTurn({ earlier, signal, tell }: Work<InstallFound>, before: readonly string[]): Promise<boolean> {
  const turns = before.filter((id) => earlier.ended(id))
  if (turns.some((id) => !earlier.rows.has(id))) tell({ doing: 'waiting' })
  const rows = await Promise.all(turns.flatMap((id) => earlier.ended(id) ?? []))
  signal.throwIfAborted()
  const lost = rows.filter(isLost).map(({ id }) => id)
  if (lost.length > 0) throw new Skipped(lost)
  return rows.some(({ kind }) => kind === 'built')
}

/** The list of who is revoked, from auth/ to each API server, without a restart. */
function listTargets({ nodes, install, revoked }: Cluster): ClusterTarget[] {
  if (!install || !revoked) return []
  const load = () => import('../revoked/on-node.ts')
  return nodes
    .filter(({ role }) => role === 'control')
    .map(
      (node): ClusterTarget<UnitsFound> => ({
        id: `revoked/${node.name}`,
        phase: 'install',
        node: node.name,
        needs: ['revoked', deployId(node)],
        makes: [],
        wanted: { list: authorizationConfigFile },
        where: 'node',
        check: async (run, _force, before) => {
          const copied = before?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
          const { reasons, ...checked } = await (await load()).checkList(run, node, copied?.units)
          // `deploy` has copied it to the node's folder, or will.
          return { ...checked, reasons: reasons.filter(({ kind }) => kind !== 'on-node') }
        },
        build: async (run, work) => (await load()).bringList({ run, node }, work),
      }),
    )
}
