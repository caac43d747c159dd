/**
 * What every view says of who may still be let in: who left, who has an earlier certificate, or a group that was taken
 * away.
 */

import { isRevocable } from '../../lib/cluster/schema.ts'
import { caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import {
  entriesOf,
  formatEntries,
  knownCertificates,
  listIn,
  namesInUse,
  timeOf,
} from '../../lib/kubernetes/revocation.ts'
import { usersOf } from '../../lib/kubernetes/revoked-list.ts'
import { backdating, isOfOwnCa, tryCertificate } from '../../lib/pki/pair.ts'
import { type AllReplies, gatherReplies, type Replies } from '../../lib/replies.ts'
import { asFindings, type Finding, factsOf, type Use } from '../../lib/results.ts'
import { count, formatDate, formatNames, joinClauses } from '../../lib/wording.ts'
import { type AcceptedCertificate, acceptedCertificates, type Given, isMovedAway } from '../auth/accepted.ts'
import { certTable, identityFiles, isKeptOff } from '../layouts/tables.ts'
import { type ClusterRows, endsSoon } from '../target.ts'

/** Who may be let in by certificates that cluster.yaml would not issue now. */
export interface Holder {
  readonly name: string
  /** Of a node or user that cluster.yaml has, or had. `admin`: whoever is in system:masters. */
  readonly role: 'user' | 'worker' | 'control' | 'component' | 'admin'
  readonly isFormer: boolean
  /** Those that `revoked` in cluster.yaml does not deny. */
  readonly own: readonly AcceptedCertificate[]
  /** Of a former worker: current certificates that all workers share, issued before it left. */
  readonly shared: readonly AcceptedCertificate[]
  /** When the last of its certificates expires, denied or not. */
  readonly end: Date
}

/** Whom no list of the revoked keeps out: only rotations do. */
const isOutOfReach = ({ role, own }: Holder) =>
  role === 'control' || role === 'admin' || own.some(({ isMaster }) => isMaster)

export function holdersOf(run: Given): Holder[] {
  const accepted = acceptedCertificates(run)
  return [...formerHolders(run, accepted), ...presentHolders(run, accepted)].filter(
    (each) => isOutOfReach(each) || each.own.length + each.shared.length > 0,
  )
}

const lastOf = (certificates: readonly Pick<AcceptedCertificate, 'end'>[]) =>
  new Date(Math.max(...certificates.map(({ end }) => Number(end))))
const isOpen = ({ isDenied }: AcceptedCertificate) => !isDenied

/** Who is gone from cluster.yaml, and control nodes that became another node. */
function formerHolders(run: Given, accepted: readonly AcceptedCertificate[]): Holder[] {
  const { auth, cluster } = run
  const ofWorkers = certTable(cluster).flatMap(({ node, isClient, on, profile }) =>
    node === undefined && isClient && on.worker?.some((part) => part !== 'certificate') ? [profile.subject.CN] : [],
  )
  const apiNames = new Set(
    knownCertificates(auth).flatMap(({ name, certificate }) =>
      name === auth.files.names.api && isOfOwnCa(auth, certificate) ? certificate.sans : [],
    ),
  )
  // A layout's own certificates have another name as a user than as a file.
  const gone = accepted.filter(
    ({ why, file, user }) => why === 'name removed' && file && usersOf(file.name).includes(user),
  )
  const former = [...Map.groupBy(gone, ({ file }) => file?.name ?? '')].map(([name, certificates]): Holder => {
    const isNode = certificates.some(({ user }) => user !== name)
    const role = !isNode ? 'user' : apiNames.has(name) ? 'control' : 'worker'
    const left = Math.max(...certificates.map(({ file }) => timeOf(file?.folder)))
    const hasIt = ({ file }: AcceptedCertificate) => !file || file.certificate.notBefore.getTime() + backdating < left
    const shared = accepted.filter((each) => ofWorkers.includes(each.user) && isOpen(each) && hasIt(each))
    return {
      ...{ name, role, isFormer: true, own: certificates.filter(isOpen) },
      shared: role === 'worker' ? shared : [],
      end: lastOf(certificates),
    }
  })
  const demoted = cluster.nodes.flatMap(({ name, role }): Holder[] => {
    const isDemoted = role !== 'control' && apiNames.has(name) && !currentApiNames(run).has(name)
    return isDemoted ? [{ name, role: 'control', isFormer: true, own: [], shared: [], end: endOfCa(run) }] : []
  })
  return [...former, ...demoted]
}

const currentApiNames = ({ auth }: Given) => new Set(tryCertificate(auth, auth.files.names.api)?.sans)
const endOfCa = ({ auth, now }: Given) => tryCertificate(auth, caName)?.notAfter ?? now

/**
 * Of those who are there. Components and nodes take the new certificate themselves, so an earlier one is in nobody
 * else's hands, unless it was revoked for a theft, or its node was given up meanwhile.
 */
function presentHolders(run: Given, accepted: readonly AcceptedCertificate[]): Holder[] {
  const byRow = Map.groupBy(accepted, ({ row }) => row)
  return certTable(run.cluster).flatMap((row): Holder[] => {
    const all = byRow.get(row) ?? []
    const isStolen = all.some(({ why }) => why === 'key revoked')
    const unneeded = all.filter((each) => each.why !== undefined && isOpen(each))
    const isUser = row.phase === 'user-certs'
    const own = unneeded.filter((each) => {
      // What a renewal replaced ends soon by itself.
      if (each.isMaster) return !endsSoon(run, each.end)
      return isUser || isStolen || (row.phase === 'node-certs' && isMovedAway(run, each))
    })
    if (own.length === 0) return []
    const role = own.some(({ isMaster }) => isMaster) ? 'admin' : isUser ? 'user' : row.node ? 'worker' : 'component'
    return [{ name: row.name, role, isFormer: false, own, shared: [], end: lastOf(own) }]
  })
}

/**
 * Each is in one note, with the line of `revoked` where the next run takes it. `uses`: what API servers have counted,
 * where their nodes were looked at.
 */
export function notesOnHolders(run: Given, uses: Replies<readonly Use[]> = nobodyAsked): Finding[] {
  const {
    beyond = [],
    former = [],
    renewed = [],
    other = [],
  } = Object.groupBy(holdersOf(run), (each) => {
    if (isOutOfReach(each)) return 'beyond'
    if (each.isFormer) return 'former'
    return isRenewedUser(each) ? 'renewed' : 'other'
  })
  // Whose requests are counted is named.
  const { used = [], silent = [] } = Object.groupBy(renewed, ({ name }) =>
    requestsBy(name, uses) > 0 ? 'used' : 'silent',
  )
  const isFolded = silent.length > 3
  return asFindings([
    ...beyond.map((each) => formatBeyond(run, each)),
    former.length > 0 && formatFormer(run, former, uses),
    ...other.map((each) => formatOther(run, each, uses)),
    ...[...used, ...(isFolded ? [] : silent)].map((each) => formatRenewed(run, each, uses)),
    isFolded &&
      `earlier certificates of ${formatNames(silent.map(({ name }) => name))} are accepted until ${formatDate(lastOf(silent.flatMap(({ own }) => own)))}: give each the new kubeconfig`,
  ])
}

const nobodyAsked: Replies<readonly Use[]> = gatherReplies<readonly Use[]>([], () => undefined)

/** A user of cluster.yaml who has earlier certificates, and nothing worse. */
function isRenewedUser({ role, isFormer, own }: Holder): boolean {
  return role === 'user' && !isFormer && own.every(({ why }) => why === 'replaced')
}

function formatBeyond(run: Given, { name, role, own }: Holder): string {
  if (role === 'admin')
    return `${name}'s earlier certificate is in system:masters and accepted until ${formatDate(lastOf(own))}: only ${run.cluster.install ? 'rotate ca' : 'another CA'} ends that (docs/bad-day.md, "The admin's kubeconfig")`
  const [what, heading] =
    role === 'control'
      ? [formatNames(keptBy(run)), 'A control node, auth/, or a backup of it']
      : ['a certificate of system:masters', "The admin's kubeconfig"]
  return `${name} still has ${what}; only rotations revoke that (docs/bad-day.md, "${heading}")`
}

/** Who left: one line of `revoked` for all of them. */
function formatFormer(run: Given, former: readonly Holder[], uses: Replies<readonly Use[]>): string {
  const list = former.map((each) => {
    const { name, own, shared } = each
    const as = formatNames([...new Set(shared.map(({ user }) => user))])
    const also = shared.length > 0 && `${own.length > 0 ? 'also ' : ''}as ${as}`
    return `${name} (${[also, `until ${formatDate(lastOf([...own, ...shared]))}`, formatCounted(run, each, uses)].filter(Boolean).join(', ')})`
  })
  const line = lineFor(
    run,
    // A gateway has the name that it had as another node; a user may have that of a node that left.
    former.flatMap(({ name, own, shared }) => {
      const isByName = own.length > 0 && !namesInUse(run.cluster).has(name) && isRevocable(name)
      return [...(isByName ? [name] : entriesOf(knownHere(own))), ...entriesOf(knownHere(shared))]
    }),
  )
  return joinClauses(
    `certificates of ${list.join(', ')} are still accepted, although cluster.yaml no longer has ${former.length > 1 ? 'these names' : 'that name'}`,
    line && `to revoke them now, write ${line} in cluster.yaml (docs/everyday.md, "Remove a node or user")`,
  )
}

/** "jane's earlier certificate is accepted until 2027-01-05 (12 requests counted on control0 since 2026-12-01 10:00Z)" */
function formatEarlier(run: Given, holder: Holder, uses: Replies<readonly Use[]>): string {
  const { name, own } = holder
  const groups = [...new Set(own.flatMap(({ lostGroups }) => lostGroups))]
  const which = groups.length > 0 ? ` in ${formatNames(groups)}` : ''
  const [what, is] =
    own.length > 1
      ? [`${own.length} earlier certificates`, 'are']
      : [which ? 'certificate' : 'earlier certificate', 'is']
  const counted = formatCounted(run, holder, uses)
  return `${name}'s ${what}${which} ${is} accepted until ${formatDate(lastOf(own))}${counted && ` (${counted})`}`
}

function formatRenewed(run: Given, holder: Holder, uses: Replies<readonly Use[]>): string {
  const { name, own } = holder
  const line = lineFor(run, entriesOf(knownHere(own)))
  const ways = joinClauses(
    `give ${name} the new ${kubeconfigFile(name)}${isKubeconfigNew(run, name) ? '' : ', once a run has made it'}`,
    line && `if the old one was stolen, write ${line} in cluster.yaml (docs/bad-day.md, "Revoke a stolen key")`,
  )
  return `${formatEarlier(run, holder, uses)}: ${ways}`
}

/** It has the certificate that is in use. */
function isKubeconfigNew({ auth }: Given, name: string): boolean {
  const embedded = readEmbedded(auth.tryBytes(kubeconfigFile(name))?.toString() ?? '')
  return embedded !== undefined && auth.tryBytes(auth.files.certificate(name))?.equals(embedded.certificate) === true
}

function formatOther(run: Given, holder: Holder, uses: Replies<readonly Use[]>): string {
  const line = lineFor(run, entriesOf(knownHere(holder.own)))
  return joinClauses(
    formatEarlier(run, holder, uses),
    line && `to revoke it now, write ${line} in cluster.yaml (docs/bad-day.md, "Revoke a stolen key")`,
  )
}

/** Only with `install` cluster.yaml takes `revoked`. */
function lineFor(run: Given, entries: readonly string[]): string | undefined {
  return run.cluster.install && entries.length > 0 ? formatEntries(run, entries) : undefined
}

/** A key is revoked by a certificate that auth/ has: of one that only a list counts the key is not known. */
const knownHere = (certificates: readonly AcceptedCertificate[]) => certificates.filter(({ file }) => file)

/** "12 requests counted on control0, control1 since 2026-12-01 10:00Z" */
function formatCounted(run: Given, { name, own }: Holder, uses: Replies<readonly Use[]>): string {
  const counted = usesBy(name, uses)
  const used = counted.filter((use) => use.count > 0)
  if (used.length > 0) {
    const since = new Date(Math.min(...used.map((use) => Number(use.since))))
    return `${count(requestsBy(name, uses), 'request')} counted on ${formatNames(used.map(({ node }) => node))} since ${formatDate(since, since)}`
  }
  const listed = new Set(listIn(run.auth)?.counted?.map(({ fingerprint }) => fingerprint))
  const isCounted = counted.length > 0 && own.every(({ fingerprint }) => listed.has(fingerprint))
  return uses.isComplete && isCounted ? formatUnused(uses, name) : ''
}

function formatUnused(uses: AllReplies<readonly Use[]>, name: string): string {
  const since = new Date(Math.max(...usesBy(name, uses).map((use) => Number(use.since))))
  return `not used since ${formatDate(since, since)}`
}

/** Of a user with counters of its own, on each API server that has answered. */
function usesBy(name: string, { answers }: Replies<readonly Use[]>) {
  return [...answers].flatMap(([node, all]) =>
    all.filter(({ users }) => users.length === 1 && users[0] === name).map((use) => ({ ...use, node })),
  )
}

const requestsBy = (name: string, uses: Replies<readonly Use[]>) =>
  usesBy(name, uses).reduce((sum, use) => sum + use.count, 0)

/** What each API server has counted, as a walk has read it. */
export function usesOf({ cluster }: Given, rows: ClusterRows): Replies<readonly Use[]> {
  const controls = cluster.nodes.filter(({ role }) => role === 'control').map(({ name }) => name)
  return gatherReplies(controls, (name) => factsOf(rows.get(`revoked/${name}`), 'list')?.uses)
}

/** Who is revoked and tries all the same. */
export function notesOnDenied({ cluster }: Given, rows: ClusterRows): Finding[] {
  const found = cluster.nodes.flatMap(({ name: node }) => {
    const { refused } = factsOf(rows.get(`revoked/${node}`), 'list') ?? {}
    return (refused?.by ?? []).map((each) => ({ ...each, node, since: refused?.since ?? new Date(0) }))
  })
  return asFindings(
    [...Map.groupBy(found, ({ users }) => formatNames(users))].map(([users, all]) => {
      const since = new Date(Math.min(...all.map((each) => Number(each.since))))
      const sum = all.reduce((requests, each) => requests + each.count, 0)
      return `${formatNames(all.map(({ node }) => node))} denied ${count(sum, 'request')} of ${users} since ${formatDate(since, since)}`
    }),
  )
}

/** When the last certificate by which each of these is let in expires, by name. */
export function unneededUntil(run: Given): ReadonlyMap<string, Date> {
  const all = holdersOf(run).filter((each) => !isRenewedUser(each))
  return new Map(
    all.map(({ name, own, shared, end }) => [name, own.length + shared.length > 0 ? lastOf([...own, ...shared]) : end]),
  )
}

/** When the last earlier certificate of each user expires, by name. */
export function earlierUntil(run: Given): ReadonlyMap<string, Date> {
  return new Map(
    holdersOf(run)
      .filter(isRenewedUser)
      .map(({ name, own }) => [name, lastOf(own)]),
  )
}

/** What a control node has that no list revokes. */
function keptBy({ auth, cluster }: Given): string[] {
  const labels = [...identityFiles(cluster)].flatMap(([file, label]) =>
    auth.files.parse(file)?.kind === 'certificate' || isKeptOff(cluster, file) ? [] : [label],
  )
  return [...new Set(labels), kubeconfigFile(auth.files.names.admin)]
}
