/** The graph of a cluster: the targets of each phase, in the order of tasks/tables/phases.ts. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { buildGraph, type Graph } from '../../lib/graph/graph.ts'
import type { Target } from '../../lib/graph/target.ts'
import { type PhaseName, phases } from '../tables/phases.ts'
import { caTargets } from './ca.ts'
import { type LeafPhase, leafTargets } from './certs.ts'
import { deployTargets, installTargets, localKubeconfigTargets } from './elsewhere.ts'
import { encryptionKeyTargets } from './encryption-key.ts'
import { kubeconfigTargets } from './kubeconfigs.ts'

/** `earlier`: the targets of the phases before it. */
type Targets = (cluster: Cluster, earlier: readonly Target[]) => Target[]

const leaves =
  (phase: LeafPhase): Targets =>
  (cluster) =>
    leafTargets(cluster, phase)

const targetsOf: Readonly<Record<PhaseName, Targets>> = {
  ca: caTargets,
  'cluster-cert': leaves('cluster-cert'),
  'component-certs': leaves('component-certs'),
  'node-certs': leaves('node-certs'),
  'user-certs': leaves('user-certs'),
  kubeconfigs: kubeconfigTargets,
  'encryption-key': encryptionKeyTargets,
  deploy: deployTargets,
  install: installTargets,
  'local-kubeconfig': localKubeconfigTargets,
}

export function clusterGraph(cluster: Cluster): Graph {
  const targets: Target[] = []
  for (const { name } of phases) targets.push(...targetsOf[name](cluster, targets))
  return buildGraph(targets)
}
