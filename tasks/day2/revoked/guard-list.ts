/**
 * The guard of the list of who is revoked. auth/ may be a copy, or made again, so a control node may have a list that
 * denies more users, or knows more certificates, than the next list of auth/. A run does not shorten it unnoticed:
 *
 * | the node's list                                 | the run                                                        |
 * | ----------------------------------------------- | -------------------------------------------------------------- |
 * | has a name that a node or user has, and there   | is refused, until cluster.yaml says who is revoked             |
 * | is no `revoked` in cluster.yaml                 |                                                                |
 * | is any other, and there is no `revoked`         | leaves the list as it is                                       |
 * | can't be read, and may deny somebody            | is refused, unless its command names `revoked`                 |
 * | has entries that the next list removes          | is refused, unless its command names `revoked`, and auth/ had  |
 * |                                                 | these entries when the run began                               |
 * | accepts a certificate that the next list denies | is refused: the list has to be restored                        |
 * | counts a certificate that the next one does not | is refused, unless its command names `revoked`                 |
 */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../../lib/cluster/problem.ts'
import { Failure, isUnanswered, refusal, runAgain } from '../../../lib/failure.ts'
import { authorizationConfigFile, backupTime, caName, readBackup } from '../../../lib/files/auth-dir.ts'
import { isForeignAuthorization, mayDeny, readRevoked, withCounted } from '../../../lib/kubernetes/authorization.ts'
import {
  formatEntries,
  formatRemoved,
  formatUnread,
  isListUpToDate,
  knownCertificates,
  listIn,
  lockedOutBy,
  mergeLists,
  namesInUse,
  removedFrom,
  wantedList,
} from '../../../lib/kubernetes/revocation.ts'
import { type Counted, nobody, type RevokedList, usersOf } from '../../../lib/kubernetes/revoked-list.ts'
import { largestFile } from '../../../lib/node/place.ts'
import { realPath } from '../../../lib/node/state.ts'
import { formatNames, joinClauses, pasteable } from '../../../lib/wording.ts'
import { acceptedCertificates, isCountable, withReplaced } from '../../auth/accepted.ts'
import { fetchCommand } from '../../auth/fetch-command.ts'
import { findUndecidedIn } from '../../auth/undecided.ts'
import { type HeldFile, heldAt } from '../../deploy/held.ts'
import { digestOf, lookAtNode, type NodeLook } from '../../inspect/look.ts'
import { leftLists } from '../../inspect/reads.ts'
import { apiServer } from '../../layouts/layout.ts'
import { certTable } from '../../layouts/tables.ts'
import type { ClusterGraph, Run } from '../../target.ts'

/**
 * The files with a list on a control node, whether cluster.yaml has `revoked` or not: in its folder, and where its API
 * server reads a list.
 */
export function listsOn({ role }: ClusterNode, look: NodeLook): HeldFile[] {
  if (role !== 'control') return []
  const { places, units } = look
  const file = authorizationConfigFile
  const inFolder = heldAt(look, file, file)
  if (!places || places instanceof Failure) return inFolder
  const read = units.flatMap((unit) => [...unit.files.filter((each) => each.file === file), ...leftLists(unit)])
  const paths = new Set(read.map(({ path }) => realPath(places, path)))
  const atPlaces = [...paths].flatMap((path) => heldAt(places, path, file))
  return [...inFolder, ...atPlaces.filter(({ bytes }) => !bytes || !isForeignAuthorization(bytes.toString()))]
}

/** The list in such a file; undefined if it can't be read. */
export function listOf(run: Run, { file, bytes, state }: HeldFile): RevokedList | undefined {
  if (bytes) return readRevoked(bytes.toString())
  return state.sha256 !== undefined && state.sha256 === digestOf(run, file) ? listIn(run.auth) : undefined
}

/** Throws the refusal that the table above has for one of the lists of the node. */
export function guardList(run: Run, node: ClusterNode, look: NodeLook): void {
  const isNamed = run.options.names.includes('revoked')
  for (const file of listsOn(node, look)) {
    const refused = findRefusal({ run, node, file, isNamed })
    if (refused) throw refused.with({ node: node.name })
  }
}

