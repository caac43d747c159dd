/**
 * The targets of phase `install`, one a node, in the order of restarts, and before them the list of who is revoked.
 * What works on a node is loaded by the first check.
 */
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../../lib/files/auth-dir.ts'
import type { DeployFound } from '../../deploy/folder.ts'
import { deployId, placeOf } from '../../phases/deploy.ts'
import type { ClusterTarget } from '../../target.ts'
import type { ListFound } from '../revoked/on-node.ts'
import type { InstallFound } from './install-node.ts'
import type { UnitsFound } from './look-at-units.ts'
import { byTurn, installId, turnOf } from './turns.ts'

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
      wanted: { ...placeOf(node), ...install, units: [...install.units], own: node.units },
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
  const load = () => import('../revoked/on-node.ts')
  return nodes
    .filter(({ role }) => role === 'control')
    .map(
      (node): ClusterTarget<ListFound> => ({
        id: `revoked/${node.name}`,
        phase: 'install',
        node: node.name,
        needs: ['revoked', deployId(node)],
        makes: [],
        wanted: { list: authorizationConfigFile },
        where: 'node',
        check: async (run, _force, before) => {
          const copied = before?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
          return (await load()).checkList(run, node, copied?.units)
        },
        build: async (run, work) => (await load()).bringList({ run, node }, work),
      }),
    )
}
