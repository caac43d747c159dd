/**
 * Which entries of `revoked` are listed, and whom the list lets in. The list is in one file of auth/,
 * authorization-config.yaml, of which each control node gets a copy. Reads only.
 *
 * An entry is the name of a user or node, or a key, written as the fingerprint of a certificate over it (`sha256:…`). The
 * pair of a revoked key is replaced first; the key is listed once everything that read the old pair has loaded the new
 * one. Four words:
 *
 * - waiting: a key of cluster.yaml that the file does not list yet, as its pair may still be in use;
 * - pinned: a user of a listed key, of whom API servers accept only certificates that the file has, over other keys;
 * - kept: a name that stays in the file while the keys that cluster.yaml has in its place wait;
 * - removed: an entry of the file by which it denies somebody whom the next file would let in.
 *
 * | entry       | cluster.yaml has         | the file has                                     | who is let in             |
 * | ----------- | ------------------------ | ------------------------------------------------ | ------------------------- |
 * | name        | the name                 | the name, and its certificates                   | nobody of that name       |
 * | waiting key | the key                  | nothing of it                                    | whoever was               |
 * | listed key  | the key                  | the key, and all certificates of its users       | a pinned user, as above   |
 * | unknown key | the key, of which auth/  | the key alone                                    | whoever was, as nobody    |
 * |             | has no certificate       |                                                  | knows its users           |
 * | kept name   | all keys of that name    | the name, with the certificates that it had when | nobody of that name       |
 * |             |                          | it was listed                                    |                           |
 * | removed     | nothing that denies them | the entry; a file without it is refused, unless  | with a file without it,   |
 * |             |                          | the command names `revoked`                      | whoever the entry denied  |
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
import { formatNames, pasteable } from '../wording.ts'
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

/** What the list is made of. */
interface ListSource {
  readonly auth: AuthDir
  readonly cluster: Pick<Cluster, 'revoked'>
  readonly now: Date
}

export interface KnownCertificate extends Shown {
  readonly certificate: Certificate
  /** The folder of its file, as seen from auth/: `.`, or one of the backup. */
  readonly folder: string
  /** The name of its file, without the ending. */
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
      // A backup of what a node had: its name is the whole path on the node.
      const { kind, name } = auth.files.parse(file.split('%2F').at(-1) ?? '') ?? {}
      const bytes = kind === 'certificate' ? tryTo(() => auth.tryBytes(join(folder, file))) : undefined
      const identity = bytes && identified(bytes)
      return identity && name !== undefined ? [{ folder, name, ...identity }] : []
    }),
  )
}

