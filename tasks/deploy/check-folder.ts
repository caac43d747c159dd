/** The check of a node's folder: what differs from what belongs there, and what else is in it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { caNames, hasDigest } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { type Difference, diff, folderOf } from '../../lib/node/place.ts'
import { type NodeState, realPath } from '../../lib/node/state.ts'
import { type Diff, texts } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { digestOf, type NodeLook } from '../inspect/look.ts'
import { identityFiles, isKeptOff, isSwitchedOff, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { refuseOtherMachine } from './guard-machine.ts'
import { formatOthers, guard } from './guards.ts'
import { heldAt } from './held.ts'
import { ownerOf } from './owner.ts'

export type NodeVerdict = Readonly<ReturnType<typeof checkNode>>

/** `known`: names of files of ours, wherever they belong. Throws a Failure if the node may not be written to. */
export function checkNode(run: Run, node: ClusterNode, look: NodeLook, known: ReadonlySet<string>, isForced: boolean) {
  refuseOtherMachine(run, node, look)
  refusePlaces(run, node, look)
  const others = guard(run, node, look, isForced)
  const foreign = foreignFiles(run, node, look, known)
  const { prune } = run.options
  const pruned = prune ? foreign.filter((name) => isPrunable(run, look, name)) : []
  const left = foreign.filter((name) => !pruned.includes(name))
  // What is kept off nodes is more than a warning.
  const unwanted = left.filter((name) => !isKeptOff(run.cluster, name))
  const wrong = { ...compareFolder(run, node, look), pruned, leftovers: look.leftovers }
  refuseUnseen(run, look, [...wrong.missing, ...wrong.differ])
  const warn = texts(
    others.length > 0 && `another ${formatOthers(others)} on ${node.name} is backed up to auth/backup and overwritten`,
    unwanted.length > 0 &&
      !prune &&
      `${node.name} has ${formatNames(unwanted)}, which ${unwanted.length === 1 ? 'does' : 'do'} not belong on it; remove with --prune`,
    left.length > 0 &&
      prune &&
      `--prune leaves ${formatNames(left)} on ${node.name}, which are not of this cluster, or newer than in auth/`,
  )
  return {
    /** Undefined if everything matches. */
    wrong: isRight(wrong) ? undefined : wrong,
    /** Of another identity, or somebody else's: auth/backup gets a copy before they are overwritten. */
    others,
    /** The names of files of ours that do not belong there, and that the run leaves. */
    left,
    warn,
    todo: left.flatMap((file) => (isKeptOff(run.cluster, file) ? adviseOnKey(run, look, file) : [])),
  }
}

/**
 * Files that units read are not replaced by a deploy: `install` does that, in turns, with the old ones kept until they
 * are healthy.
 */
function refusePlaces({ cluster }: Run, node: ClusterNode, { folder, places, units }: NodeLook): void {
  if (!cluster.install || !places || places instanceof Failure) return
  const reader = units.find(({ files }) => files.some(({ path }) => folderOf(realPath(places, path)) === folder))
  if (reader)
    throw refusal(
      `${node.name}: ${reader.unit} reads its files from ${folder}, so that can't be the deploy directory`,
      [
        `set another directory in cluster.yaml (ssh.directory, or directory of ${node.name}), then ${runAgain}`,
        'or set install: false, so that no run installs them',
      ],
    )
}

/** An identity is not deployed to a node while nobody can tell which one its units read. */
function refuseUnseen({ cluster }: Run, { places }: NodeState, files: readonly string[]): void {
  if (places instanceof Failure && files.some((name) => identityFiles(cluster).has(name))) throw places
}

/** How a node's folder differs from what belongs there, by the names of files. */
export interface FolderDifference {
  readonly missing: readonly string[]
  readonly differ: readonly string[]
  readonly wrongMode: readonly string[]
  readonly wrongOwner: readonly string[]
  /** Files of ours that don't belong there, to be removed by --prune. */
  readonly pruned: readonly string[]
  /** What our runs that were killed left there. */
  readonly leftovers: readonly string[]
}

