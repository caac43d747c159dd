/** The target of phase `local-kubeconfig`. What reads and merges kubeconfigs is loaded by its check. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { type Earlier, isDone, isLost, Skipped } from '../../lib/graph/target.ts'
import { localHolder } from '../layouts/tables.ts'
import type { ClusterTarget, Run } from '../target.ts'
import { deployId } from './deploy.ts'

/** After the control nodes: if none is reached, cluster.yaml may be wrong, and kubectl keeps its context. */
export function targets(cluster: Cluster): ClusterTarget<boolean>[] {
  const { localKubeconfig } = cluster
  const row = localHolder(cluster)
  if (!localKubeconfig || !row) return []
  const id = 'local-kubeconfig'
  const names = { cluster: cluster.name, context: localKubeconfig.context, user: localKubeconfig.user }
  const controls = cluster.nodes.filter(({ role }) => role === 'control').map(deployId)
  const isReached = ({ isObserved }: Run, earlier: Earlier | undefined) => {
    const rows = controls.flatMap((each) => earlier?.rows.get(each) ?? [])
    // One control node is enough.
    if (!isObserved && rows.length > 0 && rows.every(isLost)) throw new Skipped(rows.map((row) => row.id))
    return rows.some(isDone)
  }
  const work = async () => (await import('./local-kubeconfig-entry.ts')).localWork(names, row)
  return [
    {
      id,
      phase: id,
      needs: [caName, row.id],
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      refuse: async (run) => void (await work()).check(run, false),
      check: async (run, _force, earlier) => (await work()).check(run, isReached(run, earlier)),
      build: async (run, given) => (await work()).build(run, given),
    },
  ]
}
