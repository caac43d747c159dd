/**
 * Whom the entries of `revoked` concern, by the certificates that auth/ has and had, and the list that this makes.
 * Reads only.
 */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Cluster } from '../cluster/cluster.ts'
import { entryOf, isKeyEntry } from '../cluster/problem.ts'
import { tryTo } from '../failure.ts'
import { type AuthDir, authorizationConfigFile, caName, nextName, timeOfBackup } from '../files/auth-dir.ts'
import { memoised } from '../files/plain-file.ts'
import {
  type Certificate,
  commonNameOf,
  fingerprintOf,
  isIssuedBy,
  keyIdOf,
  readCertificate,
} from '../pki/certificate.ts'
import { tryCertificate } from '../pki/pair.ts'
import { formatNames } from '../wording.ts'
import { readRevoked } from './authorization.ts'
import { scalarText } from './kubeconfig.ts'
import {
  byUser,
  isDeniedBy,
  isOverRevoked,
  keysOf,
  nobody,
  pinnedBy,
  type RevokedList,
  type Shown,
  usersOf,
} from './revoked-list.ts'

/** What a run has: its list is in auth/. */
interface Listing {
  readonly auth: AuthDir
  readonly cluster: Pick<Cluster, 'revoked'>
  readonly now: Date
}

export interface KnownCertificate extends Shown {
  readonly certificate: Certificate
  /** In auth/: `.`, or of its backup. */
  readonly folder: string
  /** Of its file, without the ending. */
  readonly name: string
}

const identified = memoised((pem: Uint8Array) => {
  const certificate = readCertificate(pem)
  if (!certificate) return undefined
  const user = commonNameOf(certificate) ?? ''
  return {
    ...{ certificate, user, end: certificate.notAfter },
    ...{ fingerprint: fingerprintOf(certificate), keyId: keyIdOf(certificate) },
  }
})

/** Every certificate in auth/ and in auth/backup. */
export function knownCertificates(auth: AuthDir): KnownCertificate[] {
  const folders = ['.', ...auth.names('backup').map((folder) => join('backup', folder))]
  return folders.flatMap((folder) =>
    auth.names(folder).flatMap((file): KnownCertificate[] => {
      // What was found on a node is kept under its whole path.
      const { kind, name } = auth.files.parse(file.split('%2F').at(-1) ?? '') ?? {}
      const bytes = kind === 'certificate' ? tryTo(() => auth.tryBytes(join(folder, file))) : undefined
      const found = bytes && identified(bytes)
      return found && name !== undefined ? [{ folder, name, ...found }] : []
    }),
  )
}

