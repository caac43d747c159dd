/**
 * The lease by which an API server publishes that it runs, renewed every 10 s and never given back, as in Kubernetes
 * since 1.26: pkg/controlplane/apiserver/server.go.
 */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import type { Store } from './store.ts'
import { log } from './watched.ts'

const renewEvery = 10_000

export function publishIdentity(store: Store): void {
  // The real one's hash of the hostname is written in base32.
  const name = `apiserver-${createHash('sha256').update(hostname()).digest('hex').slice(0, 26)}`
  const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'
  const labels = { 'apiserver.kubernetes.io/identity': 'kube-apiserver', 'kubernetes.io/hostname': hostname() }
  const holderIdentity = `${name}_${crypto.randomUUID()}`
  const renew = async () => {
    const renewTime = new Date().toISOString().replace('Z', '000Z')
    const spec = { holderIdentity, leaseDurationSeconds: 3600, renewTime }
    await store.replace(path, name, (there) => ({ metadata: { name, labels }, ...there, spec }))
  }
  const renewOrLog = () => void renew().catch((error) => log(`the identity lease is not renewed: ${error}`))
  renewOrLog()
  setInterval(renewOrLog, renewEvery).unref()
}
