/**
 * Who is let in by a certificate that cluster.yaml has no use for: who left, and who has an older key, or a group that
 * was taken away. A line of `revoked` ends each, but for what a control node keeps.
 */
import { join } from 'node:path'
import { isKeyEntry } from '../../lib/cluster/problem.ts'
import { isRevocable } from '../../lib/cluster/schema.ts'
import { backUp, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import type { Rows, Run } from '../../lib/graph/target.ts'
import { isOverRevoked, type Shown, usersOf } from '../../lib/kubernetes/authorization.ts'
import {
  coveredBy,
  entriesOf,
  formatEntries,
  isAccepted,
  type KnownCertificate,
  knownCertificates,
  listIn,
  namesInUse,
  timeOf,
  wantedList,
} from '../../lib/kubernetes/revocation.ts'
import { commonNameOf, endOf } from '../../lib/pki/certificate.ts'
import { backdating, isOfOwnCa, ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { asFindings, type Finding } from '../../lib/reason.ts'
import { count, formatDate, formatNames } from '../../lib/wording.ts'
import { type CertRow, certTable, identityFiles, isKeptOff } from '../layouts/tables.ts'

export type Given = Pick<Run, 'auth' | 'cluster' | 'now'>

/**
 * A certificate of a client, in auth/, in its backup, or of which the list of the revoked alone knows: without a file.
 */
type ClientCertificate = Shown & { readonly file?: KnownCertificate }

/** All that have not expired, with whether one is over a revoked key, and whether its user is let in by it. */
function validCertificates(run: Given) {
  const { auth, cluster, now } = run
  const { known = [], out = [] } = Object.groupBy(
    knownCertificates(auth).filter(({ certificate }) => !certificate.isCa),
    (each) => (isAccepted(run, each) ? 'known' : 'out'),
  )
  // Of a CA that was replaced the list may have some still.
  const ended = new Set(out.map(({ fingerprint }) => fingerprint))
  const found = known.map((file): ClientCertificate => ({ ...file, end: endOf(file.certificate, ownCas(auth)), file }))
  // A copy in auth/backup is the one in auth/.
  const ofList = listIn(auth)?.certificates.filter(({ fingerprint }) => !ended.has(fingerprint)) ?? []
  const listed: readonly ClientCertificate[] = [...ofList, ...found.toReversed()]
  const all = [...new Map(listed.map((each) => [each.fingerprint, each] as const)).values()].toReversed()
  const isOver = isOverRevoked(wantedList(run))
  const names = new Set(cluster.revoked?.flatMap(usersOf))
  const isOpen = (each: ClientCertificate) => !isOver(each) && !names.has(each.user)
  return { valid: all.filter(({ end }) => end > now), isOver, isOpen }
}

export interface Former {
  readonly name: string
  readonly role: 'user' | 'worker' | 'control'
  /** When the last of its certificates expires, revoked or not. */
  readonly end: Date
  /** Those by which it is let in. */
  readonly own: readonly ClientCertificate[]
  /** Of a worker: those of clients that all workers are. */
  readonly shared: readonly ClientCertificate[]
}

/** Who is gone from cluster.yaml with a certificate that is valid. */
export function formerHolders(run: Given): Former[] {
  const { auth, cluster } = run
  const { valid, isOpen } = validCertificates(run)
  const rows = certTable(cluster)
  const known = new Set(rows.map(({ profile }) => profile.subject.CN))
  // As a layout's own have another name as a user than as a file.
  const former = valid.filter(({ file, user }) => file && !known.has(user) && usersOf(file.name).includes(user))
  const ofWorkers = rows.flatMap(({ node, isClient, on, profile }) =>
    node === undefined && isClient && on.worker?.some((part) => part !== 'certificate') ? [profile.subject.CN] : [],
  )
  const apiNames = new Set(
    knownCertificates(auth).flatMap(({ name, certificate }) => (name === auth.files.names.api ? certificate.sans : [])),
  )
  return [...Map.groupBy(former, ({ file }) => file?.name ?? '')].map(([name, certificates]): Former => {
    const isNode = certificates.some(({ user }) => user !== name)
    const role = !isNode ? 'user' : apiNames.has(name) ? 'control' : 'worker'
    const left = Math.max(...certificates.map(({ file }) => timeOf(file?.folder)))
    const hasIt = ({ file }: ClientCertificate) => !file || file.certificate.notBefore.getTime() + backdating < left
    const shared = valid.filter((each) => ofWorkers.includes(each.user) && isOpen(each) && hasIt(each))
    return {
      ...{ name, role, own: certificates.filter(isOpen), shared: role === 'worker' ? shared : [] },
      end: lastOf(certificates),
    }
  })
}

const lastOf = (certificates: readonly ClientCertificate[]) =>
  new Date(Math.max(...certificates.map(({ end }) => Number(end))))

const isMaster = ({ file }: ClientCertificate) => file?.certificate.attributes.includes('O=system:masters') === true

/** Who is let in by certificates that cluster.yaml no longer needs, and the entries of `revoked` that end it. */
interface LetIn {
  readonly name: string
  readonly certificates: readonly ClientCertificate[]
  readonly how?: string | undefined
  readonly entries: readonly string[]
}

/** `beyond`: those who have what only rotations end. `isReplaced`: targets whose key a plan replaces. */
function findHolders(run: Given, isReplaced?: (id: string) => boolean) {
  // A gateway has the name that it had as another node; a user may have that of a node that left.
  const inUse = namesInUse(run.cluster)
  const isBeyond = ({ role, own }: Former) => role === 'control' || own.some(isMaster)
  const former = formerHolders(run)
  const left = former
    .filter((each) => !isBeyond(each))
    .map(({ name, own, shared }): LetIn => {
      const as = formatNames([...new Set(shared.map(({ user }) => user))])
      return {
        ...{ name, certificates: [...own, ...shared] },
        how: shared.length > 0 ? `${own.length > 0 ? 'also ' : ''}as ${as}` : undefined,
        entries: [
          ...(own.length > 0 && !inUse.has(name) && isRevocable(name) ? [name] : entriesOf(own)),
          ...entriesOf(shared),
        ],
      }
    })
  const all = [...left, ...olderCertificates(run, isReplaced)]
  return { beyond: former.filter(isBeyond), letIn: all.filter(({ certificates }) => certificates.length > 0) }
}

/** A sentence with the line of `revoked` that ends it for all of them, and one for each whom only rotations end. */
export function notesOnHolders(run: Given, isReplaced?: (id: string) => boolean): Finding[] {
  const { beyond, letIn } = findHolders(run, isReplaced)
  const notes = beyond.map(({ name, role }) => {
    const what = role === 'control' ? formatNames(keptBy(run)) : 'a certificate of system:masters'
    const heading = role === 'control' ? 'A control node, auth/, or a backup of it' : "The admin's kubeconfig"
    return `${name} still has ${what}; only rotations revoke that (docs/bad-day.md, "${heading}")`
  })
  if (letIn.length === 0) return asFindings(notes)
  const list = letIn.map(
    ({ name, how, certificates }) => `${name} (${[how, untilOf(certificates)].filter(Boolean).join(', ')})`,
  )
  const entries = [...new Set(letIn.flatMap((each) => each.entries))]
  const page = entries.every(isKeyEntry)
    ? 'docs/bad-day.md, "Revoke a stolen key"'
    : 'docs/everyday.md, "Remove a node or user"'
  return asFindings([
    ...notes,
    `certificates of ${list.join(', ')} are still accepted, but cluster.yaml no longer needs them; to revoke them now, write ${formatEntries(run, entries)} in cluster.yaml (${page})`,
  ])
}

/** What a control node has that no list revokes. */
function keptBy({ auth, cluster }: Given): string[] {
  const labels = [...identityFiles(cluster)].flatMap(([file, label]) =>
    auth.files.parse(file)?.kind === 'certificate' || isKeptOff(cluster, file) ? [] : [label],
  )
  return [...new Set(labels), kubeconfigFile(auth.files.names.admin)]
}

/**
 * Of those who are there, certificates over another key than now, or with groups that were taken away: of every user;
 * of a node that came back; and of whoever has a revoked key, since that may not be the one that was stolen.
 */
function olderCertificates(run: Given, isReplaced: (id: string) => boolean = () => false): LetIn[] {
  const { auth, cluster } = run
  const { valid, isOver, isOpen } = validCertificates(run)
  const byUser = Map.groupBy(valid, ({ user }) => user)
  const isMoved = ({ file }: ClientCertificate) =>
    file && file.folder !== '.' && auth.read(join(file.folder, auth.files.key(file.name)))
  return certTable(cluster).map((row): LetIn => {
    const { name, id, phase, profile } = row
    const all = byUser.get(profile.subject.CN) ?? []
    const present = all.find(({ file }) => file?.folder === '.' && file.name === name && !isReplaced(id))
    const countsAll = phase === 'user-certs' || all.some(isOver)
    const counts = (each: ClientCertificate) => countsAll || (phase === 'node-certs' && isMoved(each))
    const others = all.filter((each) => isOpen(each) && each.keyId !== present?.keyId && counts(each))
    const lost = phase === 'user-certs' ? all.filter((each) => isOpen(each) && lostGroups(row, each).length > 0) : []
    const certificates = [...new Set([...others, ...lost])]
    const ofPresent = lost.filter(({ keyId }) => keyId === present?.keyId)
    const groups = [...new Set(ofPresent.flatMap((each) => lostGroups(row, each)))]
    const how = groups.length > 0 ? `in ${formatNames(groups)}` : 'with an older key'
    return { name, certificates, how, entries: entriesOf(certificates) }
  })
}

function lostGroups({ profile }: CertRow, { file }: ClientCertificate): string[] {
  const wanted = [profile.subject.O ?? []].flat().map((group) => `O=${group}`)
  const its = file?.certificate.attributes.filter((attribute) => attribute.startsWith('O=')) ?? []
  return its.flatMap((each) => (wanted.includes(each) ? [] : [each.slice('O='.length)]))
}

/** When the last certificate by which each of these is let in expires, by name. */
export function unneededUntil(run: Given): ReadonlyMap<string, Date> {
  const { beyond, letIn } = findHolders(run)
  return new Map([
    ...beyond.map(({ name, end }): [string, Date] => [name, end]),
    ...letIn.map(({ name, certificates }): [string, Date] => [name, lastOf(certificates)]),
  ])
}

const untilOf = (certificates: readonly ClientCertificate[]) => `until ${formatDate(lastOf(certificates))}`

/** Files of auth/ of those who are gone, which a run moves to its backup: a name that comes back gets a new key. */
export function formerFiles(run: Given): string[] {
  const { auth } = run
  const names = new Set(auth.names().flatMap((file) => auth.files.parse(file)?.name ?? []))
  const known = new Set(certTable(run.cluster).map(({ name }) => name))
  const former = [...names].filter((name) => {
    const certificate = known.has(name) ? undefined : tryCertificate(auth, name)
    return certificate && usersOf(name).includes(commonNameOf(certificate) ?? '') && isOfOwnCa(auth, certificate)
  })
  return former.flatMap((name) =>
    // The certificate last: by it an interrupted move is found.
    [auth.files.key(name), kubeconfigFile(name), auth.files.certificate(name)].filter((file) => auth.read(file)),
  )
}

export function notesOnMove(run: Given): Finding[] {
  const files = formerFiles(run)
  return asFindings([
    files.length > 0 &&
      `a run moves ${formatNames(files)} to auth/backup, as no node or user of cluster.yaml has that name`,
  ])
}

/** Moves them to auth/backup. */
export function setAside(run: Pick<Run, 'auth' | 'cluster' | 'now' | 'note'>): void {
  const { auth, now, note } = run
  const files = formerFiles(run)
  const folder = files.length > 0 ? backUp(auth, files, now) : undefined
  for (const file of files) auth.remove(file)
  if (folder !== undefined)
    note(`moved ${formatNames(files)} to ${folder}, as no node or user of cluster.yaml has that name`)
}

/** What each entry that is added revokes, and what it does not. */
export function notesOnEntries(run: Given, rows: Rows): Finding[] {
  const reasons = [...rows.values()].flatMap((row) => row.reasons)
  const added = new Set(reasons.flatMap((each) => (each.kind === 'revoked-changed' ? each.added : [])))
  if (added.size === 0) return []
  const { valid } = validCertificates(run)
  const covered = [...added].map((entry) => [entry, coveredBy(entry, valid)] as const)
  const describe = (found: readonly ClientCertificate[]) =>
    found.length > 0 ? `${count(found.length, 'certificate')}, ${untilOf(found)}` : 'no certificate known'
  const names = covered.flatMap(([entry, found]) => (isKeyEntry(entry) ? [] : [`${entry} (${describe(found)})`]))
  const keys = covered.filter(([entry, found]) => isKeyEntry(entry) && found.length > 0)
  return asFindings([
    ...(names.length > 0
      ? [
          `revoking ${names.join(', ')} denies every certificate of that name, but not its tokens or rights that it granted (docs/everyday.md, "Remove a node or user")`,
        ]
      : []),
    ...keys.map(([entry, found]) => {
      const users = new Set(found.map(({ user }) => user))
      return `${formatNames([entry])} is the key of ${formatNames([...users])} (${describe(found)})`
    }),
  ])
}
