/** The graph of a cluster: the targets of each phase, in the order of tasks/layouts/phases.ts. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { authorizationConfigFile, caName } from '../../lib/files/auth-dir.ts'
import {
  buildGraph,
  checkOf,
  type Earlier,
  type Graph,
  isLost,
  type Target,
  type Waiting,
} from '../../lib/graph/target.ts'
import { phases } from '../layouts/phases.ts'
import { localHolder, nodeFiles, switchedOffFiles, unitsOf } from '../layouts/tables.ts'
import type { UnitsFound } from '../nodes/units.ts'
import { caTargets } from './ca.ts'
import { type LeafPhase, leafTargets } from './certs.ts'
import type { DeployFound } from './deploy.ts'
import { encryptionKeyTargets } from './encryption-key.ts'
import type { InstallFound } from './install.ts'
import { kubeconfigTargets } from './kubeconfigs.ts'
import { revokedKeysTargets, revokedTargets } from './revoked.ts'

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
  install: (cluster) => [...listTargets(cluster, 'revoked'), ...installTargets(cluster)],
  'local-kubeconfig': localKubeconfigTargets,
  'revoked-keys': lastTargets,
}

export function clusterGraph(cluster: Cluster): Graph {
  const targets: Target[] = []
  for (const { name } of phases) targets.push(...targetsOf[name](cluster, targets))
  return buildGraph(targets)
}

/** `earlier`: the targets that make what is deployed. */
function deployTargets(cluster: Cluster, earlier: readonly Target[]): Target[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, string] => [file, id])))
  const known = new Set([...makers.keys(), ...switchedOffFiles(cluster)])
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
  const lists = listTargets(cluster, 'revoked').map(({ id }) => id)
  const load = () => import('./install.ts')
  return nodes.map(
    (node): Target<InstallFound> => ({
      id: installId(node),
      phase: 'install',
      node: node.name,
      needs: [deployId(node)],
      after: [...afterOf(node, gateways, controls), ...lists],
      waitsFor: (before) => holdingInstall(before, afterOf(node, gateways, controls), lists),
      makes: [],
      wanted: { ...placeOf(cluster, node), ...install, units: [...install.units] },
      where: 'node',
      check: async (run, force, earlier) => {
        const before = earlier?.found.get(deployId(node)) as DeployFound | undefined
        return (await load()).checkUnits({ run, node }, { force, before })
      },
      build: async (run, work) => (await load()).updateUnits({ run, node }, work),
      foresee: async (run, work) => (await load()).foreseeUnits({ run, node }, work),
      release: (run) => run.disconnect(node),
    }),
  )
}

/**
 * The order is that of restarts: a renewal, which needs none, does not wait for a node that is down, nor does a key that leaked. A
 * certificate that API servers have to know first waits for the list of each; where the old key is to be revoked, for one of them: a
 * control node that stays down would keep a stolen key in use.
 */
function holdingInstall(
  { outcomes, hasStopped, reasons = [] }: Waiting,
  order: readonly string[],
  lists: readonly string[],
): string[] {
  const isInOrder = reasons.some((each) => each.kind !== 'unit' || (each.restarts && !each.isForKey))
  const lost = order.filter((id) => isLost(outcomes.get(id)))
  const held = lost.filter((id) => isInOrder || hasStopped(id))
  const pinned = reasons.filter((each) => each.kind === 'unit').filter(({ isPinned }) => isPinned)
  if (pinned.length === 0) return held
  const isLacking = (id: string) => !outcomes.has(id) || isLost(outcomes.get(id))
  if (pinned.every(({ isForKey }) => isForKey)) return lists.every(isLacking) ? [...held, ...lists] : held
  return [...held, ...lists.filter((id) => isLacking(id) || checkOf(outcomes.get(id)).isUnfinished)]
}

/** The list of who is revoked, from auth/ to each API server: without a restart, and before anything that it names is loaded. */
function listTargets({ nodes, install, revoked }: Cluster, phase: 'revoked' | 'revoked-keys'): Target[] {
  if (!install || !revoked) return []
  const load = () => import('./revoked-list.ts')
  return nodes
    .filter(({ role }) => role === 'control')
    .map(
      (node): Target<UnitsFound> => ({
        id: listId(phase, node),
        // The first is a part of what is installed; `revoked` alone makes files of auth/.
        phase: phase === 'revoked' ? 'install' : phase,
        node: node.name,
        needs: [phase, deployId(node)],
        makes: [],
        wanted: { list: authorizationConfigFile },
        where: 'node',
        check: async (run, _force, before) => {
          const [first, copied] = [listId('revoked', node), deployId(node)].map((id) => before?.found.get(id))
          const seen = (first as UnitsFound | undefined) ?? (copied as DeployFound | undefined)?.units
          const { warning, ...checked } = await (await load()).checkList(run, node, seen)
          // The first has said it.
          return phase === 'revoked' && warning !== undefined ? { ...checked, warning } : checked
        },
        build: async (run, work) => (await load()).bringList({ run, node }, work),
        foresee: async (_run, work) => (await load()).foreseeList(work),
        ...(phase === 'revoked-keys' && { isOfWhole: true, release: (run) => run.disconnect(node) }),
      }),
    )
}

function lastTargets(cluster: Cluster, earlier: readonly Target[]): Target[] {
  const installs = earlier.filter(({ id, phase }) => phase === 'install' && id.startsWith(`${phase}/`))
  const local = earlier.filter(({ phase }) => phase === 'local-kubeconfig').map(({ id }) => id)
  const keys = revokedKeysTargets(cluster, {
    installs: new Map(installs.map(({ node = '', id }) => [node, id])),
    local,
  })
  return keys.length > 0 ? [...keys, ...listTargets(cluster, 'revoked-keys')] : []
}

function listId(phase: 'revoked' | 'revoked-keys', { name }: ClusterNode): string {
  return `${phase}/${name}`
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
function localKubeconfigTargets(cluster: Cluster): Target<boolean>[] {
  const { localKubeconfig } = cluster
  const row = localHolder(cluster)
  if (!localKubeconfig || !row) return []
  const id = 'local-kubeconfig'
  const names = { cluster: cluster.name, context: localKubeconfig.context, user: localKubeconfig.user }
  const controls = cluster.nodes.filter(({ role }) => role === 'control').map(deployId)
  const isReached = (before?: Earlier) =>
    controls.some((each) => ['fresh', 'built', 'stale'].includes(before?.outcomes.get(each)?.kind ?? ''))
  const work = async () => (await import('./local-kubeconfig.ts')).localWork(names, row)
  return [
    {
      id,
      phase: id,
      needs: [caName, row.id],
      after: [...controls, ...listTargets(cluster, 'revoked').map((each) => each.id)],
      // One of them is enough.
      waitsFor: ({ outcomes }) => {
        const reached = controls.filter((each) => outcomes.has(each))
        return reached.every((each) => isLost(outcomes.get(each))) ? reached : []
      },
      makes: [],
      purpose: 'your kubectl',
      where: 'kubeconfig',
      check: async (run, _force, before) => (await work()).check(run, isReached(before)),
      build: async (run, given) => (await work()).build(run, given),
      foresee: async (run, given) => (await work()).foresee(run, given),
    },
  ]
}
