/**
 * What a rotation has to reach: the units of cluster.yaml, and the API servers and etcd members that the cluster has,
 * whatever cluster.yaml says. Each API server renews a lease of its own in kube-system (Kubernetes 1.26 and later), and
 * each control node's etcd is a member. One that the rotation does not reach could not decrypt what the next key
 * encrypts, or refuses what the next CA or key has signed.
 * https://kubernetes.io/docs/concepts/architecture/leases/#api-server-identity
 */

import * as v from 'valibot'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Client } from '../../lib/kubernetes/client.ts'
import { isRunning } from '../../lib/node/state.ts'
import { printable } from '../../lib/wording.ts'
import type { Run } from '../cluster-target.ts'
import { unsetOn } from '../inspect/agreement.ts'
import { type Asking, isApiServer, withApi } from '../inspect/component.ts'
import { reloadTime, repeat } from '../inspect/look.ts'
import { checkUnitsOf } from '../install/check-units.ts'
import { lookAtUnits, type UnitsLook } from '../install/places.ts'
import { foreignMembers, readMembers } from '../install/restart.ts'
import { apiServer, store, type Unit } from '../layouts/layout.ts'
import { controlsOf, nodeUnits, serviceOf } from '../layouts/tables.ts'

const hasApiServer = ({ cluster }: Run, node: ClusterNode) => nodeUnits(cluster, node).some(isApiServer)

export async function lookAtApiServer(run: Run, node: ClusterNode) {
  if (!hasApiServer(run, node)) return undefined
  const found = await lookAtUnits(run, node)
  return isApiServerUp(run, found) ? found.places : undefined
}

function isApiServerUp(run: Run, found: UnitsLook): boolean {
  return checkUnitsOf(run, found).some(({ unit, isUp }) => isUp && isApiServer(unit))
}

/** Throws a Failure if none runs: what is stored is then not known, which is not the same as nothing. */
export async function someApiServer({ run }: Asking): Promise<ClusterNode> {
  for (const node of run.cluster.nodes) if (await lookAtApiServer(run, node)) return node
  throw new Failure("no API server runs on any control node, so stored objects can't be read", {
    remedy: `start it on each control node:\n    systemctl start ${serviceOf(run.cluster, apiServer)}\nthen ${runAgain}`,
  })
}

/** For the next stage of a rotation. Throws a Failure if a component that runs does not answer. */
export async function survey(asking: Asking) {
  const { run } = asking
  const looks = await run.limits.node.map(run.cluster.nodes, async (node) => {
    const found = await lookAtUnits(run, node)
    if (!hasApiServer(run, node)) await run.disconnect(node)
    const { places, units } = found
    const isKnown = ({ unit, bundle }: Unit) =>
      bundle !== undefined || places.units.get(unit)?.hasUnitFile === true || isRunning(places, unit)
    return {
      node,
      // As the kernel has it, where kube-apiserver reads the label of its lease.
      hostname: places.hostname ?? node.name,
      isUp: isApiServerUp(run, found),
      absent: units.filter((unit) => !isKnown(unit)).map(({ service }) => `${service} on ${node.name}`),
      toChange: unsetOn(units).map((what) => `${node.name}: ${what}`),
    }
  })
  const running = looks.filter(({ isUp }) => isUp)
  return {
    ...(await compareWithCluster(asking, running)),
    absent: looks.flatMap(({ absent }) => absent),
    /** What only the user can change on the nodes; a sentence each. */
    toChange: looks.flatMap(({ toChange }) => toChange),
  }
}

interface Running {
  readonly node: ClusterNode
  readonly hostname: string
}

/** The API servers and members that are not reached, each with what to do; and why it is not known which there are. */
async function compareWithCluster(asking: Asking, running: readonly Running[]) {
  const { run, signal } = asking
  const controls = controlsOf(run.cluster)
  if (!controls.some((node) => hasApiServer(run, node)))
    return {
      outOfReach: ['kube-apiserver on each control node; add it to install.units in cluster.yaml'],
      unknown: [],
    }
  const first = running[0]?.node
  if (!first) return { outOfReach: [], unknown: ['no API server runs on any control node'] }
  let live: string[] = []
  const isSilent = ({ hostname }: Running) => !live.includes(hostname)
  // One that was just started renews its lease after it is ready.
  await repeat(
    reloadTime,
    async () => {
      live = await withApi(asking, first, liveApiServers)
      return running.find(isSilent)?.hostname
    },
    signal,
  )
  const others = live.filter((hostname) => !running.some((each) => each.hostname === hostname))
  const hasEtcd = nodeUnits(run.cluster, first).some(({ unit }) => unit === store)
  const members = hasEtcd ? await readMembers(asking, first) : []
  return {
    outOfReach: [
      ...others.map(
        (hostname) =>
          `the API server on ${printable(hostname || 'an unnamed machine')}, which is no control node's of cluster.yaml; add the node, or stop the API server (its lease ends after 60 s)`,
      ),
      ...foreignMembers(members, controls),
    ],
    unknown: running
      .filter(isSilent)
      .map(
        ({ node }) =>
          `the API server of ${node.name} renewed no lease in kube-system for 60 s (this needs Kubernetes 1.26, feature gate APIServerIdentity and synchronised clocks)`,
      ),
  }
}

/** Milliseconds after its last renewal in which an API server counts as running; it renews every 10 s. */
const leaseTime = 60_000

const leaseList = v.object({
  items: v.nullish(
    v.array(
      v.object({
        metadata: v.object({ labels: v.optional(v.record(v.string(), v.string()), {}) }),
        spec: v.optional(v.object({ renewTime: v.nullish(v.string()) }), {}),
      }),
    ),
    [],
  ),
})

const ofApiServers = `/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=${encodeURIComponent('apiserver.kubernetes.io/identity=kube-apiserver')}`

/** Hosts of API servers that have renewed their lease, by the answering one's clock; an odd time counts too. */
async function liveApiServers(api: Client): Promise<string[]> {
  const now = await api.time()
  const { items } = await api.read(leaseList, 'GET', ofApiServers)
  return items.flatMap(({ metadata, spec }) => {
    const isOver = now.getTime() - Date.parse(spec.renewTime ?? '') > leaseTime
    return isOver ? [] : [metadata.labels['kubernetes.io/hostname'] ?? '']
  })
}
