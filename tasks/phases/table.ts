/** The graph of a cluster: the targets of each phase, in the order of bootstrap.ts. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { buildGraph, type Graph, type Target } from '../../lib/graph/target.ts'
import { localHolder, nodeFiles, unitsOf } from '../layouts/tables.ts'
import { phases } from './bootstrap.ts'
import { caTargets } from './ca.ts'
import { type LeafPhase, leafTargets } from './certs.ts'
import type { DeployFound } from './deploy.ts'
import { encryptionKeyTargets } from './encryption-key.ts'
import type { InstallFound } from './install.ts'
import { kubeconfigTargets } from './kubeconfigs.ts'
import { revokedTargets } from './revoked.ts'

type PhaseName = (typeof phases)[number]['name']

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
  revoked: revokedTargets,
  deploy: deployTargets,
  install: installTargets,
  'local-kubeconfig': localKubeconfigTargets,
}

export function clusterGraph(cluster: Cluster): Graph {
  const targets: Target[] = []
  for (const { name } of phases) targets.push(...targetsOf[name](cluster, targets))
  return buildGraph(targets)
}

/** `earlier`: the targets that make what is deployed. */
function deployTargets(cluster: Cluster, earlier: readonly Target[]): Target[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, string] => [file, id])))
  const known = new Set(makers.keys())
  const folders = Map.groupBy(cluster.nodes, folderKey)
  // The node's install uses the same connection. With more nodes than are worked on at once, too many would stay open.
  const keepsConnection = cluster.install !== undefined && cluster.nodes.length <= cluster.ssh.concurrency
  const load = () => import('./deploy.ts')
  return cluster.nodes.map((node): Target<DeployFound> => {
    const names = { known, together: folders.get(folderKey(node)) ?? [] }
    return {
      id: deployId(node),
      phase: 'deploy',
      node: node.name,
      needs: [...new Set(nodeFiles(cluster, node).flatMap((file) => makers.get(file) ?? []))],
      makes: [],
      wanted: placeOf(cluster, node),
      units: unitsOf(cluster, node.role),
      where: 'node',
      check: async (run, force) => (await load()).checkFolder({ run, node, names }, force),
      build: async (run, work) => (await load()).copyFiles({ run, node, names }, work),
      foresee: async (run, work) => (await load()).foreseeCopies({ run, node, names }, work),
      ...(!keepsConnection && { release: (run) => run.disconnect(node) }),
    }
  })
}

/** By cluster.yaml only: the same folder may have other names. */
function folderKey({ host, port = 22, user, directory }: ClusterNode): string {
  const home = directory.startsWith('~') ? user : ''
  return [host, port, home, directory.replace(/(.)\/$/, '$1')].join(' ')
}

function installTargets(cluster: Cluster): Target[] {
  const { install, nodes } = cluster
  if (!install) return []
  const idsOf = (role: ClusterNode['role']) => nodes.filter((node) => node.role === role).map(installId)
  const [gateways, controls] = [idsOf('gateway'), idsOf('control')]
  const load = () => import('./install.ts')
  return nodes.map(
    (node): Target<InstallFound> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      after: afterOf(node, gateways, controls),
      // The order is that of restarts: a renewal, which needs none, does not wait for a node that is down, nor does a key that leaked.
      ignoresOrder: (reasons) =>
        reasons.every((reason) => reason.kind === 'unit' && (!reason.restarts || reason.isForKey === true)),
      makes: [],
      wanted: { ...placeOf(cluster, node), ...install, units: [...install.units] },
      where: 'node',
      check: async (run, force, foundBefore) => {
        const before = foundBefore?.get(deployId(node)) as DeployFound | undefined
        return (await load()).checkUnits({ run, node }, { force, before })
      },
      build: async (run, work) => (await load()).updateUnits({ run, node }, work),
      foresee: async (run, work) => (await load()).foreseeUnits({ run, node }, work),
      release: (run) => run.disconnect(node),
    }),
  )
}

/** Where its files go; options may name a proxy, and so another machine. */
function placeOf({ ssh: { options } }: Cluster, { host, port, user, directory }: ClusterNode) {
  return { host, port, user, directory, ...(options.size > 0 && { options: [...options] }) }
}

function deployId({ name }: ClusterNode): string {
  return `deploy/${name}`
}

function installId({ name }: ClusterNode): string {
  return `install/${name}`
}

/** Gateways first: they must trust a new CA before an API server serves by it. Then control nodes one at a time, then workers. */
function afterOf(node: ClusterNode, gateways: readonly string[], controls: readonly string[]): readonly string[] {
  const before = {
    gateway: [],
    control: [...gateways, ...controls.slice(0, controls.indexOf(installId(node))).slice(-1)],
    worker: [...gateways, ...controls],
  }
  return before[node.role]
}

/** After the control nodes, so that a cluster.yaml with which none of them is reached does not change kubectl's context. */
function localKubeconfigTargets(cluster: Cluster): Target[] {
  const { localKubeconfig } = cluster
  const row = localHolder(cluster)
  if (!localKubeconfig || !row) return []
  const id = 'local-kubeconfig'
  const names = { cluster: cluster.name, context: localKubeconfig.context, user: localKubeconfig.user }
  const work = async () => (await import('./local-kubeconfig.ts')).localWork(names, row)
  return [
    {
      id,
      phase: id,
      needs: [caName, row.id],
      after: cluster.nodes.filter(({ role }) => role === 'control').map(deployId),
      afterAny: true,
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      check: async (run) => (await work()).check(run),
      build: async (run, given) => (await work()).build(run, given),
      foresee: async (run, given) => (await work()).foresee(run, given),
    },
  ]
}
