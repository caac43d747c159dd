/** A failure on a node, reported once for all nodes that share it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { Stop } from '../../lib/remote/shell.ts'

export interface NodeTrouble {
  readonly code: string
  readonly remedy: string
}

export function nodeFailure({ name }: ClusterNode, what: string, { code, remedy }: NodeTrouble): Failure {
  return new Failure(`${name}: ${what}`, { code, shared: { what, who: name, place: name, remedyFor: () => remedy } })
}

const again = 'run the same command again'

/** Why a script that changes files on a node stopped. */
export function stopFailure(node: ClusterNode, why: Stop, said: string): Failure {
  switch (why) {
    case 'busy':
      return nodeFailure(node, 'another run is deploying there, and does not finish', {
        code: 'busy',
        remedy: `${again}; if it goes on, see there which process locks the folder: lslocks`,
      })
    case 'no-flock':
      return nodeFailure(node, 'has no flock, which is needed to lock out other runs', {
        code: 'no-flock',
        remedy: `install util-linux there; then ${again}`,
      })
    case 'undone':
      return nodeFailure(node, `a file could not be replaced, so every file is as it was (${said})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount, ls -l); then ${again}`,
      })
    case 'half':
      return nodeFailure(node, `a file could not be replaced, and another could not be put back (${said})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount, ls -l), then ${again}; until then old and new files are mixed there`,
      })
    default:
      return nodeFailure(node, `its shell answers ${why satisfies never}`, { code: 'no-answer', remedy: again })
  }
}
