/**
 * The targets of phase `install`, one a node, in the order of restarts, and before them the list of who is revoked.
 * What works on a node is loaded by the first check.
 */
import type { Cluster, ClusterNode } from '../../../lib/cluster/cluster.ts'
import { authorizationConfigFile } from '../../../lib/files/auth-dir.ts'
import { isLost, type Waiting } from '../../../lib/graph/target.ts'
import type { DeployFound } from '../../deploy/deploy-node.ts'
import { deployId, placeOf } from '../../phases/deploy.ts'
import type { ClusterTarget } from '../../target.ts'
import type { InstallFound } from './install-node.ts'
import type { UnitsFound } from './look-at-units.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const { install, nodes } = cluster
  if (!install) return []
  const idsOf = (role: ClusterNode['role']) => nodes.filter((node) => node.role === role).map(installId)
  const [gateways, controls] = [idsOf('gateway'), idsOf('control')]
  const inLists = listTargets(cluster)
  const lists = inLists.map(({ id }) => id)
  const load = () => import('./install-node.ts')
  const installs = nodes.map(
    (node): ClusterTarget<InstallFound> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      after: [...afterOf(node, gateways, controls), ...lists],
      waitsFor: (before) => holdingInstall(before, afterOf(node, gateways, controls)),
      makes: [],
      wanted: { ...placeOf(node), ...install, units: [...install.units], own: node.units },
      where: 'node',
      check: async (run, force, earlier) => {
        const before = earlier?.found.get(deployId(node)) as DeployFound<UnitsFound> | undefined
        return (await load()).checkUnits({ run, node }, { force, before })
      },
      build: async (run, work) => (await load()).updateUnits({ run, node }, work),
      foresee: async (run, work) => (await load()).foreseeUnits({ run, node }, work),
      release: (run) => run.disconnect(node),
    }),
  )
  return [...inLists, ...installs]
}

export function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/**
 * Gateways first: they must trust a new CA before an API server serves by it. Then control nodes one at a time, then
 * workers.
 */
function afterOf(node: ClusterNode, gateways: readonly string[], controls: readonly string[]): readonly string[] {
  const before = {
    gateway: [],
    control: [...gateways, ...controls.slice(0, controls.indexOf(installId(node))).slice(-1)],
    worker: [...gateways, ...controls],
  }
  return before[node.role]
}

/** The order is that of restarts: a renewal, which needs none, does not wait for a node that is down. */
function holdingInstall({ outcomes, hasStopped, reasons = [] }: Waiting, order: readonly string[]): string[] {
  const isInOrder = reasons.some((each) => each.kind !== 'unit' || each.restarts)
  const lost = order.filter((id) => isLost(outcomes.get(id)))
  return lost.filter((id) => isInOrder || hasStopped(id))
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
        foresee: async (_run, work) => (await load()).foreseeList(work),
      }),
    )
}
