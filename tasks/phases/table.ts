/** The phases, in the guide's order: what each is called, and the targets it has in a cluster. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { buildGraph, type Graph } from '../../lib/targets/graph.ts'
import type { Target } from '../../lib/targets/target.ts'
import { caTargets } from './ca.ts'
import { type LeafPhase, leafTargets } from './certs.ts'
import { deployTargets } from './deploy.ts'
import { encryptionKeyTargets } from './encryption-key.ts'
import { installTargets } from './install.ts'
import { kubeconfigTargets } from './kubeconfigs.ts'
import { localKubeconfigTargets } from './local-kubeconfig.ts'

export interface Phase {
  readonly name: string
  readonly title: string
  /** What it makes, in a few words: for --list. */
  readonly makes: string
  /** Earlier are those of the phases before it. */
  readonly targets: (cluster: Cluster, earlier: readonly Target[]) => Target[]
}

function certPhase(name: LeafPhase, title: string, makes: string): Phase {
  return { name, title, makes, targets: (cluster) => leafTargets(cluster, name) }
}

export const phases: readonly Phase[] = [
  { name: 'ca', title: 'Certificate authority', makes: 'ca.pem and its key', targets: caTargets },
  certPhase('cluster-cert', 'Cluster certificate', 'kubernetes.pem and its key: the API server and etcd'),
  certPhase(
    'component-certs',
    'Component certificates',
    'admin, kube-scheduler, kube-controller-manager, kube-proxy, service-account',
  ),
  certPhase('node-certs', 'Node certificates', "each node's kubelet, as server and as client"),
  certPhase('user-certs', 'User certificates', 'each of users in cluster.yaml, with its groups'),
  { name: 'kubeconfigs', title: 'Kubeconfigs', makes: '<client>.kubeconfig', targets: kubeconfigTargets },
  { name: 'encryption-key', title: 'Encryption key', makes: 'encryption-config.yaml', targets: encryptionKeyTargets },
  {
    name: 'deploy',
    title: 'Deploy to nodes',
    makes: "each role's files on each node, by ssh and scp",
    targets: deployTargets,
  },
  {
    name: 'install',
    title: 'Running components',
    makes: 'what the units on each node have loaded, where cluster.yaml has install',
    targets: installTargets,
  },
  {
    name: 'local-kubeconfig',
    title: 'Local kubeconfig',
    makes: "the admin's entry in your own kubeconfig",
    targets: localKubeconfigTargets,
  },
]

export const phaseTitles: ReadonlyMap<string, string> = new Map(phases.map(({ name, title }) => [name, title]))

/** Names for several phases at once. */
export const groups: Readonly<Record<string, readonly string[]>> = {
  bootstrap: phases.map(({ name }) => name),
  certs: ['ca', 'cluster-cert', 'component-certs', 'node-certs', 'user-certs'],
}

export function clusterGraph(cluster: Cluster): Graph {
  const targets: Target[] = []
  for (const phase of phases) targets.push(...phase.targets(cluster, targets))
  return buildGraph(targets)
}
