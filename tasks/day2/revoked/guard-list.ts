/** Lists of who is revoked on nodes: the guard refuses to shorten one, and whoever is denied still is named. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../../lib/cluster/problem.ts'
import { Failure, isUnanswered, refusal, runAgain } from '../../../lib/failure.ts'
import { authorizationConfigFile, backupTime, caName, readBackup } from '../../../lib/files/auth-dir.ts'
import type { Graph, Run } from '../../../lib/graph/target.ts'
import { isOwnAuthorization, mayDeny, readRevoked, withCounted } from '../../../lib/kubernetes/authorization.ts'
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
import { nobody, type RevokedList, usersOf } from '../../../lib/kubernetes/revoked-list.ts'
import { largestFile } from '../../../lib/node/place.ts'
import { realPath } from '../../../lib/node/state.ts'
import { formatNames, joinClauses } from '../../../lib/wording.ts'
import { acceptedCertificates, isCountable, withReplaced } from '../../auth/accepted.ts'
import { fetchCommand } from '../../auth/fetch-command.ts'
import { findUndecidedIn } from '../../auth/undecided.ts'
import { type HeldFile, heldAt } from '../../deploy/held.ts'
import { digestOf, lookAtNode, type NodeLook } from '../../inspect/look.ts'
import { leftLists } from '../../inspect/reads.ts'
import { apiServer } from '../../layouts/layout.ts'
import { certTable } from '../../layouts/tables.ts'

/**
 * Lists of who is revoked, in a control node's folder and where its API server reads one, whether cluster.yaml has
 * `revoked` or not.
 */
export function listsOn({ role }: ClusterNode, seen: NodeLook): HeldFile[] {
  if (role !== 'control') return []
  const { places, units } = seen
  const file = authorizationConfigFile
  const inFolder = heldAt(seen, file, file)
  if (!places || places instanceof Failure) return inFolder
  const paths = units.flatMap((unit) => [...unit.files.filter((each) => each.file === file), ...leftLists(unit)])
  const placed = [...new Set(paths.map(({ path }) => realPath(places, path)))].flatMap((at) => heldAt(places, at, file))
  return [...inFolder, ...placed.filter(({ bytes }) => !bytes || !isOwnAuthorization(bytes.toString()))]
}

/** The list that such a file has; undefined if it can't be read. */
export function listOf(run: Run, { file, bytes, state }: HeldFile): RevokedList | undefined {
  if (bytes) return readRevoked(bytes.toString())
  return state.sha256 !== undefined && state.sha256 === digestOf(run, file) ? listIn(run.auth) : undefined
}

/**
 * Another auth/, or one that was lost and made again, may lack entries of the node's list, or certificates that it
 * accepts. Throws a refusal. A command that names the list lets in whom auth/ knew as revoked, and nobody else.
 */
export function guardList(run: Run, node: ClusterNode, seen: NodeLook): void {
  const { auth, cluster, now, options, command } = run
  const isNamed = options.names.includes('revoked')
  for (const held of listsOn(node, seen)) {
    const listed = listOf(run, held)
    const file = held.at
    const undecided = listed && findUndecidedIn(run, file, listed)
    if (undecided) throw undecided.with({ node: node.name })
    if (!cluster.revoked) continue
    if (!listed && !isNamed && (held.bytes ? mayDeny(held.bytes.toString()) : held.state.size > largestFile))
      throw refusal(formatUnread(file), [
        'add its entries to revoked in cluster.yaml',
        `then overwrite it; everybody else regains access: ${command('revoked install')}`,
      ]).with({ node: node.name })
    if (!listed) continue
    const wanted = wantedList(run)
    const known = [wanted, ...(isNamed ? listedBefore(run) : [])].map((each) => removedFrom(listed, each, now))
    const lost = listed.entries.filter((entry) => known.every((removed) => removed.includes(entry)))
    if (lost.length > 0) throw unknownThere(run, node, lost, file)
    const refused = lockedOutBy(wanted, listed, now)
    const uncounted = isNamed ? [] : lostCounts(run, listed)
    const lacking = [
      refused.length > 0 && `accepts a certificate of ${formatNames(refused)}`,
      uncounted.length > 0 && `counts requests with a certificate of ${formatNames(uncounted)}`,
    ].find(Boolean)
    if (lacking)
      throw refusal(`${file} ${lacking} that ${auth.path} lacks`, [
        `restore the list: ${readBack(run, node)}; then ${runAgain}`,
      ]).with({ node: node.name })
  }
}

