/** What each API server writes of itself: that it runs, and which client CAs it accepts. */
import { createHash } from 'node:crypto'
import { hostname } from 'node:os'
import { readCertificates } from './identity.ts'
import { StatusError } from './resources.ts'
import type { Store } from './store.ts'
import { log } from './watched.ts'

const renewEvery = 10_000

/** A lease, renewed every 10 s and never given back (pkg/controlplane/apiserver/server.go). */
export function publishIdentity(store: Store): void {
  const name = `apiserver-${createHash('sha256').update(hostname()).digest('hex').slice(0, 26)}`
  const path = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'
  const labels = { 'apiserver.kubernetes.io/identity': 'kube-apiserver', 'kubernetes.io/hostname': hostname() }
  const renew = () => {
    const spec = { holderIdentity: name, leaseDurationSeconds: 3600, renewTime: new Date().toISOString() }
    store
      .replace(path, name, (there) => ({ metadata: { name, labels }, ...there, spec }))
      .catch((error) => log(`the identity lease is not renewed: ${error}`))
  }
  renew()
  setInterval(renew, renewEvery)
}

const fields = ['client-ca-file', 'requestheader-client-ca-file']

/**
 * extension-apiserver-authentication: each API server adds the clients' CAs, and the front proxy's where there is one, and
 * takes none out but what has expired (pkg/controlplane/controller/clusterauthenticationtrust).
 */
export async function publishClientCAs(store: Store, pems: readonly Buffer[]): Promise<void> {
  const name = 'extension-apiserver-authentication'
  for (;;)
    try {
      return await store.replace('/api/v1/namespaces/kube-system/configmaps', name, (there) => {
        const { data = {} } = (there ?? {}) as { data?: Readonly<Record<string, string>> }
        const own = pems.map((pem, i) => [fields[i], union(data[fields[i] ?? ''], pem)])
        return { metadata: { name }, ...there, data: { ...data, ...Object.fromEntries(own) } }
      })
    } catch (error) {
      if (error instanceof StatusError && error.code === 409) continue
      // etcd may not be there yet: the next change of the file, or the next start, tells it again.
      log(`client CAs are not published: ${error}`)
      return
    }
}

function union(held = '', pem: Buffer): string {
  const all = [...(held ? readCertificates(Buffer.from(held)) : []), ...readCertificates(pem)]
  const valid = all.filter(({ validTo }) => Date.parse(validTo) > Date.now())
  return [...new Set(valid.map(String))].join('')
}
