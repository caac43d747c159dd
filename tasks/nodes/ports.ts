/** The certificate that is served on a port of a node. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { type Credentials, readServed } from '../../lib/tls/probe.ts'
import { type Asking, wayTo } from './question.ts'

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
