/** kube-controller-manager, kube-scheduler and kube-proxy: by their kubeconfigs they ask the API, again and again. */
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:https'
import { parse } from 'yaml'
import { type Flags, required } from './flags.ts'
import { readCertificates } from './identity.ts'
import { ApiClient, expect, replace } from './kubeconfig.ts'
import { selfSigned } from './self-signed.ts'
import { features } from './version.ts'
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
  keepLease(api, 'kube-controller-manager', () => publishRootCA(api, rootCA.toString()))
}

/** Without both flags it signs nothing. */
function readSigning(flags: Flags): void {
  const caFile = flags.get('cluster-signing-cert-file')
  if (caFile === undefined && !flags.has('cluster-signing-key-file')) return
  if (caFile === undefined) throw new Error('--cluster-signing-cert-file must be specified')
  const signing = readCertificates(readFileSync(caFile))
  if (signing.length !== 1)
    throw new Error(
      'error starting controllers: failed to start kubernetes.io/kubelet-serving certificate controller: ' +
        `error reading CA cert file ${JSON.stringify(caFile)}: expected 1 certificate, found ${signing.length}`,
    )
  const key = createPrivateKey(readFileSync(required(flags, 'cluster-signing-key-file')))
  if (!signing[0]?.checkPrivateKey(key)) throw new Error('tls: private key does not match public key')
}

export async function startScheduler(flags: Flags): Promise<void> {
  const config = parse(readFileSync(required(flags, 'config'), 'utf8'))
  const api = new ApiClient(config.clientConnection.kubeconfig)
  serveHealth(10259)
  keepLease(api, 'kube-scheduler')
}

export async function startProxy(flags: Flags): Promise<void> {
  const config = parse(readFileSync(required(flags, 'config'), 'utf8'))
  const api = new ApiClient(config.clientConnection.kubeconfig)
  createHttpServer((_, response) => response.end('ok')).listen(10256)
  createHttpServer((_, response) => response.end(features())).listen(10249, '127.0.0.1')
  api.keep(interval, async () => expect(await api.ask('GET', '/api/v1/nodes')))
}

/** With a certificate of its own for that start, as the real ones where they are given none. */
function serveHealth(port: number): void {
  const pems = selfSigned('localhost', new Date(Date.now() + 365 * 86_400_000))
  createServer({ cert: pems, key: pems }, (_, response) => response.end('ok')).listen(port, () =>
    log(`Serving securely on port ${port}`),
  )
}

/** As it was at the start, for the pods of one namespace. */
async function publishRootCA(api: ApiClient, text: string): Promise<void> {
  const path = '/api/v1/namespaces/default/configmaps'
  await replace(api, path, { metadata: { name: 'kube-root-ca.crt' }, data: { 'ca.crt': text } })
}

function keepLease(api: ApiClient, name: string, more = async () => {}): void {
  const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases'
  api.keep(interval, async () => {
    const renewTime = new Date().toISOString()
    const lease = { metadata: { name, namespace: 'kube-system' }, spec: { renewTime } }
    await replace(api, leases, lease)
    await more()
  })
}