/** Whether who trusts the cluster's CA accepts it, and, in a rotation, who trusts the next one. */
export function isAccepted({ auth, now }: Pick<Listing, 'auth' | 'now'>, { certificate }: KnownCertificate): boolean {
  const cas = [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
  return certificate.notAfter > now && cas.some((ca) => isIssuedBy(certificate, ca))
}

/** Those that an entry revokes. */
export function coveredBy<Each extends Shown>(entry: string, known: readonly Each[]): Each[] {
  if (!isKeyEntry(entry)) return known.filter(({ user }) => usersOf(entry).includes(user))
  return known.filter(isOverRevoked({ entries: [entry], certificates: known }))
}

/** An entry for each of their keys. */
export function entriesOf(certificates: readonly Shown[]): string[] {
  return [...new Map(certificates.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

const readList = memoised((bytes) => readRevoked(bytes.toString()))

/** The list in auth/; undefined if it can't be read. */
export function listIn(auth: AuthDir): RevokedList | undefined {
  const bytes = auth.tryBytes(authorizationConfigFile)
  return bytes ? readList(bytes) : nobody
}

/**
 * What a user shows to an API server: certificates in auth/ and its backup, and those that its list has from before.
 */
function certificatesIn(auth: AuthDir): Shown[] {
  const found = knownCertificates(auth).flatMap(({ certificate, fingerprint, keyId, user, end }): Shown[] =>
    isExact(user) && !certificate.isCa ? [{ fingerprint, keyId, user, end }] : [],
  )
  const all = [...found, ...(listIn(auth)?.certificates ?? [])]
  return [...new Map(all.map((each) => [each.fingerprint, each])).values()]
}

/** OpenSSL prints a control character by its number, behind a backslash: the API server sees another name. */
const isExact = (user: string) => user !== '' && !user.includes('\\')

/** Entries by key that are not in the list yet: it gets them once the new pairs are loaded wherever they are read. */
export function keysToList({ auth, cluster }: Pick<Listing, 'auth' | 'cluster'>): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  if (keys.length === 0) return []
  const { entries, certificates } = listIn(auth) ?? nobody
  const listed = keysOf(entries, certificates)
  const isListed = (entry: string) =>
    entries.includes(entry) ||
    certificates.some((each) => entryOf(each.fingerprint) === entry && listed.has(each.keyId))
  return keys.filter((entry) => !isListed(entry))
}

/**
 * The list that is wanted, without the `held` entries: those keys are not revoked yet, and a name that they take the
 * place of stays. A certificate stays listed until it expires or its key is revoked, as a node or user may still have
 * it.
 */
export function wantedList(of: Listing, held: readonly string[] = []): RevokedList {
  const { auth, cluster, now } = of
  const { revoked = [] } = cluster
  const stays = held.length > 0 ? replacedBy(wantedList(of), listIn(auth) ?? nobody, now) : []
  const entries = [...revoked.filter((entry) => !held.includes(entry)), ...stays].toSorted()
  const all = entries.length > 0 ? certificatesIn(auth) : []
  const keys = keysOf(entries, all)
  const isValid = ({ end }: Shown) => end > now
  const pinned = all.filter((each) => keys.has(each.keyId) && isValid(each)).map(({ user }) => user)
  const users = new Set([...pinned, ...entries.flatMap(usersOf)])
  // Its new one is listed once the name is not.
  const before = new Set(listIn(auth)?.certificates.map(({ fingerprint }) => fingerprint))
  const isNew = ({ user, fingerprint }: Shown) => stays.flatMap(usersOf).includes(user) && !before.has(fingerprint)
  const isWanted = (each: Shown) =>
    users.has(each.user) && !isNew(each) && (isValid(each) || entries.includes(entryOf(each.fingerprint)))
  const certificates = all.filter(isWanted).toSorted(byUser)
  // An expired certificate is dropped with the next change: time alone changes no file.
  const listed = listIn(auth)
  const isSame =
    listed && isDeepStrictEqual([listed.entries, listed.certificates.filter(isWanted)], [entries, certificates])
  return isSame ? listed : { ...listed, entries, certificates }
}

/** When what is in a folder of auth/backup was put there, if its name tells; what is in auth/ is there still. */
export function timeOf(folder: string | undefined): number {
  const [time] = /\d{4}-\d\d-\d\dT.*$/.exec(folder ?? '') ?? []
  const put = time === undefined ? Number.NaN : timeOfBackup(time).getTime()
  return Number.isNaN(put) ? Number.POSITIVE_INFINITY : put
}

/** Names that the one list has no more, since it has all their keys. */
function replacedBy(wanted: RevokedList, listed: RevokedList, now: Date): string[] {
  const removed = removedFrom(listed, wanted, now)
  return listed.entries.filter(
    (entry) => !isKeyEntry(entry) && !wanted.entries.includes(entry) && !removed.includes(entry),
  )
}

/** Whether the file in auth/ has the list that is wanted. */
export function isListed(of: Listing): boolean {
  return of.auth.read(authorizationConfigFile) !== undefined && wantedList(of) === listIn(of.auth)
}

/** Lists that let in the same, and may count others. */
export function isAlike(one: RevokedList | undefined, other: RevokedList | undefined): boolean {
  const accessOf = (list?: RevokedList) => list && [list.entries, list.certificates]
  return one !== undefined && isDeepStrictEqual(accessOf(one), accessOf(other))
}

/** Everybody whom one of them has. */
export function mergeLists(lists: readonly RevokedList[]): RevokedList {
  const all = lists.flatMap(({ certificates }) => certificates)
  const counted = lists.flatMap((list) => list.counted ?? [])
  return {
    entries: [...new Set(lists.flatMap(({ entries }) => entries))].toSorted(),
    certificates: [...new Map(all.map((each) => [each.fingerprint, each])).values()],
    ...(counted.length > 0 && {
      counted: [...new Map(counted.map((each) => [each.fingerprint, each])).values()].toSorted(byUser),
    }),
  }
}

/** Entries by key of which auth/ knows no certificate: their users are unknown, so they revoke nothing. */
export function unknownKeys({ auth, cluster }: Pick<Listing, 'auth' | 'cluster'>): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  const known = keys.length > 0 ? certificatesIn(auth) : []
  return keys.filter((entry) => !known.some(({ fingerprint }) => entryOf(fingerprint) === entry))
}

/** Whether a certificate is over a key that cluster.yaml revokes, listed yet or not. */
export function revokedKeys({
  auth,
  cluster,
}: Pick<Listing, 'auth' | 'cluster'>): (certificate: Certificate) => boolean {
  const { revoked: entries = [] } = cluster
  if (!entries.some(isKeyEntry)) return () => false
  const isOver = isOverRevoked({ entries, certificates: certificatesIn(auth) })
  return (certificate) => isOver({ keyId: keyIdOf(certificate) })
}

/**
 * Whether a file is of a pair that this run replaces because its key is about to be listed: its readers must load the
 * new one first.
 */
export function pairsToReplace(run: Pick<Listing, 'auth' | 'cluster'>): (file: string) => boolean {
  return pairsOf(run.auth, keysToList(run))
}

/** Whether a file is of a pair that is, or was, over one of the keys of these entries. */
export function pairsOf(auth: AuthDir, keys: readonly string[]): (file: string) => boolean {
  const known = keys.length > 0 ? knownCertificates(auth) : []
  const names = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ name }) => name)))
  return (file) => names.has(auth.files.parse(file)?.name ?? '')
}