/** One file with a list, and the node that has it. */
interface Guarded {
  readonly run: Run
  readonly node: ClusterNode
  readonly file: HeldFile
  /** True if the command names `revoked`. */
  readonly isNamed: boolean
}

function findRefusal(guarded: Guarded): Failure | undefined {
  const { run, file } = guarded
  const listed = listOf(run, file)
  const undecided = listed && findUndecidedIn(run, file.at, listed)
  if (undecided) return undecided
  if (!run.cluster.revoked) return undefined
  if (!listed) return findUnread(guarded)
  return findRemoved(guarded, listed) ?? findLacking(guarded, listed)
}

function findUnread({ run, file, isNamed }: Guarded): Failure | undefined {
  const { at, bytes, state } = file
  if (isNamed || !(bytes ? mayDeny(bytes.toString()) : state.size > largestFile)) return undefined
  return refusal(formatUnread(at), [
    'add its entries to revoked in cluster.yaml',
    `then overwrite it; everybody else regains access: ${run.command('revoked install')}`,
  ])
}

function findRemoved(guarded: Guarded, listed: RevokedList): Failure | undefined {
  const { run, isNamed } = guarded
  const next = [wantedList(run), ...(isNamed ? listsBefore(run) : [])]
  const removedFromEach = next.map((list) => removedFrom(listed, list, run.now))
  const removed = listed.entries.filter((entry) => removedFromEach.every((each) => each.includes(entry)))
  return removed.length > 0 ? wouldRemove(guarded, removed) : undefined
}

/** The lists that auth/ had when this run began, or has: a run keeps a copy of a list that it shortens. */
function listsBefore({ auth, now }: Run): RevokedList[] {
  const copy = readBackup(auth, backupTime(now), authorizationConfigFile)
  return [listIn(auth) ?? nobody, (copy && readRevoked(copy.toString())) ?? nobody]
}

/** This auth/ may have no certificate of a key that the node lists: then an entry alone revokes nothing. */
function wouldRemove({ run, node, file }: Guarded, removed: readonly string[]): Failure {
  const { cluster, command } = run
  const missing = removed.filter((entry) => !cluster.revoked?.includes(entry))
  const add = missing.length > 0 && `write ${formatEntries(run, missing)} in cluster.yaml`
  const restore = restoreCommand(run, node)
  const keep = removed.some(isKeyEntry) && `restore the list: ${restore}; then ${runAgain}`
  const letIn = `or restore access, with every certificate that is still valid: ${pasteable(`${restore} && ${command('revoked install')}`)}`
  return refusal(formatRemoved(removed, file.at), [joinClauses(add, keep), ...(add ? [letIn] : [])])
}

function findLacking({ run, node, file, isNamed }: Guarded, listed: RevokedList): Failure | undefined {
  const lockedOut = lockedOutBy(wantedList(run), listed, run.now)
  const uncounted = isNamed ? [] : lostCounts(run, listed)
  const does = [
    lockedOut.length > 0 && `accepts a certificate of ${formatNames(lockedOut)}`,
    uncounted.length > 0 && `counts requests with a certificate of ${formatNames(uncounted)}`,
  ].find(Boolean)
  if (!does) return undefined
  return refusal(`${file.at} ${does} that ${run.auth.path} lacks`, [
    `restore the list: ${restoreCommand(run, node)}; then ${runAgain}`,
  ])
}

const restoreCommand = (run: Run, { name }: ClusterNode) =>
  fetchCommand(run, [authorizationConfigFile], run.command(`recover --node ${name}`))

