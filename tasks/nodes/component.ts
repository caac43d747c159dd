/** How a component of a node is queried with our credentials, by its own address and through a node's ssh connection. */
import type { Duplex } from 'node:stream'
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { caName, certificateFile, keyFile } from '../../lib/files/names.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import type { Client } from '../../lib/tls/client.ts'
import { type Credentials, type PathQuestion, type Question, readServed } from '../../lib/tls/probe.ts'
import { type Health, nodeUnits, type Unit } from '../tables/places.ts'

export interface Asking {
  readonly workspace: Workspace
  readonly signal?: AbortSignal
  /** Through whose connection: else the node's own. */
  readonly through?: ClusterNode
}

/** The way to a port, and who asks there. */
interface Way extends Question {
  readonly open: () => Promise<Duplex>
  readonly as: Credentials | undefined
}

function wayTo(
  { workspace, signal, through }: Asking,
  node: ClusterNode,
  { port, as, isLocal }: Pick<Health, 'port' | 'as' | 'isLocal'>,
): Way {
  const address = isLocal ? '127.0.0.1' : addressOf(node)
  return {
    open: async () => (await workspace.connect(through ?? node)).tunnel(address, port),
    address,
    as: as === undefined ? undefined : credentialsOf(workspace, as),
    signal,
  }
}

/** Throws a Failure where auth/ has no CA to trust. */
export function healthQuestion(asking: Asking, node: ClusterNode, health: Health): PathQuestion {
  // On the loopback address it has a certificate of its own making.
  return { ...health, ...wayTo(asking, node, health), trust: health.isLocal ? 'anyone' : trustOf(asking.workspace) }
}

export function addressOf({ ips: [address = ''] }: ClusterNode): string {
  return address
}

/** Undefined where auth/ has none of that name. */
export function credentialsOf({ auth }: Pick<Workspace, 'auth'>, name: string): Credentials | undefined {
  const [certificate, key] = [auth.tryBytes(certificateFile(name)), auth.tryBytes(keyFile(name))]
  return certificate && key && { certificate, key }
}

/** PEM. Throws a Failure where there is no CA. */
function trustOf({ auth }: Pick<Workspace, 'auth'>): Buffer {
  return auth.bytes(certificateFile(caName))
}

/** DER of the certificate; 'nothing' where none was shown. */
export type Shown = Buffer | 'nothing'

/** To who shows the cluster's certificate: etcd shows nothing to a stranger. Throws a Failure where the node can't be reached. */
export async function readShown(asking: Asking, node: ClusterNode, port: number): Promise<Shown> {
  try {
    return await readServed(wayTo(asking, node, { port, as: 'kubernetes' }))
  } catch (error) {
    if (error instanceof Failure && error.code === 'not-answered') return 'nothing'
    throw error
  }
}

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
