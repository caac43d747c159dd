/** Replaces the files that units read, all or none; or puts the old ones back. */
import { Failure, runAgain } from '../../../lib/failure.ts'
import type { Root } from '../../../lib/node/node.ts'
import { accessFor, folderOf } from '../../../lib/node/place.ts'
import { stagingOf } from '../../deploy/folder.ts'
import type { NodeRun } from '../../inspect/component.ts'
import { bytesAt, installOf } from '../../inspect/look.ts'
import { identityFiles } from '../../layouts/tables.ts'
import type { UnitsFound } from './look-at-units.ts'
import type { WantedPlace } from './wanted.ts'

/** Throws a Failure if not all files are installed afterwards, or if the old files have changed since the look. */
export async function replaceAtPlaces(
  { run, node }: NodeRun,
  { folder, places: { files: seen } }: UnitsFound,
  { wanted, all }: { readonly wanted: readonly WantedPlace[]; readonly all: readonly WantedPlace[] },
): Promise<void> {
  if (wanted.length === 0) return
  if (folder === undefined)
    throw new Failure(`${node.directory} does not exist`, {
      node: node.name,
      code: 'changed-meanwhile',
      remedy: runAgain,
    })
  const files = wanted.map((each) => {
    const { path } = each
    const bytes = bytesAt(run, each)
    if (!bytes) throw new Error(`auth/ has nothing for ${path}`)
    return { path, bytes, access: accessFor(each, seen.get(path)) }
  })
  const isGuarded = ({ file }: WantedPlace) => identityFiles(run.cluster).has(file)
  const unchanged = [...new Set([...wanted, ...all.filter(isGuarded)].map(({ path }) => path))]
  const staging = stagingOf(run, node, () => {})
  await (await run.connect(node)).replace({ folder, sudo: installOf(run).sudo, files, unchanged, seen }, staging)
}

/** Throws a Failure where they are not back. */
export async function putBack(on: NodeRun, found: UnitsFound, paths: readonly string[]): Promise<void> {
  await (await on.run.connect(on.node)).back(rootOf(on, found, paths), paths)
}

/**
 * The files are those that are proven, each with its digest. Throws a Failure where the old ones could not be removed.
 */
export async function forgetOld(on: NodeRun, found: UnitsFound, files: ReadonlyMap<string, string>): Promise<void> {
  if (files.size === 0) return
  await (await on.run.connect(on.node)).forget(rootOf(on, found, [...files.keys()]), files)
}

/** The node's folder may be gone: it is only locked here, so that of the first place serves too. */
function rootOf({ run }: NodeRun, { folder }: UnitsFound, [path = '']: readonly string[]): Root {
  return { folder: folder ?? folderOf(path), sudo: installOf(run).sudo }
}
