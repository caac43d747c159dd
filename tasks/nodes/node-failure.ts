/** Failures on a node. The same on several nodes is reported once. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { PlacesStop } from '../../lib/remote/places.ts'
import { notWhole } from '../../lib/remote/shell.ts'

export interface NodeTrouble {
  readonly code: string
  readonly remedy: string
}

export function nodeFailure({ name }: ClusterNode, what: string, { code, remedy }: NodeTrouble): Failure {
  return new Failure(what, { node: name, code, remedy })
}

/** Nothing was changed, unless it says otherwise. */
const stops = {
  changed: {
    what: 'its files were changed by another run, or by somebody else, meanwhile; this one changed nothing',
    code: 'changed-meanwhile',
    remedy: runAgain,
  },
  source: {
    what: 'a file there is not what was deployed; nothing was installed',
    code: 'changed-meanwhile',
    remedy: runAgain,
  },
  busy: {
    what: 'another run is deploying there, and does not finish',
    code: 'busy',
    remedy: `${runAgain}; if it goes on, see there which process locks the folder: lslocks`,
  },
  'no-flock': {
    what: 'has no flock, which is needed to lock out other runs',
    code: 'no-flock',
    remedy: `install util-linux there; then ${runAgain}`,
  },
  undone: {
    what: 'a file could not be replaced, so every file is as it was',
    code: 'not-replaced',
    remedy: `see why (df, lsattr, mount, ls -l); then ${runAgain}`,
  },
  half: {
    what: 'a file could not be replaced, and another could not be put back',
    code: 'not-replaced',
    remedy: `see why (df, lsattr, mount, ls -l), then ${runAgain}; until then old and new files are mixed there`,
  },
} satisfies Record<PlacesStop, NodeTrouble & { what: string }>

/** Why a script that replaces files on a node stopped: its word, and the message of the tool that failed. */
export function stopFailure(node: ClusterNode, word: string, said: string): Failure {
  const stop = new Map(Object.entries(stops)).get(word)
  if (!stop) return notWhole().with({ node: node.name })
  return nodeFailure(node, said === '' ? stop.what : `${stop.what} (${said})`, stop)
}
