/**
 * The leases by which components show that they run: https://kubernetes.io/docs/concepts/architecture/leases/
 */
import * as v from 'valibot'
import type { Client } from '../../lib/kubernetes/client.ts'

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

/** From Kubernetes 1.26 on. */
const ofApiServers = `/apis/coordination.k8s.io/v1/namespaces/kube-system/leases?labelSelector=${encodeURIComponent('apiserver.kubernetes.io/identity=kube-apiserver')}`

/**
 * The host names of API servers that have renewed their lease in time, by the clock of the one that answers, whatever
 * cluster.yaml says. A time that can't be read counts as renewed.
 */
export async function liveApiServers(api: Client): Promise<string[]> {
  const now = await api.time()
  const { items } = await api.read(leaseList, 'GET', ofApiServers)
  return items.flatMap(({ metadata, spec }) => {
    const isOver = now.getTime() - Date.parse(spec.renewTime ?? '') > leaseTime
    return isOver ? [] : [metadata.labels['kubernetes.io/hostname'] ?? '']
  })
}
