/** Changes files where the units of a node read them, as root: installs the deployed ones, or puts the old ones back. */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Work } from '../../lib/graph/target.ts'
import { folderOf } from '../../lib/node/look.ts'
import { accessFor } from '../../lib/node/place.ts'
import { commandScript, forgetScript, placeScript, putBackScript } from '../../lib/node/places.ts'
import { notWhole, readAnswer } from '../../lib/node/shell.ts'
import { excerpt } from '../../lib/wording.ts'
import { identityFiles } from '../tables/files.ts'
import { askNode, asUnknown } from './look.ts'
import type { UnitsFound, WantedPlace } from './units.ts'

/** A node whose units are being changed. */
export interface NodeRun {
  readonly run: Run
  readonly node: ClusterNode
  readonly install: Install
  readonly signal: AbortSignal
  readonly tell: Work['tell']
}

/** Throws a Failure if not all files are installed afterwards, or if the old files have changed since the look. */
export async function placeFiles(
  { run, node, install: { sudo } }: NodeRun,
  { look: { folder }, places: { files: seen } }: UnitsFound,
  { wanted, all }: { readonly wanted: readonly WantedPlace[]; readonly all: readonly WantedPlace[] },
): Promise<void> {
  if (wanted.length === 0) return
  if (folder.path === undefined)
    throw new Failure(`${node.directory} does not exist there`, {
      node: node.name,
      code: 'changed-meanwhile',
      remedy: runAgain,
    })
  const files = wanted.map((each) => {
    const { uid, gid, mode } = accessFor(each, seen.get(each.path))
    const { file, path, part } = each
    return { file, path, part, digest: each.sha256 ?? '', uid, gid, mode }
  })
  const isGuarded = ({ file }: WantedPlace) => identityFiles(run.cluster).has(file)
  const unchanged = [...new Set([...wanted, ...all.filter(isGuarded)].map(({ path }) => path))]
  const change = { source: folder.path, sudo, files, unchanged, seen }
  const [first = '', ...said] = await runAsRoot(run, node, (nonce) => placeScript(change, nonce))
  if (first !== 'placed') throw whyStopped(node, first, said)
}

/** Throws a Failure where they are not back. */
export async function putBack(on: NodeRun, found: UnitsFound, paths: readonly string[]): Promise<void> {
  await changeOld(on, found, paths, (at, nonce) => putBackScript(at, paths, nonce))
}

/** The files are those that are proven, each with its digest. Throws a Failure where the old ones could not be removed. */
export async function forgetOld(on: NodeRun, found: UnitsFound, files: ReadonlyMap<string, string>): Promise<void> {
  await changeOld(on, found, [...files.keys()], (at, nonce) => forgetScript(at, files, nonce))
}

async function changeOld(
  { run, node, install: { sudo } }: NodeRun,
  { look }: UnitsFound,
  [path]: readonly string[],
  script: (at: { source: string; sudo: string }, nonce: string) => string,
): Promise<void> {
  if (path === undefined) return
  const at = { source: look.folder.path ?? folderOf(path), sudo }
  const [first = '', ...said] = await runAsRoot(run, node, (nonce) => script(at, nonce))
  if (first !== 'done') throw whyStopped(node, first, said)
}

/** Throws a Failure if root's shell ended early. */
async function runAsRoot(
  run: Run,
  node: ClusterNode,
  script: (nonce: string) => string,
  limit?: number,
): Promise<string[]> {
  const parse = (output: string, nonce: string) => {
    const { records, stopped } = readAnswer(output, nonce)
    if (stopped) throw new Failure(`root's shell ended early: ${stopped.said}`, { code: 'other' })
    return records.map((record) => record.replace(/^said /, ''))
  }
  return await askNode(run, node, { script, parse }, limit === undefined ? {} : { limit })
}

/** Milliseconds for a restart or a drain: install.timeout, but at least two minutes. */
export function commandLimit({ timeout }: Install): number {
  return Math.max(timeout, 120_000)
}

/**
 * Runs the command, in root's shell if sudo is not ''. `limit` in milliseconds. Throws a Failure if the status is unknown, with
 * the code `timed-out` if the command has not ended by then.
 */
export async function runCommand(
  run: Run,
  node: ClusterNode,
  { sudo, command, limit }: { readonly sudo: string; readonly command: string; readonly limit?: number },
): Promise<{ status: number; said: string }> {
  const [first = '', ...said] = await runAsRoot(run, node, (nonce) => commandScript(sudo, command, nonce), limit)
  const [, status] = /^status (\d{1,3})$/.exec(first) ?? []
  if (status === undefined) throw asUnknown(node, notWhole())
  return { status: Number(status), said: said.join('\n') }
}

function whyStopped(node: ClusterNode, first: string, said: readonly string[]): Failure {
  const [word = '', ...words] = first.split(' ')
  return stopFailure(node, word, excerpt([words.join(' '), ...said].join(' ')))
}

/** Nothing was changed, unless it says otherwise. */
const stops: Readonly<Record<string, { what: string; code: string; remedy: string }>> = {
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
}

/** Why a script that replaces files on a node stopped: its word, and the message of the tool that failed. */
export function stopFailure(node: ClusterNode, word: string, said: string): Failure {
  const stop = stops[word]
  if (!stop) return notWhole().with({ node: node.name })
  const { what, code, remedy } = stop
  return new Failure(said === '' ? what : `${what} (${said})`, { node: node.name, code, remedy })
}