export function filesToCopy({ missing, differ, wrongOwner }: FolderDifference): string[] {
  return [...new Set([...missing, ...differ, ...wrongOwner])]
}

export function isRight(difference: FolderDifference): boolean {
  return Object.values(difference).every((names) => names.length === 0)
}

export function diffsOf({ missing, differ, wrongMode, wrongOwner, pruned, leftovers }: FolderDifference): Diff[] {
  const listed = (names: readonly string[], what: string, verb?: Diff['verb']): Diff[] =>
    names.length === 0 ? [] : [{ what: `${formatNames(names)} ${what}`, ...(verb && { verb, names }) }]
  return [
    ...listed(missing, 'missing', 'copy'),
    ...listed(differ, differ.length === 1 ? 'differs' : 'differ', 'update'),
    ...listed(wrongMode, 'with a wrong mode', 'chmod'),
    ...listed(wrongOwner, 'with a wrong owner', 'update'),
    ...listed(pruned, 'not needed there', 'remove'),
    ...listed(leftovers, 'left by an interrupted run'),
  ]
}

/** Compares what belongs there with what is there. */
export function compareFolder(run: Run, node: ClusterNode, seen: NodeState): FolderDifference {
  const drifts = diff(
    nodeFiles(run.cluster, node).map((name) => ({
      path: name,
      sha256: digestOf(run, name),
      isSecret: run.auth.files.mode(name) === secretMode,
      readers: { login: seen.uid },
    })),
    seen,
  )
  const names = (...whats: Difference['what'][]) =>
    drifts.flatMap(({ path, what }) => (whats.includes(what) ? [path] : []))
  return {
    ...noDifference,
    missing: names('missing'),
    differ: names('differs', 'not a file'),
    wrongOwner: names('wrong owner'),
    wrongMode: names('wrong mode'),
  }
}

/** What is newer than in auth/, or none of ours, is left. */
function isPrunable(run: Run, look: NodeLook, name: string): boolean {
  const all = [...look.files.keys()].flatMap((each) => heldAt(look, each, each))
  const held = all.find(({ file }) => file === name)
  return held !== undefined && ['same', 'earlier'].includes(ownerOf(run, held, all))
}

/** A key that no node is to have is its user's to remove: no run does it without --prune. It may be the only one. */
function adviseOnKey({ auth, command }: Run, look: NodeLook, file: string): string {
  const text = `remove ${look.folder}/${file}, which cluster.yaml has on no node`
  return hasDigest(auth, file, look.files.get(file)?.sha256)
    ? `${text}:\n    ${command('bootstrap --prune')}`
    : `${text}, once you have a copy of it: auth/ has none`
}

/**
 * Files of ours that do not belong on this node. A folder is not, nor a switched-off file that auth/ never had, unless
 * a CA key.
 */
function foreignFiles(
  { auth, cluster }: Run,
  node: ClusterNode,
  { files }: NodeState,
  known: ReadonlySet<string>,
): string[] {
  const belongs = new Set(nodeFiles(cluster, node))
  const isCaKey = (name: string) => caNames.some((each) => name === auth.files.key(each))
  const isOurs = (name: string, digest: string | undefined) =>
    known.has(name) || (isSwitchedOff(cluster, name) && (isCaKey(name) || hasDigest(auth, name, digest)))
  return [...files].flatMap(([name, { kind, sha256 }]) =>
    !belongs.has(name) && kind !== 'folder' && isOurs(name, sha256) ? [name] : [],
  )
}

export const noDifference: FolderDifference = {
  missing: [],
  differ: [],
  wrongMode: [],
  wrongOwner: [],
  pruned: [],
  leftovers: [],
}

/** For --force: every file, whether it matches or not. */
export function everything({ cluster }: Run, node: ClusterNode, wrong: FolderDifference | undefined): FolderDifference {
  return { ...noDifference, ...wrong, differ: nodeFiles(cluster, node) }
}
