/** kubelet: https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/ */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { hostname } from 'node:os'
import { parse } from 'yaml'
import { type Flags, required } from './flags.ts'
import { ApiClient, replace } from './kubeconfig.ts'
import { type Answer, type Request, serve } from './serving.ts'
import { features } from './version.ts'
import { log } from './watched.ts'

const port = 10250
const healthPort = 10248
/** Seconds, as the real one's. */
const interval = 10

export async function startKubelet(flags: Flags): Promise<void> {
  const config = parse(readFileSync(required(flags, 'config'), 'utf8')) ?? {}
  const api = new ApiClient(required(flags, 'kubeconfig'))
  const files = {
    cert: config.tlsCertFile,
    key: config.tlsPrivateKeyFile,
    clientCA: config.authentication?.x509?.clientCAFile,
  }
  const server = serve(files, async (request) => answer(request))
  server.listen(port, () => log(`Serving on port ${port}`))
  createServer((_, response) => response.end('ok')).listen(healthPort, '127.0.0.1')
  api.keep(interval, () => postStatus(api, hostname()))
}

function answer({ user, url }: Request): Answer {
  if (typeof user === 'string') return { status: 401, body: 'Unauthorized' }
  // The guide binds User kubernetes, who is the API server, to what a kubelet may be asked.
  const mayAsk = user.groups.includes('system:masters') || user.username === 'kubernetes'
  if (!mayAsk) return { status: 403, body: `Forbidden (user=${user.username}, verb=get, resource=nodes)` }
  if (url.pathname === '/healthz') return { status: 200, body: 'ok' }
  return url.pathname === '/metrics' ? { status: 200, body: features() } : { status: 404, body: '404 page not found' }
}

/** The node's Ready condition, with the time it was last posted. */
async function postStatus(api: ApiClient, name: string): Promise<void> {
  const now = new Date().toISOString()
  const condition = { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime: now }
  await replace(api, '/api/v1/nodes', { metadata: { name }, status: { conditions: [condition] } })
}