/** Whether a component that trusts the cluster's CA, or in a rotation the next CA, accepts the certificate now. */
export function isAccepted(
  { auth, now }: Pick<ListSource, 'auth' | 'now'>,
  { certificate }: KnownCertificate,
): boolean {
  const cas = [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
  return certificate.notAfter > now && cas.some((ca) => isIssuedBy(certificate, ca))
}

/** The certificates that an entry revokes. */
export function coveredBy<Each extends Shown>(entry: string, known: readonly Each[]): Each[] {
  if (!isKeyEntry(entry)) return known.filter(({ user }) => usersOf(entry).includes(user))
  return known.filter(isOverRevoked({ entries: [entry], certificates: known }))
}

/** One entry for each key that a certificate is over. */
export function entriesOf(certificates: readonly Shown[]): string[] {
  return [...new Map(certificates.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

const readList = memoised((bytes) => readRevoked(bytes.toString()))

/** The list in auth/; undefined if it can't be read. */
export function listIn(auth: AuthDir): RevokedList | undefined {
  const bytes = auth.tryBytes(authorizationConfigFile)
  return bytes ? readList(bytes) : nobody
}

/** The certificates that users may show to an API server: those of auth/ and its backup, and those of the file. */
function certificatesIn(auth: AuthDir): Shown[] {
  const known = knownCertificates(auth).flatMap(({ certificate, fingerprint, keyId, user, end }): Shown[] =>
    isExact(user) && !certificate.isCa ? [{ fingerprint, keyId, user, end }] : [],
  )
  const all = [...known, ...(listIn(auth)?.certificates ?? [])]
  return [...new Map(all.map((each) => [each.fingerprint, each])).values()]
}

/** OpenSSL prints a control character as a backslash and a number: the API server reads another name than we would. */
const isExact = (user: string) => user !== '' && !user.includes('\\')

/** The waiting keys: those of cluster.yaml that the file does not list. */
export function waitingKeys({ auth, cluster }: Pick<ListSource, 'auth' | 'cluster'>): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  if (keys.length === 0) return []
  const { entries, certificates } = listIn(auth) ?? nobody
  const listedKeys = keysOf(entries, certificates)
  // The file may list the key by another of its certificates.
  const isListed = (entry: string) =>
    entries.includes(entry) ||
    certificates.some((each) => entryOf(each.fingerprint) === entry && listedKeys.has(each.keyId))
  return keys.filter((entry) => !isListed(entry))
}

/**
 * The list that cluster.yaml wants, without the waiting keys that are given. If the file has that list already, this is
 * the very object that `listIn` returns.
 */
export function wantedList(source: ListSource, waiting: readonly string[] = []): RevokedList {
  const { revoked = [] } = source.cluster
  const kept = waiting.length > 0 ? keptNames(source) : []
  const entries = [...revoked.filter((entry) => !waiting.includes(entry)), ...kept].toSorted()
  const all = entries.length > 0 ? certificatesIn(source.auth) : []
  const isWanted = isWantedIn(source, { entries, kept, all })
  const certificates = all.filter(isWanted).toSorted(byUser)
  const listed = listIn(source.auth)
  // Time alone changes no file: an expired certificate stays in the file until something else changes.
  const isSame =
    listed && isDeepStrictEqual([listed.entries, listed.certificates.filter(isWanted)], [entries, certificates])
  return isSame ? listed : { ...listed, entries, certificates }
}

/** The kept names: the file has them, the list with all keys has not, and that list denies all who have the name. */
function keptNames(source: ListSource): string[] {
  const listed = listIn(source.auth) ?? nobody
  const wanted = wantedList(source)
  const gone = [...wanted.entries, ...removedFrom(listed, wanted, source.now)]
  return listed.entries.filter((entry) => !isKeyEntry(entry) && !gone.includes(entry))
}

/** A list of which the entries are decided, and its certificates are not. */
interface ListDraft {
  readonly entries: readonly string[]
  readonly kept: readonly string[]
  /** All certificates that are known. */
  readonly all: readonly Shown[]
}

/**
 * Whether the list is to have a certificate: it has the valid ones of pinned and of named users, who may still
 * have them somewhere. An expired one stays if an entry is its fingerprint, as it says which key the entry is.
 */
function isWantedIn({ auth, now }: ListSource, { entries, kept, all }: ListDraft): (certificate: Shown) => boolean {
  const isValid = ({ end }: Shown) => end > now
  const isRevoked = isOverRevoked({ entries, certificates: all })
  const pinned = all.filter((each) => isValid(each) && isRevoked(each)).map(({ user }) => user)
  const users = new Set([...pinned, ...entries.flatMap(usersOf)])
  const keptUsers = kept.flatMap(usersOf)
  const inFile = new Set(listIn(auth)?.certificates.map(({ fingerprint }) => fingerprint))
  // The file has a name's certificates from when the name was listed. With a newer one, which the keys do not deny, the
  // keys could not take the name's place: it would count as removed.
  const isTooNew = ({ user, fingerprint }: Shown) => keptUsers.includes(user) && !inFile.has(fingerprint)
  const isOfEntry = ({ fingerprint }: Shown) => entries.includes(entryOf(fingerprint))
  return (each) => users.has(each.user) && !isTooNew(each) && (isValid(each) || isOfEntry(each))
}

/**
 * When the files of a folder of auth/backup were put there, in milliseconds since 1970, as the folder's name says;
 * infinity for auth/ itself, and for a name that has no time.
 */
export function timeOf(folder: string | undefined): number {
  const [time] = /\d{4}-\d\d-\d\dT.*$/.exec(folder ?? '') ?? []
  const moment = time === undefined ? Number.NaN : timeOfBackup(time).getTime()
  return Number.isNaN(moment) ? Number.POSITIVE_INFINITY : moment
}

/** Whether the file is there and has the list that cluster.yaml wants, with all keys. */
export function isListUpToDate(source: ListSource): boolean {
  const { auth } = source
  return auth.read(authorizationConfigFile) !== undefined && wantedList(source) === listIn(auth)
}

/** Whether two lists let in the same users; the certificates that they count may differ. */
export function isAlike(one: RevokedList | undefined, other: RevokedList | undefined): boolean {
  const accessOf = (list?: RevokedList) => list && [list.entries, list.certificates]
  return one !== undefined && isDeepStrictEqual(accessOf(one), accessOf(other))
}

/** A list of everybody whom one of the lists has. */
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

/** The keys of cluster.yaml of which no certificate is known. */
export function unknownKeys({ auth, cluster }: Pick<ListSource, 'auth' | 'cluster'>): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  const known = keys.length > 0 ? certificatesIn(auth) : []
  return keys.filter((entry) => !known.some(({ fingerprint }) => entryOf(fingerprint) === entry))
}

/** Whether a certificate is over a key that cluster.yaml revokes, whether that key waits or not. */
export function revokedKeys({
  auth,
  cluster,
}: Pick<ListSource, 'auth' | 'cluster'>): (certificate: Certificate) => boolean {
  const { revoked: entries = [] } = cluster
  if (!entries.some(isKeyEntry)) return () => false
  const isOver = isOverRevoked({ entries, certificates: certificatesIn(auth) })
  return (certificate) => isOver({ keyId: keyIdOf(certificate) })
}

/** Whether a file belongs to a pair that this run replaces, since its key waits for the readers of that pair. */
export function pairsToReplace(source: Pick<ListSource, 'auth' | 'cluster'>): (file: string) => boolean {
  return pairsOf(source.auth, waitingKeys(source))
}

/** Whether a file belongs to a pair that is, or was, over one of these keys. */
export function pairsOf(auth: AuthDir, keys: readonly string[]): (file: string) => boolean {
  const known = keys.length > 0 ? knownCertificates(auth) : []
  const names = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ name }) => name)))
  return (file) => names.has(auth.files.parse(file)?.name ?? '')
}

