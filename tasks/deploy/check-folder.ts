/** The check of a node's folder: what differs from what belongs there, and what else is in it. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { caNames, hasDigest } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { checkStaging, diff, folderOf, longestUse } from '../../lib/node/place.ts'
import { type NodeState, realPath } from '../../lib/node/state.ts'
import { asFindings, type Difference, findingOf, formatKept, type ReasonOf } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { isPending } from '../auth/pending.ts'
import { digestOf, type NodeLook } from '../inspect/look.ts'
import { whyRead } from '../inspect/reads.ts'
import { identityFiles, isKeptOff, isSwitchedOff, nodeFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { formatOthers, guard, isOurs } from './guards.ts'
import { stagingOwner } from './marks.ts'
import { guardMachine, pairsIn } from './reached-machine.ts'

export type NodeVerdict = Readonly<ReturnType<typeof checkNode>>

/** `known`: names of files of ours, wherever they belong. Throws a Failure if the node may not be written to. */
export function checkNode(run: Run, node: ClusterNode, look: NodeLook, known: ReadonlySet<string>, isForced: boolean) {
  const unproven = guardMachine(run, node, look)
  refusePlaces(run, node, look)
  const others = guard(run, node, look, isForced)
  const readers = new Map(foreignFiles(run, node, look, known).map((name) => [name, readerOf(run, look, name)]))
  const foreign = [...readers].flatMap(([name, why]) => (why === undefined ? [name] : []))
  const neighbours = neighboursIn(run, node, look)
  const prunes = run.options.prune && neighbours.length === 0
  const strangers = prunes ? foreign.filter((name) => !isOurs(run, look, name)) : []
  const why = neighbours.length > 0 && `${node.name} may be the same machine as ${formatNames(neighbours)}`
  const isLeft = ([name, reader]: readonly [string, string | undefined]) =>
    reader === undefined ? !prunes : isKeptOff(run.cluster, name)
  const left = [...readers].filter(isLeft).map(([file, reader]) => ({
    ...{ file, path: `${look.folder}/${file}` },
    ...(isKeptOff(run.cluster, file) && { isKeptOff: true as const }),
    ...((reader !== undefined || why !== false) && { why: reader ?? String(why) }),
  }))
  // What is kept off nodes is more than a warning.
  const unwanted = left.flatMap(({ file, isKeptOff }) => (isKeptOff ? [] : [file]))
  const stagings = Map.groupBy(look.leftovers, (each) => checkStaging(each, stagingOwner(run)))
  const wrong = {
    ...compareFolder(run, node, look),
    pruned: prunes ? foreign.filter((name) => !strangers.includes(name)) : [],
    leftovers: (stagings.get('left') ?? []).map(({ name }) => name),
  }
  refuseUnseen(run, look, [...wrong.missing, ...wrong.differ])
  const warnings = asFindings([
    unproven,
    others.length > 0 && `another ${formatOthers(others)} on ${node.name} is backed up to auth/backup and overwritten`,
    unwanted.length > 0 && formatForeign(node, unwanted, neighbours),
    strangers.length > 0 &&
      `--prune leaves ${formatNames(strangers)} on ${node.name}: neither auth/ nor its backup has them, and no CA of auth/ has signed them`,
    ...[...readers].map(
      ([name, why]) =>
        why !== undefined &&
        !isKeptOff(run.cluster, name) &&
        `${node.name} has ${name}, which does not belong on it; ${formatKept(why)}`,
    ),
    ...(stagings.get('may be in use') ?? []).map(
      ({ name, age }) =>
        `${node.name} has ${name}, ${age} s old, from another run, active or interrupted; runs remove it once it is ${longestUse / 60} minutes old`,
    ),
  ])
  return {
    /** Undefined if everything matches. */
    wrong: isRight(wrong) ? undefined : wrong,
    /** Of another identity, or somebody else's: auth/backup gets a copy before they are overwritten. */
    others,
    findings: [...warnings, ...left.map((each) => findingOf(run, node.name, each))],
  }
}

/**
 * Files that units read are not replaced by a deploy: `install` does that, in turns, with the old ones kept until they
 * are healthy.
 */
