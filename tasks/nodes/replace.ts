/** Replaces the files of a node, all or none: in its folder with those of auth/, where its units read with those of the folder. */
import { randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Run, Work } from '../../lib/graph/target.ts'
import type { Replacement, Root } from '../../lib/node/node.ts'
import { accessFor, folderOf, namesOf } from '../../lib/node/place.ts'
import type { NodeState } from '../../lib/node/state.ts'
import { formatReason, type ReasonOf } from '../../lib/reason.ts'
import { quote } from '../../lib/wording.ts'
import { identityFiles, nodeFiles } from '../layouts/tables.ts'
import { compareFolder, filesToCopy, isRight, stagingOwner } from './folder.ts'
import { installOf, sha256 } from './look.ts'
import type { UnitsFound, WantedPlace } from './units.ts'

/** A node whose units are being changed. */
export interface NodeRun {
  readonly run: Run
  readonly node: ClusterNode
  readonly signal: AbortSignal
  readonly tell: Work['tell']
}

/** Throws a Failure unless the node reports all its files in place afterwards. */
export async function replaceInFolder(
  run: Run,
  node: ClusterNode,
  { seen, wrong, tell }: { seen: NodeState; wrong: ReasonOf<'on-node'>; tell: Work['tell'] },
): Promise<void> {
  const { auth, cluster } = run
  const on = await run.connect(node)
  const there = seen.folder === undefined ? await on.makeFolder({ directory: node.directory, names: auth.files }) : seen
  const wanted = new Set(filesToCopy(wrong))
  if (wanted.size > 0) refuseOpenFolder(node, there)
  // In the order of the table: a certificate and its key are next to each other.
  const files = nodeFiles(cluster, node)
    .filter((name) => wanted.has(name))
    .map((name) => ({ name, mode: auth.files.mode(name), bytes: auth.bytes(name) }))
  const modes = wrong.wrongMode.filter((name) => !wanted.has(name))
  const change: Replacement = {
    folder: there.folder ?? '',
    files: files.map(({ name, bytes }) => ({ path: name, digest: sha256(bytes) })),
    unchanged: [...new Set([...nodeFiles(cluster, node), ...identityFiles(cluster).keys(), ...wrong.pruned])],
    seen: seen.files,
    pruned: wrong.pruned,
    tidied: {
      names: auth.files,
      modes: modes.map((name) => ({ name, mode: auth.files.mode(name) })),
      leftovers: wrong.leftovers,
    },
  }
  const name = `${namesOf(stagingOwner(run))}${randomBytes(8).toString('hex')}`
  const copied = () => tell({ doing: 'swapping' })
  const archive = { name, files, temporary: () => auth.makeTemporaryFolder(node.name), copied }
  if (files.length > 0) tell({ doing: 'copying', files: files.length })
  else copied()
  const after = await on.replace(change, files.length > 0 ? archive : undefined)
  if (after) refuseWrongFiles(run, node, after)
}

/** Others could take the copied files, or redirect the path that scp writes to. */
function refuseOpenFolder(node: ClusterNode, { open }: NodeState): void {
  if (open === undefined) return
  const { user } = node
  throw new Failure(
    `${open} there may be changed by others than ${user}: keys are not copied to where they could be taken`,
    {
      node: node.name,
      code: 'open-folder',
      remedy: `there, as root: chown ${user} ${quote(open)} && chmod go-w ${quote(open)}; or name another directory in cluster.yaml`,
    },
  )
}

function refuseWrongFiles(run: Run, node: ClusterNode, seen: NodeState): void {
  const wrong = compareFolder(run, node, seen)
  if (isRight(wrong)) return
  throw new Failure(`its files are not right after they were put in place: ${formatReason(wrong)}`, {
    node: node.name,
    code: 'not-replaced',
    remedy: `see what mv, chmod and tar do there; then ${runAgain}`,
  })
}

/** Throws a Failure if not all files are installed afterwards, or if the old files have changed since the look. */
export async function replaceAtPlaces(
  { run, node }: NodeRun,
  { folder, places: { files: seen } }: UnitsFound,
  { wanted, all }: { readonly wanted: readonly WantedPlace[]; readonly all: readonly WantedPlace[] },
): Promise<void> {
  if (wanted.length === 0) return
  if (folder === undefined)
    throw new Failure(`${node.directory} does not exist there`, {
      node: node.name,
      code: 'changed-meanwhile',
      remedy: runAgain,
    })
  const files = wanted.map((each) => {
    const { file, path, part, sha256 = '' } = each
    return { path, digest: sha256, from: { file, part, access: accessFor(each, seen.get(path)) } }
  })
  const isGuarded = ({ file }: WantedPlace) => identityFiles(run.cluster).has(file)
  const unchanged = [...new Set([...wanted, ...all.filter(isGuarded)].map(({ path }) => path))]
  await (await run.connect(node)).replace({ folder, sudo: installOf(run).sudo, files, unchanged, seen })
}

/** Throws a Failure where they are not removed, or have changed since the look. */
export async function removeAtPlaces(on: NodeRun, found: UnitsFound, pruned: readonly string[]): Promise<void> {
  if (pruned.length === 0) return
  const at = rootOf(on, found, pruned)
  await (await on.run.connect(on.node)).replace({
    ...at,
    files: [],
    unchanged: pruned,
    seen: found.places.files,
    pruned,
  })
}

/** Throws a Failure where they are not back. */
export async function putBack(on: NodeRun, found: UnitsFound, paths: readonly string[]): Promise<void> {
  await (await on.run.connect(on.node)).back(rootOf(on, found, paths), paths)
}

/** The files are those that are proven, each with its digest. Throws a Failure where the old ones could not be removed. */
export async function forgetOld(on: NodeRun, found: UnitsFound, files: ReadonlyMap<string, string>): Promise<void> {
  if (files.size === 0) return
  await (await on.run.connect(on.node)).forget(rootOf(on, found, [...files.keys()]), files)
}

/** The node's folder may be gone: it is only locked here, so that of the first place serves too. */
function rootOf({ run }: NodeRun, { folder }: UnitsFound, [path = '']: readonly string[]): Root {
  return { folder: folder ?? folderOf(path), sudo: installOf(run).sudo }
}
