/** What a component of a node is asked, by its own address and with our credentials, through a node's ssh connection. */
import type { Duplex } from 'node:stream'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import type { Credentials, Question } from '../../lib/tls/probe.ts'
import type { Health } from '../tables/places.ts'
import { credentialsOf, trustOf } from './credentials.ts'

/** Milliseconds for one answer. */
const patience = 10_000

export interface Asking {
  readonly workspace: Workspace
  readonly signal?: AbortSignal
  /** Through whose connection: else the node's own. */
  readonly through?: ClusterNode
}

/** Where our own trust and credentials are not meant. */
export interface Given {
  /** PEM. */
  readonly ca?: Buffer | undefined
  readonly as?: Credentials | undefined
}

interface Asked extends Question {
  readonly open: () => Promise<Duplex>
  readonly as: Credentials | undefined
}

export function questionTo(
  { workspace, signal, through }: Asking,
  node: ClusterNode,
  { port, as, isLocal }: Pick<Health, 'port' | 'as' | 'isLocal'>,
  given: Given = {},
): Asked {
  const address = isLocal ? '127.0.0.1' : addressOf(node)
  const connection = workspace.connect(through ?? node)
  const inTime = AbortSignal.timeout(patience)
  return {
    open: () => connection.then((open) => open.tunnel(address, port)),
    address,
    ca: isLocal ? undefined : trustOf(workspace),
    as: as === undefined ? undefined : credentialsOf(workspace, as),
    ...given,
    signal: signal ? AbortSignal.any([signal, inTime]) : inTime,
  }
}

export function addressOf({ ips: [address = ''] }: ClusterNode): string {
  return address
}
