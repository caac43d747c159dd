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

/** Another run holds its folder for longer than a run takes. */
export function busyFailure(node: ClusterNode): Failure {
  return nodeFailure(node, 'another run is deploying there, and does not finish', {
    code: 'busy',
    remedy: 'run the same command again; if it goes on, see there which process locks the folder: lslocks',
  })
}
