/**
 * The leases by which components show that they run: https://kubernetes.io/docs/concepts/architecture/leases/
 */
import * as v from 'valibot'
import type { Client } from '../../../lib/kubernetes/client.ts'

/** Milliseconds after its last renewal in which an API server counts as running; it renews every 10 s. */
const leaseTime = 60_000

const lease = v.object({
  metadata: v.object({
    name: v.string(),
    namespace: v.optional(v.string(), ''),
    labels: v.optional(v.record(v.string(), v.string()), {}),
  }),
  spec: v.optional(v.object({ renewTime: v.nullish(v.string()) }), {}),
})
const leaseList = v.object({ items: v.nullish(v.array(lease), []) })

export type Lease = v.InferOutput<typeof lease>

/**
 * Whether it was renewed in that time, by the clock of the API server that answers. A time that can't be read counts as
 * renewed.
 */
export function isLive({ spec: { renewTime } }: Pick<Lease, 'spec'>, now: Date): boolean {
  const renewed = Date.parse(renewTime ?? '')
  return Number.isNaN(renewed) || now.getTime() - renewed <= leaseTime
}

export function hostnameOf({ metadata: { labels } }: Lease): string {
  return labels['kubernetes.io/hostname'] ?? ''
}

/** Of API servers, whatever cluster.yaml says, from Kubernetes 1.26 on. */
const ofApiServers = `namespaces/kube-system/leases?labelSelector=${encodeURIComponent('apiserver.kubernetes.io/identity=kube-apiserver')}`

/** By default those of API servers. `now`: by the clock of the API server that answers. */
export async function readLeases(api: Client, which = ofApiServers) {
  const now = await api.time()
  const { items } = await api.read(leaseList, 'GET', `/apis/coordination.k8s.io/v1/${which}`)
  return { leases: items, now }
}
