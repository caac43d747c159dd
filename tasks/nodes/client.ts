/** Clients of what a control node serves: its API server, and its etcd. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { Client } from '../../lib/tls/client.ts'
import { nodeUnits, type Unit } from '../tables/places.ts'
import { trustOf } from './credentials.ts'
import { type Asking, wayTo } from './question.ts'

/** Those who are asked: what is installed in a cluster. */
export interface Serving extends Asking {
  readonly install: Install
  readonly signal: AbortSignal
}

export function isApiServer({ isDrained }: Unit): boolean {
  return isDrained === true
}

function isStore({ isQuorum }: Unit): boolean {
  return isQuorum === true
}

export async function withApi<T>(serving: Serving, node: ClusterNode, work: (api: Client) => Promise<T>): Promise<T> {
  return withClient(serving, node, isApiServer, work)
}

/** etcd, by its JSON gateway: https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ */
export async function withStore<T>(
  serving: Serving,
  node: ClusterNode,
  work: (etcd: Client) => Promise<T>,
): Promise<T> {
  return withClient(serving, node, isStore, work)
}

async function withClient<T>(
  serving: Serving,
  node: ClusterNode,
  isMeant: (unit: Unit) => boolean,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const health = nodeUnits(node, serving.install).find(isMeant)?.health
  const { open, address, as } = (health && wayTo(serving, node, health)) ?? {}
  if (!open || !address || !as) throw new Failure(`${node.name}: there is nobody to be asked, or nothing to ask with`)
  // Node's TLS and HTTP: most runs ask nobody, and do without.
  const { Client } = await import('../../lib/tls/client.ts')
  const client = new Client({ open, address, as, ca: trustOf(serving.workspace), signal: serving.signal })
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