/** Whom API servers let in with the certificates of the list alone. */
export function pinnedUsers(auth: AuthDir): string[] {
  return pinnedBy(listIn(auth) ?? nobody)
}

/**
 * Whom the one list denies, and the other does not: its entries. A key lets in nobody without a valid certificate that
 * is known; and keys may take the place of a name, if they are all that it had when it was listed.
 */
export function removedFrom(listed: RevokedList, wanted: RevokedList, now: Date): string[] {
  const names = new Set(wanted.entries.flatMap(usersOf))
  const isDenied = isDeniedBy(wanted)
  const valid = listed.certificates.filter(({ end }) => end > now)
  const isKept = (entry: string) => {
    if (isKeyEntry(entry)) {
      const keys = keysOf([entry], listed.certificates)
      return valid.filter(({ keyId }) => keys.has(keyId)).every(isDenied)
    }
    const its = valid.filter(({ user }) => usersOf(entry).includes(user))
    return names.has(entry) || (its.length > 0 && its.every(isDenied))
  }
  return listed.entries.filter((entry) => !isKept(entry))
}

/** Users with a valid certificate that `listed` accepts and `wanted` would deny, although its key is not revoked. */
export function lockedOutBy(wanted: RevokedList, listed: RevokedList, now: Date): string[] {
  const isRevoked = isOverRevoked({ ...wanted, certificates: [...wanted.certificates, ...listed.certificates] })
  const pinned = new Set(wanted.certificates.filter(isRevoked).map(({ user }) => user))
  const good = new Set(wanted.certificates.map(({ fingerprint }) => fingerprint))
  const lost = listed.certificates.filter(
    (each) => pinned.has(each.user) && each.end > now && !isRevoked(each) && !good.has(each.fingerprint),
  )
  return [...new Set(lost.map(({ user }) => user))]
}

/** An entry for each key that a name has: of what auth/ and its backup have for it, and of what the list has. */
export function keysOfName(name: string, known: readonly Shown[], { auth, now }: Omit<Listing, 'cluster'>): string[] {
  const listed = (listIn(auth) ?? nobody).certificates.filter(({ user }) => usersOf(name).includes(user))
  return entriesOf([...known, ...listed].filter(({ end }) => end > now))
}

/** Of nodes and users: none of these is revoked by its name. */
export const namesInUse = ({ nodes, users }: Pick<Cluster, 'nodes' | 'users'>): ReadonlySet<string> =>
  new Set([...nodes, ...users].map(({ name }) => name))

/**
 * The line of cluster.yaml with more entries, each as it is, so that the line shortens no list; without `revoked` with
 * those of the list in auth/. Of those that cluster.yaml has, a name that a node or user has is not taken: its keys are
 * listed.
 */
export function formatEntries(
  { auth, cluster, now }: Listing & { readonly cluster: Pick<Cluster, 'nodes' | 'users'> },
  more: readonly string[],
): string {
  const inUse = namesInUse(cluster)
  const { revoked = [] } = cluster
  const known = revoked.some((entry) => inUse.has(entry)) ? knownCertificates(auth) : []
  const entries = revoked.flatMap((entry) => {
    const keys = inUse.has(entry) ? keysOfName(entry, coveredBy(entry, known), { auth, now }) : []
    return keys.length > 0 ? keys : entry
  })
  const listed = cluster.revoked ? [] : (listIn(auth) ?? nobody).entries
  return `revoked: [${[...new Set([...listed, ...entries, ...more])].map(scalarText).join(', ')}]`
}

/** What is wrong where entries that a file has would be dropped. */
export function formatDropped(removed: readonly string[], file: string): string {
  return `${file} lists more than revoked in cluster.yaml; ${formatNames(removed)} would regain access`
}

/** Where a file can't be read. */
export function formatUnread(file: string): string {
  return `${file} is not a list that harderway wrote, and may have more than revoked in cluster.yaml`
}
