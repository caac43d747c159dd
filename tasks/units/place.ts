/** Puts deployed files where the units of a node read them, and the old ones back. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { fileMode } from '../../lib/files/names.ts'
import { notWhole, readAnswer } from '../../lib/nodes/frame.ts'
import { commandScript, forgetScript, placeScript, putBackScript } from '../../lib/nodes/place.ts'
import type { Stop } from '../../lib/nodes/shell.ts'
import type { UnitsLook } from '../../lib/nodes/units.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { excerpt } from '../../lib/wording.ts'
import { asUnknown, digestOf, newNonce } from '../nodes/look.ts'
import { nodeFailure, stopFailure } from '../nodes/node-failure.ts'
import type { Place } from '../tables/places.ts'

/** Throws a Failure where not all of them are in their places then. */
export async function placeFiles(
  workspace: Workspace,
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
  const files = places.map(({ file, path }) => ({
    file,
    path,
    mode: fileMode(file),
    digest: digestOf(workspace, file) ?? '',
  }))
  const [first = '', ...said] = await tell(workspace, node, (nonce) => placeScript({ source, sudo, files }, nonce))
  if (first !== 'placed') throw whyStopped(node, first, said)
}

export async function putBack(
  workspace: Workspace,
  node: ClusterNode,
  { sudo }: Install,
  paths: readonly string[],
): Promise<void> {
  if (paths.length > 0) await tell(workspace, node, (nonce) => putBackScript({ sudo, paths }, nonce))
}

export async function forgetOld(
  workspace: Workspace,
  node: ClusterNode,
  { sudo }: Install,
  paths: readonly string[],
): Promise<void> {
  if (paths.length > 0) await tell(workspace, node, (nonce) => forgetScript({ sudo, paths }, nonce))
}

/** Throws a Failure where root's shell did not come to its end. */
export async function tell(
  workspace: Workspace,
  node: ClusterNode,
  script: (nonce: string) => string,
): Promise<string[]> {
  const connection = await workspace.connect(node)
  const nonce = newNonce()
  try {
    const { records, stopped } = readAnswer(await connection.run(script(nonce)), nonce)
    if (stopped) throw new Failure(`root's shell ended early: ${stopped.said}`, { code: 'other' })
    return records.map((record) => record.replace(/^said /, ''))
  } catch (error) {
    throw asUnknown(node, error)
  }
}

export interface Outcome {
  readonly status: number
  readonly said: string
}

/** Of the command, run by the shell of root where sudo is not ''. Throws a Failure where its status is not known. */
export async function runCommand(
  workspace: Workspace,
  node: ClusterNode,
  sudo: string,
  command: string,
): Promise<Outcome> {
  const [first = '', ...said] = await tell(workspace, node, (nonce) => commandScript(sudo, command, nonce))
  const [, status] = /^status (\d{1,3})$/.exec(first) ?? []
  if (status === undefined) throw asUnknown(node, notWhole())
  return { status: Number(status), said: said.join('\n') }
}

const again = 'run the same command again'

function whyStopped(node: ClusterNode, first: string, said: readonly string[]): Failure {
  const [why = '', ...words] = first.split(' ')
  const text = excerpt([words.join(' '), ...said].join(' '))
  if (why !== 'source') return stopFailure(node, excerpt(why) as Stop, text)
  return nodeFailure(node, `${text} there is not what was deployed; nothing was installed`, {
    code: 'changed-meanwhile',
    remedy: again,
  })
}
