/**
 * extension-apiserver-authentication: each API server adds its client CAs and its front proxy's, and takes none out but
 * what has expired (pkg/controlplane/controller/clusterauthenticationtrust).
 */
import type { FrontProxy } from './front-proxy.ts'
import { readCertificates } from './identity.ts'
import { StatusError } from './status.ts'
import type { Store } from './store.ts'
import { log } from './watched.ts'

const name = 'extension-apiserver-authentication'
const path = '/api/v1/namespaces/kube-system/configmaps'

type Data = Readonly<Record<string, string>>

/** The files' contents: the clients' CAs, and the front proxy's where there is one. */
export async function publishClientCAs(
  store: Store,
  [clients = Buffer.alloc(0), proxies]: readonly Buffer[],
  frontProxy: FrontProxy | undefined,
): Promise<void> {
  for (;;)
    try {
      return await store.replace(path, name, (there) => {
        const held = (there as { data?: Data } | undefined)?.data ?? {}
        const data = {
          ...held,
          'client-ca-file': union(held['client-ca-file'], clients),
          ...(frontProxy && proxies && headerData(held, frontProxy, proxies)),
        }
        return { metadata: { name }, ...there, data }
      })
    } catch (error) {
      if (error instanceof StatusError && error.code === 409) continue
      // etcd may not be there yet: the next change of the file, or the next start, tells it again.
      log(`client CAs are not published: ${error}`)
      return
    }
}

function union(held: string | undefined, pem: Buffer): string {
  const all = [...(held ? readCertificates(Buffer.from(held)) : []), ...readCertificates(pem)]
  const valid = all.filter(({ validTo }) => Date.parse(validTo) > Date.now())
  return [...new Map(valid.map((each) => [each.fingerprint256, each.toString()])).values()].join('')
}

function headerData(held: Data, frontProxy: FrontProxy, pem: Buffer): Data {
  const lists = {
    'allowed-names': frontProxy.allowedNames,
    'username-headers': frontProxy.usernameHeaders,
    'group-headers': frontProxy.groupHeaders,
  }
  const entries = Object.entries(lists).map(([name, list]) => {
    const key = `requestheader-${name}`
    return [key, JSON.stringify([...new Set([...JSON.parse(held[key] ?? '[]'), ...list])])]
  })
  const key = 'requestheader-client-ca-file'
  return { ...Object.fromEntries(entries), [key]: union(held[key], pem) }
}