/** Users of certificates that another auth/ has listed to be counted, and that this one would not. */
export function lostCounts(run: Pick<Run, 'auth' | 'cluster' | 'now'>, listed: RevokedList): string[] {
  const { auth, now } = run
  if (!listed.counted) return []
  const toCount = acceptedCertificates(run).filter((each) => isCountable(each) && !each.isDenied)
  const countable = new Set(toCount.map(({ fingerprint }) => fingerprint))
  // As one in use.
  const uncounted = new Set(
    knownCertificates(auth).flatMap(({ fingerprint }) => (countable.has(fingerprint) ? [] : fingerprint)),
  )
  const own = withReplaced(run, listIn(auth) ?? nobody)
  const all = mergeLists([own, { ...nobody, counted: listed.counted }])
  // Of a list that has no room for all of them, none is lost.
  const kept = new Set(
    withCounted(own, all.counted ?? [], listed.counted).counted?.map(({ fingerprint }) => fingerprint),
  )
  // Nor of a user who is denied.
  const denied = new Set(wantedList(run).entries.flatMap(usersOf))
  const lost = listed.counted.filter(
    ({ fingerprint, user, end }) =>
      end > now &&
      !denied.has(user) &&
      kept.has(fingerprint) &&
      !uncounted.has(fingerprint) &&
      !own.counted?.some((each) => each.fingerprint === fingerprint),
  )
  return [...new Set(lost.map(({ user }) => user))]
}

/** Those of auth/ when this run began: it keeps a copy of one that it shortens. */
function listedBefore({ auth, now }: Run): RevokedList[] {
  const kept = readBackup(auth, backupTime(now), authorizationConfigFile)
  return [listIn(auth) ?? nobody, (kept && readRevoked(kept.toString())) ?? nobody]
}

const readBack = (run: Run, { name }: ClusterNode) =>
  fetchCommand(run, [authorizationConfigFile], run.command(`recover --node ${name}`))

/**
 * auth/ may know no certificate of a key, so that the list of the node has to be read back, listed in cluster.yaml or
 * not.
 */
function unknownThere(run: Run, node: ClusterNode, lost: readonly string[], file: string): Failure {
  const { cluster, command } = run
  const missing = lost.filter((entry) => !cluster.revoked?.includes(entry))
  const add = missing.length > 0 && `write ${formatEntries(run, missing)} in cluster.yaml`
  const back = readBack(run, node)
  const keep = lost.some(isKeyEntry) && `restore the list: ${back}; then ${runAgain}`
  const letIn = `or restore access, with every certificate that is still valid: ${back} && ${command('revoked install')}`
  return refusal(formatRemoved(lost, file), [joinClauses(add, keep), ...(add ? [letIn] : [])]).with({ node: node.name })
}

/**
 * Without `revoked` in cluster.yaml: the list that API servers enforce all the same, or that is there for them, with
 * the line to paste.
 */
export function stillListed(run: Run, node: ClusterNode, look: NodeLook): string[] {
  const { auth } = run
  const lists = listsOn(node, look)
  const { entries } = mergeLists(lists.flatMap((held) => listOf(run, held) ?? []))
  const add = `cluster.yaml has no revoked; add ${formatEntries(run, entries)}`
  const [left] = look.units.flatMap(leftLists)
  const isOurs = lists.length > 0 || auth.read(authorizationConfigFile) !== undefined
  if (!left?.path.endsWith(`/${authorizationConfigFile}`) || !isOurs)
    return entries.length > 0 ? [`${lists[0]?.at} lists ${formatNames(entries)}, but ${add}`] : []
  return [
    `${apiServer} still denies ${formatNames(entries) || 'everyone in its list'} (${left.path}), but ${add}; or restore access: set --authorization-mode=Node,RBAC instead of ${left.by}, then run systemctl daemon-reload, and restart it, one node at a time`,
  ]
}

/** A node or user gets a first certificate by the CA that is there. */
function isAnybodyNew({ auth, cluster }: Run, graph: Graph): boolean {
  const { certificate } = auth.files
  if (!auth.read(certificate(caName))) return false
  const inUse = namesInUse(cluster)
  return certTable(cluster).some(({ id, name }) => inUse.has(name) && graph.has(id) && !auth.read(certificate(name)))
}

/**
 * Before the list of who is revoked changes in auth/, or without `revoked` a node or user is new: what the guard of
 * each control node refuses. Any that can't be looked at is guarded by its own targets.
 */
export async function findLongerLists(
  run: Run,
  graph: Graph,
  { tell }: { readonly tell: Run['note'] },
): Promise<[string, Failure][]> {
  const { cluster } = run
  if (cluster.revoked ? !graph.has('revoked') || isListUpToDate(run) : !isAnybodyNew(run, graph)) return []
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
