/** A failure on a node, reported once for all nodes that share it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'

export interface NodeTrouble {
  readonly code: string
  readonly remedy: string
}

export function nodeFailure({ name }: ClusterNode, what: string, { code, remedy }: NodeTrouble): Failure {
  return new Failure(`${name}: ${what}`, { code, shared: { what, who: name, place: name, remedyFor: () => remedy } })
}
