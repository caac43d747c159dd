/**
 * kube-controller-manager, kube-scheduler, kubelet and kube-proxy: by their kubeconfigs they ask the API, again and
 * again.
 */
import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:https'
import { hostname } from 'node:os'
import { parse } from 'yaml'
import { type Flags, required } from './flags.ts'
import { readCertificates } from './identity.ts'
import { ApiClient, features } from './kubeconfig.ts'
import { type Answer, type Request, serve } from './serving.ts'
import { log } from './watched.ts'

/** Seconds; client-go's retry period of a lease is 2. What they ask is most of what six idle machines cost. */
const interval = 5

export async function startControllerManager(flags: Flags): Promise<void> {
  const api = new ApiClient(required(flags, 'kubeconfig'))
  readSigning(flags)
  const rootCA = readFileSync(required(flags, 'root-ca-file'))
  readCertificates(rootCA)
  createPrivateKey(readFileSync(required(flags, 'service-account-private-key-file')))
  serveHealth(10257)
  keepLease(api, 'kube-controller-manager', async () => {
    const map = { metadata: { name: 'kube-root-ca.crt' }, data: { 'ca.crt': rootCA.toString() } }
    await api.replace('/api/v1/namespaces/default/configmaps', map)
  })
}

/** Without both flags it signs nothing. */
function readSigning(flags: Flags): void {
  const caFile = flags.get('cluster-signing-cert-file')
  if (caFile === undefined) return
  const [ca, ...more] = readCertificates(readFileSync(caFile))
  if (more.length > 0)
    throw new Error(`error reading CA cert file ${caFile}: expected 1 certificate, found ${more.length + 1}`)
  const key = createPrivateKey(readFileSync(required(flags, 'cluster-signing-key-file')))
  if (!ca?.checkPrivateKey(key)) throw new Error('tls: private key does not match public key')
}

export async function startScheduler(flags: Flags): Promise<void> {
  const api = new ApiClient(readConfig(flags).clientConnection.kubeconfig)
  serveHealth(10259)
  keepLease(api, 'kube-scheduler')
}

export async function startProxy(flags: Flags): Promise<void> {
  const api = new ApiClient(readConfig(flags).clientConnection.kubeconfig)
  createHttpServer((_, response) => response.end('ok')).listen(10256)
  createHttpServer((_, response) => response.end(features)).listen(10249, '127.0.0.1')
  api.keep(interval, () => api.ask('GET', '/api/v1/nodes'))
}

export async function startKubelet(flags: Flags): Promise<void> {
  const { tlsCertFile: cert, tlsPrivateKeyFile: key, authentication } = readConfig(flags)
  const api = new ApiClient(required(flags, 'kubeconfig'))
  const server = serve({ cert, key, clientCA: authentication.x509.clientCAFile }, async (request) => answer(request))
  server.listen(10250, () => log('Serving on port 10250'))
  api.keep(interval, async () => {
    const lastHeartbeatTime = new Date().toISOString()
    const condition = { type: 'Ready', status: 'True', reason: 'KubeletReady', lastHeartbeatTime }
    const node = { metadata: { name: hostname() }, status: { conditions: [condition] } }
    await api.replace('/api/v1/nodes', node)
  })
}

function readConfig(flags: Flags) {
  return parse(readFileSync(required(flags, 'config'), 'utf8')) ?? {}
}

function answer({ user, url }: Request): Answer {
  if (typeof user === 'string') return { status: 401, body: 'Unauthorized' }
  // The guide binds User kubernetes, who is the API server, to what a kubelet may be asked.
  const mayAsk = user.groups.includes('system:masters') || user.username === 'kubernetes'
  if (!mayAsk) return { status: 403, body: `Forbidden (user=${user.username}, verb=get, resource=nodes)` }
  return { status: 200, body: url.pathname === '/metrics' ? features : 'ok' }
}

/** With a certificate of its own for that start, as the real ones where they are given none. */
function serveHealth(port: number): void {
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', '-']
  const pem = execFileSync('openssl', [...made, '-subj', '/CN=localhost'], { stdio: ['ignore', 'pipe', 'ignore'] })
  createServer({ cert: pem, key: pem }, (_, response) => response.end('ok')).listen(port, () =>
    log(`Serving securely on port ${port}`),
  )
}

function keepLease(api: ApiClient, name: string, more = async () => {}): void {
  const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'
  api.keep(interval, async () => {
    await api.replace(leases, { metadata: { name }, spec: { renewTime: new Date().toISOString() } })
    await more()
  })
}