function refusePlaces({ cluster }: Run, node: ClusterNode, { folder, places, units }: NodeLook): void {
  if (!cluster.install || !places || places instanceof Failure) return
  const reader = units.find(({ files, contradicted }) =>
    [...files, ...contradicted].some(({ path }) => folderOf(realPath(places, path)) === folder),
  )
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

export function filesToCopy({ missing, differ, wrongOwner }: ReasonOf<'on-node'>): string[] {
  return [...new Set([...missing, ...differ, ...wrongOwner])]
}

export function isRight({ kind, ...lists }: ReasonOf<'on-node'>): boolean {
  return Object.values(lists).every((list) => list.length === 0)
}

/** Compares what belongs there with what is there. */
export function compareFolder(run: Run, node: ClusterNode, seen: NodeState): ReasonOf<'on-node'> {
  const drifts = diff(
    nodeFiles(run.cluster, node).map((name) => ({
      path: name,
      // A file that is not in auth/ yet is compared once it is.
      sha256: digestOf(run, name),
      isPending: isPending(run, name),
      isSecret: run.auth.files.mode(name) === secretMode,
      readers: { login: seen.uid },
    })),
    seen,
  )
  const names = (...whats: Difference['what'][]) =>
    drifts.flatMap(({ path, what }) => (whats.includes(what) ? [path] : []))
  return {
    ...nothingOnNode,
    missing: names('missing'),
    differ: names('differs', 'not a file'),
    wrongOwner: names('wrong owner'),
    wrongMode: names('wrong mode'),
  }
}

/** Why a file of an identity, or of what is switched off, has to stay in the folder; undefined if nothing reads it. */
function readerOf({ auth, cluster }: Run, look: NodeLook, name: string): string | undefined {
  const { places, units, files } = look
  const isOff = isSwitchedOff(cluster, name)
  if (!isOff && !identityFiles(cluster).has(name)) return undefined
  // The key of a CA that auth/ has lost may be the only one.
  if (isOff && !hasDigest(auth, name, files.get(name)?.sha256)) return 'auth/ has no copy'
  if (!places) return undefined
  if (places instanceof Failure) return 'the files that its components read could not be inspected'
  return whyRead(units, places, `${look.folder}/${name}`)
}

/** The certificates and kubeconfigs there that `--prune` would remove, of which a look has no content. */
export function unreadForeign(run: Run, node: ClusterNode, look: NodeLook, known: ReadonlySet<string>): string[] {
  const isUnread = (name: string) =>
    !look.contents.has(name) && ['certificate', 'kubeconfig'].includes(run.auth.files.parse(name)?.kind ?? '')
  if (!run.options.prune) return []
  return foreignFiles(run, node, look, known).filter(isUnread)
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

/** Other nodes whose certificate and key are also there: it may be the same machine under another name. */
function neighboursIn({ auth, cluster }: Run, node: ClusterNode, seen: NodeState): string[] {
  const others = new Set(cluster.nodes.filter((other) => other !== node).map(({ name }) => name))
  return pairsIn(auth, seen).filter((name) => others.has(name))
}

function formatForeign(node: ClusterNode, foreign: readonly string[], neighbours: readonly string[]): string {
  const holds = `${node.name} has ${formatNames(foreign)}, which ${foreign.length === 1 ? 'does' : 'do'} not belong on it`
  return neighbours.length === 0
    ? `${holds}; remove with --prune`
    : `${holds}; --prune keeps them because ${node.name} may be the same machine as ${formatNames(neighbours)}; if not, remove them yourself`
}

export const nothingOnNode: ReasonOf<'on-node'> = {
  kind: 'on-node',
  missing: [],
  differ: [],
  wrongMode: [],
  wrongOwner: [],
  pruned: [],
  leftovers: [],
}

/** For --force: every file, whether it matches or not. */
export function everything(
  { cluster }: Run,
  node: ClusterNode,
  wrong: ReasonOf<'on-node'> | undefined,
): ReasonOf<'on-node'> {
  return { ...nothingOnNode, ...wrong, differ: nodeFiles(cluster, node) }
}
