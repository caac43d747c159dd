/** Failures on a node. The same on several nodes is reported once. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Stop } from '../../lib/remote/shell.ts'

export interface NodeTrouble {
  readonly code: string
  readonly remedy: string
}

export function nodeFailure({ name }: ClusterNode, what: string, { code, remedy }: NodeTrouble): Failure {
  return new Failure(what, { node: name, code, remedy })
}

/** A rename replaces a file or a symbolic link, never a folder. */
export function folderInTheWay(node: ClusterNode, path: string): Failure {
  return nodeFailure(node, `a folder is in the place of ${path}`, {
    code: 'not-replaced',
    remedy: `move it away; then ${runAgain}`,
  })
}

/** Why a script that changes files on a node stopped; the caller knows what may have changed. */
export function stopFailure(node: ClusterNode, why: Exclude<Stop, 'changed'>, said: string): Failure {
  switch (why) {
    case 'busy':
      return nodeFailure(node, 'another run is deploying there, and does not finish', {
        code: 'busy',
        remedy: `${runAgain}; if it goes on, see there which process locks the folder: lslocks`,
      })
    case 'no-flock':
      return nodeFailure(node, 'has no flock, which is needed to lock out other runs', {
        code: 'no-flock',
        remedy: `install util-linux there; then ${runAgain}`,
      })
    case 'undone':
      return nodeFailure(node, `a file could not be replaced, so every file is as it was (${said})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount, ls -l); then ${runAgain}`,
      })
    case 'half':
      return nodeFailure(node, `a file could not be replaced, and another could not be put back (${said})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount, ls -l), then ${runAgain}; until then old and new files are mixed there`,
      })
    default:
      return nodeFailure(node, `its shell answers ${why satisfies never}`, { code: 'no-answer', remedy: runAgain })
  }
}
