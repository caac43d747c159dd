/** What a component of a node is asked, by its own address and with our credentials, through a node's ssh connection. */
import type { Duplex } from 'node:stream'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import type { Credentials, PathQuestion, Question } from '../../lib/tls/probe.ts'
import type { Health } from '../tables/places.ts'
import { credentialsOf, trustOf } from './credentials.ts'

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

export function wayTo(
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
