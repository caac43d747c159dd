/** Puts deployed files where the units of a node read them, and the old ones back. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { fileMode } from '../../lib/files/names.ts'
import { readAnswer } from '../../lib/nodes/frame.ts'
import { forgetScript, type PlacingStop, placeScript, putBackScript } from '../../lib/nodes/place.ts'
import type { UnitsLook } from '../../lib/nodes/units.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames, printable } from '../../lib/wording.ts'
import { asUnknown, digestOf, newNonce } from '../nodes/look.ts'
import { nodeFailure } from '../nodes/node-failure.ts'
import type { Place } from '../tables/places.ts'

/** Throws a Failure where not all of them are in their places then. */
export async function placeFiles(
  at: Workspace,
  node: ClusterNode,
  { sudo }: Install,
  { source }: UnitsLook,
  places: readonly Place[],
): Promise<void> {
  if (places.length === 0) return
  if (source === undefined)
    throw new Failure(`${node.name}: ${node.directory} does not exist there`, {
      code: 'changed-meanwhile',
      remedy: again,
    })
  const files = places.map(({ file, path }) => ({ file, path, mode: fileMode(file), digest: digestOf(at, file) ?? '' }))
  const [first = '', ...said] = await tell(at, node, (nonce) => placeScript({ source, sudo, files }, nonce))
  if (first !== 'placed') throw stopFailure(node, first, said)
}

export async function putBack(
  at: Workspace,
  node: ClusterNode,
  { sudo }: Install,
  paths: readonly string[],
): Promise<void> {
  if (paths.length > 0) await tell(at, node, (nonce) => putBackScript({ sudo, paths }, nonce))
}

export async function forgetOld(
  at: Workspace,
  node: ClusterNode,
  { sudo }: Install,
  paths: readonly string[],
): Promise<void> {
  if (paths.length > 0) await tell(at, node, (nonce) => forgetScript({ sudo, paths }, nonce))
}

/** Throws a Failure where root's shell did not come to its end. */
export async function tell(at: Workspace, node: ClusterNode, script: (nonce: string) => string): Promise<string[]> {
  const connection = await at.connect(node)
  const nonce = newNonce()
  try {
    const { records, stopped } = readAnswer(await connection.run(script(nonce)), nonce)
    if (stopped) throw new Failure(`root's shell ended early: ${stopped.said}`, { code: 'other' })
    return records.map((record) => record.replace(/^said /, ''))
  } catch (error) {
    throw asUnknown(node, error)
  }
}

const again = 'run the same command again'

function stopFailure(node: ClusterNode, first: string, said: readonly string[]): Failure {
  const [why = '', ...words] = first.split(' ')
  const text = printable([words.join(' '), ...said].join(' '))
    .replaceAll('\n', ' ')
    .trim()
    .slice(0, 160)
  switch (why as PlacingStop) {
    case 'source':
      return nodeFailure(node, `${text} there is not what was deployed; nothing was installed`, {
        code: 'changed-meanwhile',
        remedy: again,
      })
    case 'undone':
      return nodeFailure(node, `a file could not be put in its place, so every file is as it was (${text})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount); then ${again}`,
      })
    case 'half':
      return nodeFailure(node, `a file could not be put in its place, and another not be put back (${text})`, {
        code: 'not-replaced',
        remedy: `see why (df, lsattr, mount), then ${again}; until then old and new files are mixed there`,
      })
    default:
      return nodeFailure(node, `root's shell answers ${formatNames([text])}`, { code: 'no-answer', remedy: again })
  }
}
