/** The targets of phase `deploy`, one a node. What works on a node is loaded by the first check. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import type { DeployFound, LookBeside } from '../deploy/folder.ts'
import { nodeFiles } from '../layouts/tables.ts'
import type { ClusterTarget } from '../target.ts'

/** `earlier`: with the targets that make what is deployed. */
export function targets(
  cluster: Cluster,
  { earlier, lookBeside }: { readonly earlier: readonly ClusterTarget[]; readonly lookBeside: LookBeside },
): ClusterTarget[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, string] => [file, id])))
  const known = new Set(makers.keys())
  // The node's install uses the same connection. With more nodes than are worked on at once, too many would stay open.
  const keepsConnection = cluster.install !== undefined && cluster.nodes.length <= cluster.ssh.concurrency
  const load = () => import('../deploy/folder.ts')
  return cluster.nodes.map(
    (node): ClusterTarget<DeployFound> => ({
      id: deployId(node),
      phase: 'deploy',
      node: node.name,
      needs: [...new Set(nodeFiles(cluster, node).flatMap((file) => makers.get(file) ?? []))],
      makes: [],
      desired: placeOf(node),
      where: 'node',
      check: async (run, force) => (await load()).checkFolder({ run, node, known }, lookBeside, force),
      build: async (run, work) => (await load()).copyFiles({ run, node }, work),
      ...(!keepsConnection && { release: (run) => run.disconnect(node) }),
    }),
  )
}

export function deployId({ name }: ClusterNode): string {
  return `deploy/${name}`
}

export function placeOf({ host, port, user, directory }: ClusterNode) {
  return { host, port, user, directory }
}
