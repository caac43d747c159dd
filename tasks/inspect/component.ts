/** Queries a component of a node with our credentials, at its own address, through a node's ssh connection. */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, tryToAwait } from '../../lib/failure.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import type { Client, Server } from '../../lib/kubernetes/client.ts'
import type { Certificate } from '../../lib/pki/certificate.ts'
import type { Credentials } from '../../lib/pki/handshake.ts'
import { diskOf, type Run } from '../cluster-target.ts'
import { apiServer, type Health, type Port, store, type Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'

/** It loads Node's TLS and HTTP, which most runs do not need. */
const loadClient = () => import('../../lib/kubernetes/client.ts')

export interface NodeRun {
  readonly run: Run
  readonly node: ClusterNode
  readonly signal: AbortSignal
  readonly tell: BuildContext['tell']
}

export type OnNode = Pick<NodeRun, 'run' | 'node'>

/** `node`: whose connection is used, whichever is queried; by default the queried node's own. */
export type Asking = Pick<NodeRun, 'run'> & Partial<Pick<NodeRun, 'signal' | 'node'>>

function wayTo(
  { run, signal, node: through }: Asking,
  node: ClusterNode,
  { port, as, isLocal, isPlain }: Omit<Health, 'path'>,
): Omit<Server, 'trust'> {
  const address = isLocal ? '127.0.0.1' : addressOf(node)
  return {
    open: async () => (await run.connect(isLocal ? node : (through ?? node))).tunnel(address, port),
    address,
    as: as === undefined ? undefined : credentialsOf(run, as),
    isPlain,
    signal,
  }
}

export function healthQuestion(asking: Asking, node: ClusterNode, health: Health): Server & { readonly path: string } {
  return {
    ...wayTo(asking, node, health),
    path: health.path,
    trust: health.isSelfSigned || health.isPlain ? 'anyone' : trustOf(asking.run, health),
  }
}

/** 403: known, without permission. `served`: DER of the certificate that it showed with its answer. */
export async function readHealth(asking: Asking, node: ClusterNode, health: Health) {
  const { ask } = await loadClient()
  try {
    const { status, served } = await ask(healthQuestion(asking, node, health))
    const isHealthy = status === 200 || (status === 403 && health.as !== undefined)
    return { why: isHealthy ? undefined : `${health.path} answers ${status}`, served }
  } catch (error) {
    asking.signal?.throwIfAborted()
    if (error instanceof Failure) return { why: `${health.path} does not answer (${error.message})` }
    throw error
  }
}

/** Of client-go: whether a CA that a kubeconfig names by file is read again, transport/ca_rotation.go. */
const caGate = 'ClientsAllowCARotation'

/** False if its metrics do not say so, or could not be read. */
export async function readsCaAgain(asking: Asking, node: ClusterNode, metrics: Health): Promise<boolean> {
  const reply = await tryToAwait(async () =>
    withServer(healthQuestion(asking, node, metrics), (client) => client.ask('GET', metrics.path)),
  )
  const isEnabled = (line: string) =>
    line.startsWith('kubernetes_feature_enabled{') && line.includes(`name="${caGate}"`) && line.endsWith('} 1')
  return reply?.status === 200 && reply.body.split('\n').some(isEnabled)
}

export function addressOf({ ips: [address = ''] }: ClusterNode): string {
  return address
}

function credentialsOf(run: Pick<Run, 'auth' | 'disk'>, name: string): Credentials | undefined {
  const auth = diskOf(run)
  const [certificate, key] = [auth.tryBytes(auth.files.certificate(name)), auth.tryBytes(auth.files.key(name))]
  return certificate && key && { certificate, key }
}

function trustOf(run: Pick<Run, 'auth' | 'disk'>, { ca = caName }: { readonly ca?: string | undefined }): Buffer {
  const auth = diskOf(run)
  return auth.bytes(auth.files.certificate(ca))
}

/** DER of the served certificate; 'nothing' if none was served. */
export type ServedCertificate = Buffer | 'nothing'

/** With a certificate of ours, since etcd serves none to others. `names` it so (SNI). Throws if it is not reached. */
export async function readServedCertificate(
  asking: Asking,
  node: ClusterNode,
  { port, as = asking.run.auth.files.names.api }: Pick<Port, 'port' | 'as'>,
  name?: string,
): Promise<ServedCertificate> {
  const { readServed } = await loadClient()
  try {
    const way = wayTo(asking, node, { port, as })
    return await readServed({ ...way, address: name ?? way.address })
  } catch (error) {
    if (error instanceof Failure && error.code === 'not-answered') return 'nothing'
    throw error
  }
}

export type Life = Pick<Certificate, 'notBefore' | 'notAfter'>

/** Of the certificate that an API server has made itself; undefined where it shows none. */
export async function readSelfMade(
  asking: Asking,
  node: ClusterNode,
  units: readonly Unit[],
): Promise<Life | undefined> {
  const port = units.flatMap(({ serves }) => serves).find(({ selfMade }) => selfMade !== undefined)
  const served = port && (await readServedCertificate(asking, node, port, port.selfMade))
  if (!served || served === 'nothing') return undefined
  const { subjectAltName = '', validFrom, validTo } = new X509Certificate(served)
  // OpenSSL accepts a certificate with invalid dates, of which Node's validToDate is any date: its text is "Bad time
  // value".
  const [notBefore, notAfter] = [new Date(validFrom), new Date(validTo)]
  if ([notBefore, notAfter].some((date) => Number.isNaN(date.getTime()))) return undefined
  // An older one, or what stands before it, may show the cluster's.
  return subjectAltName.split(', ').includes(`DNS:${port.selfMade}`) ? { notBefore, notAfter } : undefined
}

/** From when on it counts as ending: renewBefore, and at most the last third of its life. */
export function renewsFrom({ cluster }: Pick<Run, 'cluster'>, { notBefore, notAfter }: Life): Date {
  const life = notAfter.getTime() - notBefore.getTime()
  return new Date(notAfter.getTime() - Math.min(cluster.certificates.renewBefore, life / 3))
}

export function isApiServer({ unit }: Unit): boolean {
  return unit === apiServer
}

export async function withApi<T>(asking: Asking, node: ClusterNode, work: (api: Client) => Promise<T>): Promise<T> {
  return withClient(asking, node, apiServer, work)
}

/** The API server's, in the text format of Prometheus. Throws a Failure without them. */
export async function readMetrics(asking: Asking, node: ClusterNode): Promise<string> {
  const { status, body } = await withApi(asking, node, (api) => api.ask('GET', '/metrics'))
  if (status === 200) return body
  throw new Failure(`GET /metrics answers ${status}`, { node: node.name, code: 'not-answered' })
}

/** SHA-256, in hex, by the API server's metrics (Kubernetes 1.34); undefined without one, or with two series. */
export function loadedConfigIn(metrics: string): string | undefined {
  const digests = metrics.split('\n').flatMap((line) => {
    const isIt = line.startsWith('apiserver_encryption_config_controller_last_config_info{')
    return (isIt && /[,{]hash="sha256:([0-9a-f]{64})"/.exec(line)?.[1]) || []
  })
  const [digest, ...more] = new Set(digests)
  return more.length === 0 ? digest : undefined
}

/** etcd, by its JSON gateway: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ */
export async function withEtcd<T>(asking: Asking, node: ClusterNode, work: (etcd: Client) => Promise<T>): Promise<T> {
  return withClient(asking, node, store, work)
}

async function withClient<T>(
  asking: Asking,
  node: ClusterNode,
  name: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const health = nodeUnits(asking.run.cluster, node).find(({ unit }) => unit === name)?.health
  const way = health && wayTo(asking, node, health)
  if (!way || (!way.as && !health.isPlain))
    throw new Failure('the unit is not installed, or auth/ has no credentials for it', { node: node.name })
  const trust = health.isPlain ? 'anyone' : trustOf(asking.run, health)
  try {
    return await withServer({ ...way, trust }, work)
  } catch (error) {
    throw error instanceof Failure && error.node === undefined ? error.with({ node: node.name }) : error
  }
}

async function withServer<T>(server: Server, work: (client: Client) => Promise<T>): Promise<T> {
  const { Client } = await loadClient()
  const client = new Client(server)
  try {
    return await work(client)
  } finally {
    client.close()
  }
}
