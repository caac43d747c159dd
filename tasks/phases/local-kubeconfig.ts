/** The target of phase `local-kubeconfig`. What reads and merges kubeconfigs is loaded by its check. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { type Earlier, isDone, isLost } from '../../lib/graph/target.ts'
import { localHolder } from '../layouts/tables.ts'
import type { ClusterTarget } from '../target.ts'
import { deployId } from './deploy.ts'

/** After the control nodes: if none is reached, cluster.yaml may be wrong, and kubectl keeps its context. */
export function targets(
  cluster: Cluster,
  { earlier }: { readonly earlier: readonly ClusterTarget[] },
): ClusterTarget<boolean>[] {
  const { localKubeconfig } = cluster
  const row = localHolder(cluster)
  if (!localKubeconfig || !row) return []
  const id = 'local-kubeconfig'
  const names = { cluster: cluster.name, context: localKubeconfig.context, user: localKubeconfig.user }
  const controls = cluster.nodes.filter(({ role }) => role === 'control').map(deployId)
  const isReached = (before?: Earlier) => controls.some((each) => isDone(before?.outcomes.get(each)))
  const work = async () => (await import('./local-kubeconfig-entry.ts')).localWork(names, row)
  return [
    {
      id,
      phase: id,
      needs: [caName, row.id],
      after: [...controls, ...earlier.flatMap((each) => (each.id.startsWith('revoked/') ? each.id : []))],
      // One control node is enough.
      waitsFor: ({ outcomes }) => {
        const reached = controls.filter((each) => outcomes.has(each))
        return reached.every((each) => isLost(outcomes.get(each))) ? reached : []
      },
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      stopsRun: true,
      check: async (run, _force, before) => (await work()).check(run, isReached(before)),
      build: async (run, given) => (await work()).build(run, given),
      foresee: async (run, given) => (await work()).foresee(run, given),
    },
  ]
}