/** The users of valid certificates that `listed` counts, and that the next list of this auth/ would not count. */
export function lostCounts(run: Pick<Run, 'auth' | 'cluster' | 'now'>, listed: RevokedList): string[] {
  const { counted } = listed
  if (!counted) return []
  const own = withReplaced(run, listIn(run.auth) ?? nobody)
  const ownFingerprints = fingerprintsIn(own.counted)
  const fitting = fittingOf(own, counted)
  const notReplaced = notReplacedIn(run)
  const denied = new Set(wantedList(run).entries.flatMap(usersOf))
  const isLost = ({ fingerprint, user, end }: Counted) =>
    end > run.now &&
    !denied.has(user) &&
    fitting.has(fingerprint) &&
    !notReplaced.has(fingerprint) &&
    !ownFingerprints.has(fingerprint)
  return [...new Set(counted.filter(isLost).map(({ user }) => user))]
}

const fingerprintsIn = (all: readonly Pick<Counted, 'fingerprint'>[] = []) =>
  new Set(all.map(({ fingerprint }) => fingerprint))

/** What fits into the file, if both lists are merged: what does not fit is no loss. */
function fittingOf(own: RevokedList, counted: readonly Counted[]): Set<string> {
  const all = mergeLists([own, { ...nobody, counted }])
  return fingerprintsIn(withCounted(own, all.counted ?? [], counted).counted)
}

/** The certificates of this auth/ that are not to be counted, such as those in use. */
function notReplacedIn(run: Pick<Run, 'auth' | 'cluster' | 'now'>): Set<string> {
  const toCount = acceptedCertificates(run).filter((each) => isCountable(each) && !each.isDenied)
  return fingerprintsIn(knownCertificates(run.auth)).difference(fingerprintsIn(toCount))
}

/**
 * Without `revoked` in cluster.yaml: a sentence about the list that the node's API server still enforces, or has in its
 * files, with the line to paste.
 */
export function stillListed(run: Run, node: ClusterNode, look: NodeLook): string[] {
  const { auth } = run
  const lists = listsOn(node, look)
  const { entries } = mergeLists(lists.flatMap((file) => listOf(run, file) ?? []))
  const add = `cluster.yaml has no revoked; add ${formatEntries(run, entries)}`
  const [left] = look.units.flatMap(leftLists)
  const isOurs = lists.length > 0 || auth.read(authorizationConfigFile) !== undefined
  if (!left?.path.endsWith(`/${authorizationConfigFile}`) || !isOurs)
    return entries.length > 0 ? [`${lists[0]?.at} lists ${formatNames(entries)}, but ${add}`] : []
  return [
    `${apiServer} still denies ${formatNames(entries) || 'everyone in its list'} (${left.path}), but ${add}; or restore access: set --authorization-mode=Node,RBAC instead of ${left.by}, then run ${pasteable('systemctl daemon-reload')}, and restart it, one node at a time`,
  ]
}

/** True if a node or user gets its first certificate from an existing CA. */
function hasNewName({ auth, cluster }: Run, graph: ClusterGraph): boolean {
  const { certificate } = auth.files
  if (!auth.read(certificate(caName))) return false
  const inUse = namesInUse(cluster)
  return certTable(cluster).some(({ id, name }) => inUse.has(name) && graph.has(id) && !auth.read(certificate(name)))
}

/**
 * The refusals of the guard on all control nodes, each with the id of a target. It looks at them before a run changes the
 * list in auth/, or, without `revoked`, gives a new node or user a certificate. A node that can't be looked at is guarded
 * by its own targets later.
 */
export async function findLongerLists(
  run: Run,
  graph: ClusterGraph,
  { tell }: { readonly tell: Run['note'] },
): Promise<[string, Failure][]> {
  const { cluster } = run
  if (cluster.revoked ? !graph.has('revoked') || isListUpToDate(run) : !hasNewName(run, graph)) return []
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  if (cluster.revoked) tell(`reading who is revoked on ${formatNames(controls.map(({ name }) => name))}`)
  const refusals = await run.limits.node.map(controls, async (node): Promise<[string, Failure][]> => {
    try {
      guardList(run, node, await lookAtNode(run, node))
      return []
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (isUnanswered(error)) run.unreached?.set(node.name, error)
      return error.kind === 'refused' ? [[`${cluster.revoked ? 'revoked' : 'deploy'}/${node.name}`, error]] : []
    }
  })
  return refusals.flat()
}
