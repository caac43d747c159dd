/** The components of a node that can be asked with our credentials, each by its own address. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { Client } from '../../lib/tls/client.ts'
import { ask, type Credentials, type Reply } from '../../lib/tls/probe.ts'
import { credentialsOf, trustOf } from '../components/credentials.ts'
import { nodeUnits, type Unit } from '../tables/places.ts'
import { addressOf, judgeUnits, lookAtUnits } from '../units/verdict.ts'
import type { Rotating } from './rotation.ts'

/** Milliseconds for one answer. */
const patience = 10_000

/** Those that are installed there, run, and answer to a certificate. */
export async function askable({ workspace, install }: Rotating, node: ClusterNode): Promise<Unit[]> {
  if (!nodeUnits(node, install).some(({ health }) => health?.as)) return []
  const verdicts = judgeUnits(workspace, node, install, await lookAtUnits(workspace, node, install))
  return verdicts.flatMap(({ unit, reason, isUp }) =>
    reason !== 'not installed' && isUp && unit.health?.as !== undefined ? [unit] : [],
  )
}

export interface Asking {
  /** PEM. */
  readonly ca: Buffer
  readonly as: Credentials
}

/** Throws a Failure where there is no answer: the server's certificate is not of that CA, or ours was refused in the handshake. */
export async function askHealth(
  { workspace, signal }: Rotating,
  node: ClusterNode,
  { health }: Unit,
  { ca, as }: Asking,
): Promise<Reply> {
  if (!health) throw new Error('it can not be asked')
  const connection = await workspace.connect(node)
  const address = addressOf(node)
  return ask({
    ...health,
    open: () => connection.tunnel(address, health.port),
    address,
    ca,
    as,
    signal: AbortSignal.any([signal, AbortSignal.timeout(patience)]),
  })
}

/** Whether a certificate was taken for somebody's: 403 is the answer to who may not ask. */
export function isAccepted({ status }: Reply): boolean {
  return status !== 401
}

/** Of the node, by their names; those that can be asked. */
export async function apiServersOn(rotating: Rotating, node: ClusterNode): Promise<string[]> {
  return (await askable(rotating, node)).filter(isApiServer).map(({ unit }) => unit)
}

/** The control nodes whose API server runs. */
export async function apiServers(rotating: Rotating): Promise<ClusterNode[]> {
  const nodes = rotating.workspace.cluster.nodes.filter(({ role }) => role === 'control')
  const runs = await Promise.all(nodes.map(async (node) => (await apiServersOn(rotating, node)).length > 0))
  return nodes.filter((_, i) => runs[i])
}

/** Throws a Failure where none runs: what is stored is then not known, which is not the same as nothing. */
export async function someApiServer(rotating: Rotating): Promise<ClusterNode> {
  const [node] = await apiServers(rotating)
  if (node) return node
  throw new Failure('no API server runs on any control node: what is stored can be neither read nor written', {
    remedy: 'start them, then run the same command again; on each: systemctl start kube-apiserver',
  })
}

export function isApiServer({ isDrained }: Unit): boolean {
  return isDrained === true
}

function isStore({ isQuorum }: Unit): boolean {
  return isQuorum === true
}

export async function withApi<T>(rotating: Rotating, node: ClusterNode, work: (api: Client) => Promise<T>): Promise<T> {
  return withClient(rotating, node, isApiServer, work)
}

/** etcd, by its JSON gateway: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ */
export async function withStore<T>(
  rotating: Rotating,
  node: ClusterNode,
  work: (etcd: Client) => Promise<T>,
): Promise<T> {
  return withClient(rotating, node, isStore, work)
}

async function withClient<T>(
  { workspace, install, signal }: Rotating,
  node: ClusterNode,
  isMeant: (unit: Unit) => boolean,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const health = nodeUnits(node, install).find(isMeant)?.health
  const as = credentialsOf(workspace, health?.as ?? '')
  const ca = trustOf(workspace)
  if (!health || !as || !ca) throw new Failure(`${node.name}: there is nobody to be asked, or nothing to ask with`)
  const connection = await workspace.connect(node)
  const address = addressOf(node)
  const client = new Client({ open: async () => connection.tunnel(address, health.port), address, ca, as, signal })
  try {
    return await work(client)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    const { message, remedy, code, kind } = error
    if (message.startsWith(`${node.name}: `)) throw error
    throw new Failure(`${node.name}: ${message}`, {
      kind,
      cause: error,
      ...(remedy && { remedy }),
      ...(code && { code }),
    })
  } finally {
    client.close()
  }
}
