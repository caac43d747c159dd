/** The ports of a node: where something listens, and which certificate is shown there. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { readAnswer } from '../../lib/remote/frame.ts'
import { listensScript } from '../../lib/remote/places.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { type Credentials, readServed } from '../../lib/tls/probe.ts'
import { askNode } from './look.ts'
import { type Asking, addressOf, wayTo } from './question.ts'

/** DER of the certificate; 'nothing' where none was shown. */
export type Shown = Buffer | 'nothing'

/** To who shows the cluster's certificate: etcd shows nothing to a stranger. Throws a Failure where the node can't be reached. */
export async function readShown(
  asking: Asking,
  node: ClusterNode,
  port: number,
  given?: { readonly as: Credentials | undefined },
): Promise<Shown> {
  try {
    return await readServed({ ...wayTo(asking, node, { port, as: 'kubernetes' }), ...given })
  } catch (error) {
    if (error instanceof Failure && error.code === 'not-answered') return 'nothing'
    throw error
  }
}

/** Of the ports, those on which a process listens. Throws a Failure where that could not be looked at. */
export async function listeningOn(
  workspace: Pick<Workspace, 'connect'>,
  node: ClusterNode,
  ports: readonly number[],
): Promise<number[]> {
  const script = (nonce: string) => listensScript(addressOf(node), ports, nonce)
  const { records } = await askNode(workspace, node, { script, parse: readAnswer })
  return ports.filter((port) => records.includes(String(port)))
}