/** The users whom the file pins. */
export function pinnedUsers(auth: AuthDir): string[] {
  return pinnedBy(listIn(auth) ?? nobody)
}

/**
 * The removed entries: `listed` denies a user by them whom `wanted` lets in. A key denies by its valid certificates
 * alone. A name may be replaced by keys, if all valid certificates that the list has of the name are over those.
 */
export function removedFrom(listed: RevokedList, wanted: RevokedList, now: Date): string[] {
  const names = new Set(wanted.entries.flatMap(usersOf))
  const isDenied = isDeniedBy(wanted)
  const isStillDenied = (entry: string) => {
    const valid = coveredBy(entry, listed.certificates).filter(({ end }) => end > now)
    if (isKeyEntry(entry)) return valid.every(isDenied)
    return names.has(entry) || (valid.length > 0 && valid.every(isDenied))
  }
  return listed.entries.filter((entry) => !isStillDenied(entry))
}

/** The users who have a valid certificate over a key that is not revoked, which `listed` has and `wanted` would deny. */
export function lockedOutBy(wanted: RevokedList, listed: RevokedList, now: Date): string[] {
  const isRevoked = isOverRevoked({ ...wanted, certificates: [...wanted.certificates, ...listed.certificates] })
  const pinned = new Set(wanted.certificates.filter(isRevoked).map(({ user }) => user))
  const inWanted = new Set(wanted.certificates.map(({ fingerprint }) => fingerprint))
  const denied = listed.certificates.filter(
    (each) => pinned.has(each.user) && each.end > now && !isRevoked(each) && !inWanted.has(each.fingerprint),
  )
  return [...new Set(denied.map(({ user }) => user))]
}

/** One entry for each key that a valid certificate of that name is over: of those known, and of those in the file. */
export function keysOfName(
  name: string,
  known: readonly Shown[],
  { auth, now }: Omit<ListSource, 'cluster'>,
): string[] {
  const listed = (listIn(auth) ?? nobody).certificates.filter(({ user }) => usersOf(name).includes(user))
  return entriesOf([...known, ...listed].filter(({ end }) => end > now))
}

/** The names of the nodes and users in cluster.yaml: `revoked` may have none of them. */
export const namesInUse = ({ nodes, users }: Pick<Cluster, 'nodes' | 'users'>): ReadonlySet<string> =>
  new Set([...nodes, ...users].map(({ name }) => name))

/**
 * The line `revoked: […]` to paste into cluster.yaml: its present entries, or without `revoked` those of the file, and
 * `more`. So it removes no entry. For a name that a node or user has now, the line has the keys of that name.
 */
export function formatEntries(
  { auth, cluster, now }: ListSource & { readonly cluster: Pick<Cluster, 'nodes' | 'users'> },
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
  return pasteable(`revoked: [${[...new Set([...listed, ...entries, ...more])].map(scalarText).join(', ')}]`)
}

/** The sentence for removed entries, by which a run is refused. */
export function formatRemoved(removed: readonly string[], file: string): string {
  return `${file} lists more than revoked in cluster.yaml; ${formatNames(removed)} would regain access`
}

/** The sentence for a file whose list can't be read. */
export function formatUnread(file: string): string {
  return `${file} is not a list that harderway wrote, and may have more than revoked in cluster.yaml`
}
