/** extension-apiserver-authentication: each API server adds its client CAs, and takes none out but what has expired. */
import { readCertificates } from './identity.ts'
import { findResource } from './resources.ts'
import { StatusError } from './status.ts'
import type { Store, Thing } from './store.ts'
import { log } from './watched.ts'

const name = 'extension-apiserver-authentication'
const path = '/api/v1/namespaces/kube-system/configmaps'

export async function publishClientCAs(store: Store, pem: Buffer): Promise<void> {
  const [list, one] = [findResource(path), findResource(`${path}/${name}`)]
  if (!list || !one) return
  for (;;)
    try {
      const there = await store.get(one).catch((error): Thing | undefined => {
        if (error instanceof StatusError && error.code === 404) return undefined
        throw error
      })
      const held = (there as { data?: Record<string, string> } | undefined)?.data?.['client-ca-file'] ?? ''
      const all = [...(held === '' ? [] : readCertificates(Buffer.from(held))), ...readCertificates(pem)]
      const unique = new Map(all.map((each) => [each.fingerprint256, each.toString()]))
      const data = { 'client-ca-file': [...unique.values()].join('') }
      if (there === undefined) await store.create(list, { metadata: { name }, data })
      else await store.update(one, { ...there, data })
      return
    } catch (error) {
      if (error instanceof StatusError && error.code === 409) continue
      // etcd may not be there yet: the next change of the file, or the next start, tells it again.
      log(`client CAs are not published: ${error}`)
      return
    }
}
