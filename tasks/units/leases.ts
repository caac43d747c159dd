/**
 * The leases by which API servers show that they run, in kube-system, whatever cluster.yaml says (Kubernetes 1.26 and
 * later). https://kubernetes.io/docs/concepts/architecture/leases/#api-server-identity
 */
import * as v from 'valibot'
import { type Client, itemsOf } from '../../lib/kubernetes/client.ts'

/** Milliseconds after its last renewal in which an API server counts as running; it renews every 10 s. */
const leaseTime = 60_000
/** Milliseconds after which Kubernetes removes the lease of an API server that has stopped. */
export const keptTime = 3_600_000

const lease = v.object({
  metadata: v.object({ name: v.string(), labels: v.optional(v.record(v.string(), v.string()), {}) }),
  spec: v.optional(v.object({ renewTime: v.nullish(v.string()) }), {}),
})
const leaseList = v.object({ items: itemsOf(lease) })

export type Lease = v.InferOutput<typeof lease>
export type LeasesSeen = Pick<Awaited<ReturnType<typeof readLeases>>, 'leases' | 'now'>

/**
 * Whether it was renewed in that time, by the clock of the API server that answers. A time that can't be read counts as
 * renewed.
 */
export function isLive({ spec: { renewTime } }: Pick<Lease, 'spec'>, now: Date, within = leaseTime): boolean {
  const renewed = Date.parse(renewTime ?? '')
  return Number.isNaN(renewed) || now.getTime() - renewed <= within
}

export function hostnameOf({ metadata: { labels } }: Lease): string {
  return labels['kubernetes.io/hostname'] ?? ''
}

/** `now`: by the clock of the API server that answers. */
export async function readLeases(api: Client) {
  const selector = encodeURIComponent('apiserver.kubernetes.io/identity=kube-apiserver')
  const now = await api.time()
  const path = `/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=${selector}`
  const { items } = await api.readAs(leaseList, 'GET', path)
  return { leases: items, now }
}
