/**
 * Who is let in by a certificate that cluster.yaml has no use for: who left, and who has an older key, or a group that was taken away. A line
 * of `revoked` ends each, but for what a control node keeps.
 */
import { join } from 'node:path'
import { entryOf, isKeyEntry } from '../../lib/cluster/problem.ts'
import { isUserName } from '../../lib/cluster/schema.ts'
import { backUp, caName, kubeconfigFile, nextName, timeOfBackup } from '../../lib/files/auth-dir.ts'
import { checkOf, type Outcome, type Run } from '../../lib/graph/target.ts'
import {
  formatEntries,
  isOverRevoked,
  type KnownCertificate,
  knownCertificates,
  listIn,
  type Shown,
  usersOf,
  wantedList,
} from '../../lib/kubernetes/authorization.ts'
import { type Certificate, commonNameOf, endOf, isIssuedBy } from '../../lib/pki/certificate.ts'
import { backdating, isOfOwnCa, ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { count, formatDate, formatNames } from '../../lib/wording.ts'
import { type CertRow, certTable, identityFiles, isKeptOff } from '../layouts/tables.ts'

type Given = Pick<Run, 'auth' | 'cluster' | 'now'>

/** A certificate of a client, in auth/, in its backup, or of which the list of the revoked alone knows. */
interface ClientCertificate extends Shown {
  /** Undefined for the list's. */
  readonly file?: Pick<KnownCertificate, 'name' | 'folder'> & { readonly certificate: Certificate }
}

/** All that have not expired, with whether one is over a revoked key, and whether its user is let in by it. */
function validCertificates(run: Given) {
  const { auth, cluster, now } = run
  const cas = [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
  const known = knownCertificates(auth).filter(
    ({ certificate }) =>
      !certificate.isCa && certificate.notAfter > now && cas.some((ca) => isIssuedBy(certificate, ca)),
  )
  const found = known.map((file): ClientCertificate => {
    const { certificate, fingerprint, keyId } = file
    return { user: commonNameOf(certificate) ?? '', fingerprint, keyId, end: endOf(certificate, ownCas(auth)), file }
  })
  // A copy in auth/backup is the one in auth/.
  const listed: readonly ClientCertificate[] = [...(listIn(auth)?.certificates ?? []), ...found.toReversed()]
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

/** When what is in a folder of auth/backup was put there; what is in auth/ is there still. */
function timeOf(folder: string | undefined): number {
  const [time] = /\d{4}-\d\d-\d\dT.*$/.exec(folder ?? '') ?? []
  return time === undefined ? Number.POSITIVE_INFINITY : timeOfBackup(time).getTime()
}

const lastOf = (certificates: readonly ClientCertificate[]) =>
  new Date(Math.max(...certificates.map(({ end }) => Number(end))))

const isMaster = ({ file }: ClientCertificate) => file?.certificate.attributes.includes('O=system:masters') === true

/**
 * Who is let in by a certificate that cluster.yaml has not, or no longer: a sentence with the line of `revoked` that ends it for all, and one
 * for each whom only a rotation ends. `isReplaced`: targets whose key a plan replaces.
 */
export function notesOnHolders(run: Given, isReplaced?: (id: string) => boolean): string[] {
  const { cluster } = run
  const former = formerHolders(run)
  const isBeyond = ({ role, own }: Former) => role === 'control' || own.some(isMaster)
  const beyond = former.filter(isBeyond).map(({ name, role, end }) => {
    const what = role === 'control' ? `what every control node has: ${formatNames(keptBy(run))}` : 'every right'
    const heading = role === 'control' ? 'A control node, auth/, or a backup of it' : "The admin's kubeconfig"
    return `${name} left with ${what} (until ${formatDate(end)}); what ends that: docs/rotation.md, "${heading}"`
  })
  // A gateway has the name that it had as another node; a user may have that of a node that left.
  const inUse = new Set([...cluster.nodes, ...cluster.users].map(({ name }) => name))
  const left = former
    .filter((each) => !isBeyond(each))
    .map(({ name, own, shared }) => {
      const as = [...new Set(shared.map(({ user }) => user))]
      return {
        ...{ name, certificates: [...own, ...shared] },
        how: as.length > 0 ? `${own.length > 0 ? 'also ' : ''}as ${formatNames(as)}` : undefined,
        entries: [
          ...(own.length > 0 && !inUse.has(name) && isUserName(name) ? [name] : entriesOf(own)),
          ...entriesOf(shared),
        ],
      }
    })
  const older = olderCertificates(run, isReplaced).map(({ name, certificates, groups }) => ({
    ...{ name, certificates, entries: entriesOf(certificates) },
    how: groups.length > 0 ? `in ${formatNames(groups)}` : 'by an older key',
  }))
  const open = [...left, ...older].filter(({ certificates }) => certificates.length > 0)
  if (open.length === 0) return beyond
  const list = open.map(
    ({ name, how, certificates }) => `${name} (${[how, untilOf(certificates)].filter(Boolean).join(', ')})`,
  )
  const line = formatEntries(cluster, [...new Set(open.flatMap(({ entries }) => entries))])
  return [
    ...beyond,
    `certificates that cluster.yaml no longer has still let in ${list.join(', ')}; to revoke them now, write ${line} (docs/cluster-yaml.md, "A node or user that was removed")`,
  ]
}

/** What a control node has that no list revokes. */
function keptBy({ auth, cluster }: Given): string[] {
  const labels = [...identityFiles(cluster)].flatMap(([file, label]) =>
    auth.files.parse(file)?.kind === 'certificate' || isKeptOff(cluster, file) ? [] : [label],
  )
  return [...new Set(labels), kubeconfigFile(auth.files.names.admin)]
}

/** Of those who are there: certificates over another key than now, or with groups that were taken away. */
interface Older {
  readonly name: string
  readonly certificates: readonly ClientCertificate[]
  /** Of those over the present key. */
  readonly groups: readonly string[]
}

/**
 * Of every user; of a node that came back; and of whoever has a revoked key, since that may not be the one that was stolen. `isReplaced`:
 * targets whose key a plan replaces.
 */
function olderCertificates(run: Given, isReplaced: (id: string) => boolean = () => false): Older[] {
  const { auth, cluster } = run
  const { valid, isOver, isOpen } = validCertificates(run)
  const byUser = Map.groupBy(valid, ({ user }) => user)
  const isMoved = ({ file }: ClientCertificate) =>
    file && file.folder !== '.' && auth.read(join(file.folder, auth.files.key(file.name)))
  return certTable(cluster).flatMap((row): Older[] => {
    const { name, id, phase, profile } = row
    const all = byUser.get(profile.subject.CN) ?? []
    const present = all.find(({ file }) => file?.folder === '.' && file.name === name && !isReplaced(id))
    const isListed = phase === 'user-certs' || all.some(isOver)
    const others = all.filter(
      (each) =>
        isOpen(each) && each.keyId !== present?.keyId && (isListed || (phase === 'node-certs' && isMoved(each))),
    )
    const lost = phase === 'user-certs' ? all.filter((each) => isOpen(each) && lostGroups(row, each).length > 0) : []
    const certificates = [...new Set([...others, ...lost])]
    const ofPresent = lost.filter(({ keyId }) => keyId === present?.keyId)
    const groups = [...new Set(ofPresent.flatMap((each) => lostGroups(row, each)))]
    return certificates.length > 0 ? [{ name, certificates, groups }] : []
  })
}

function lostGroups({ profile }: CertRow, { file }: ClientCertificate): string[] {
  const wanted = [profile.subject.O ?? []].flat().map((group) => `O=${group}`)
  const its = file?.certificate.attributes.filter((attribute) => attribute.startsWith('O=')) ?? []
  return its.flatMap((each) => (wanted.includes(each) ? [] : [each.slice('O='.length)]))
}

/** When the last certificate by which each of these is let in expires, by name. */
export function unneededUntil(run: Given): ReadonlyMap<string, Date> {
  const former = formerHolders(run).flatMap(({ name, role, end, own, shared }): [string, Date][] => {
    const open = [...own, ...shared]
    return role === 'control' ? [[name, end]] : open.length > 0 ? [[name, lastOf(open)]] : []
  })
  const older = olderCertificates(run).map(({ name, certificates }): [string, Date] => [name, lastOf(certificates)])
  return new Map([...former, ...older])
}

const untilOf = (certificates: readonly ClientCertificate[]) => `until ${formatDate(lastOf(certificates))}`

/** An entry for each key. */
function entriesOf(certificates: readonly ClientCertificate[]): string[] {
  return [...new Map(certificates.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

/** Files of auth/ of those who are gone: a name that comes back gets a new key. */
function formerFiles(run: Given): string[] {
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

export function notesOnMove(run: Given): string[] {
  const files = formerFiles(run)
  return files.length > 0
    ? [`a run moves ${formatNames(files)} to auth/backup, as cluster.yaml no longer has them`]
    : []
}

/** Moves them to auth/backup. */
export function setAside(run: Pick<Run, 'auth' | 'cluster' | 'now' | 'note'>): void {
  const { auth, now, note } = run
  const files = formerFiles(run)
  const folder = files.length > 0 ? backUp(auth, files, now) : undefined
  for (const file of files) auth.remove(file)
  if (folder !== undefined) note(`moved ${formatNames(files)} to ${folder}, as cluster.yaml no longer has them`)
}

/** What each entry that is added revokes, and what it does not. */
export function notesOnEntries(run: Given, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const reasons = [...outcomes.values()].flatMap((outcome) => checkOf(outcome).reasons)
  const added = new Set(reasons.flatMap((each) => (each.kind === 'revoked-changed' ? each.added : [])))
  if (added.size === 0) return []
  const { valid } = validCertificates(run)
  return [...added].flatMap((entry): string[] => {
    const key = valid.find(({ fingerprint }) => entryOf(fingerprint) === entry)?.keyId
    const covered = valid.filter(({ keyId, user }) =>
      isKeyEntry(entry) ? keyId === key : usersOf(entry).includes(user),
    )
    const known =
      covered.length > 0 ? `${count(covered.length, 'certificate')}, ${untilOf(covered)}` : 'no certificate known'
    if (!isKeyEntry(entry))
      return [
        `revoked: ${entry} (${known}), whatever certificate it shows; not revoked: tokens that it obtained, rights that it granted (docs/cluster-yaml.md, "A node or user that was removed")`,
      ]
    return covered.length > 0
      ? [
          `${formatNames([entry])} is the key of ${formatNames([...new Set(covered.map(({ user }) => user))])} (${known})`,
        ]
      : []
  })
}
