/** Puts deployed files where the units of a node read them, and the old ones back. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { fileMode } from '../../lib/files/names.ts'
import { notWhole, readAnswer } from '../../lib/remote/frame.ts'
import { commandScript, forgetScript, placeScript, putBackScript } from '../../lib/remote/places.ts'
import type { Stop } from '../../lib/remote/shell.ts'
import type { UnitsLook } from '../../lib/remote/units-look.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { excerpt } from '../../lib/wording.ts'
import type { Place } from '../tables/places.ts'
import { askNode, asUnknown, digestOf } from './look.ts'
import { nodeFailure, stopFailure } from './node-failure.ts'

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
  limit?: number,
): Promise<string[]> {
  const parse = (output: string, nonce: string) => {
    const { records, stopped } = readAnswer(output, nonce)
    if (stopped) throw new Failure(`root's shell ended early: ${stopped.said}`, { code: 'other' })
    return records.map((record) => record.replace(/^said /, ''))
  }
  return await askNode(workspace, node, { script, parse }, limit === undefined ? {} : { limit })
}

export interface Outcome {
  readonly status: number
  readonly said: string
}

/** Milliseconds for a restart or a drain: what is given to a unit to get well, and no less than two minutes. */
export function commandLimit({ timeout }: Install): number {
  return Math.max(timeout, 120_000)
}

/**
 * Of the command, run by the shell of root where sudo is not ''. `limit` in milliseconds. Throws a Failure where its status
 * is not known, with the code `timed-out` where it has not ended by then.
 */
export async function runCommand(
  workspace: Workspace,
  node: ClusterNode,
  { sudo, command, limit }: { readonly sudo: string; readonly command: string; readonly limit?: number },
): Promise<Outcome> {
  const [first = '', ...said] = await tell(workspace, node, (nonce) => commandScript(sudo, command, nonce), limit)
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
