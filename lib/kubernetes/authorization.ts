/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text, and the list
 * read back from it; and whom the entries of `revoked` concern, by the certificates that auth/ has and had. Reads only.
 *
 * A name is denied with every certificate. A key can't be denied by its fingerprints: whoever has it can write its certificate in other
 * bytes, which have another SHA-256 and are accepted all the same. So its users are pinned: an API server accepts only the certificates
 * that it knows of them, over other keys.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import { hash } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { isCollection, isSeq } from 'yaml'
import type { Cluster } from '../cluster/cluster.ts'
import { entryOf, isKeyEntry } from '../cluster/problem.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import { type AuthDir, authorizationConfigFile } from '../files/auth-dir.ts'
import { once } from '../files/plain-file.ts'
import { type Certificate, commonNameOf, fingerprintOf, keyIdOf, readCertificate } from '../pki/certificate.ts'
import { formatNames } from '../wording.ts'
import { parseYaml } from '../yaml.ts'
import { scalarText } from './kubeconfig.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** Of the authorizer, in the API server's metrics too. */
const authorizerName = 'revoked'

/** A certificate that a user may or may not show. Fingerprint and key: SHA-256, as 64 hexadecimal digits. */
export interface Shown {
  readonly fingerprint: string
  readonly keyId: string
  readonly user: string
  readonly end: Date
}

/** Who is revoked, with the certificates concerned: the file has all of this, so a lost auth/ loses none of it. */
export interface RevokedList {
  /** Of `revoked`: names of users and nodes, and `sha256:…`. */
  readonly entries: readonly string[]
  /** All certificates of the users of revoked keys, over these keys and over others; and those that a name had when it was listed. */
  readonly certificates: readonly Shown[]
}

export const nobody: RevokedList = { entries: [], certificates: [] }

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
export const usersOf = (name: string): string[] => [name, nodeUser(name)]

/** Of a user, whose certificate the API server names there: https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/ */
const credentialId = 'authentication.kubernetes.io/credential-id'
const credentialPrefix = 'X509SHA256='

/** The keys that the entries revoke. */
const keysOf = (entries: readonly string[], certificates: readonly Shown[]) =>
  new Set(certificates.filter((each) => entries.includes(entryOf(each.fingerprint))).map(({ keyId }) => keyId))

/** Whether a certificate is over a revoked key. */
export function isOverRevoked({ entries, certificates }: RevokedList): (certificate: Pick<Shown, 'keyId'>) => boolean {
  const keys = keysOf(entries, certificates)
  return ({ keyId }) => keys.has(keyId)
}

/** The users of revoked keys. */
function pinnedBy(list: RevokedList): string[] {
  return [...new Set(list.certificates.filter(isOverRevoked(list)).map(({ user }) => user))]
}

/** The name of a user that does not exist: an API server that denies it enforces exactly this list. */
function markOf({ entries, certificates }: RevokedList): string {
  return `revoked:${hash('sha256', JSON.stringify([entries, certificates.map(formatShown)]))}`
}

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/**
 * The authorizer that denies them, as an item of `authorizers`. If all its conditions were true, the API server would query a webhook; a
 * condition that is an error denies at once. So the first condition has the list, and the second is an error, whose text a denied client
 * reads. Throws a Failure if the list is too long.
 */
export function formatAuthorizer(list: RevokedList, kubeconfig: string): string {
  return formatWith(list, scalarText(kubeconfig))
}

/** `kubeconfig`: as it stands in the file. */
function formatWith(list: RevokedList, kubeconfig: string): string {
  const quoted = (values: readonly string[]) => values.map((each) => `'${each}'`).join(', ')
  const names = list.entries.filter((entry) => !isKeyEntry(entry)).flatMap(usersOf)
  const isRevoked = isOverRevoked(list)
  const pinned = pinnedBy(list)
  const isGood = (each: Shown) => pinned.includes(each.user) && !isRevoked(each)
  const good = list.certificates.filter(isGood).map((each) => credentialPrefix + each.fingerprint)
  const denied = `request.user in [${quoted([...names, markOf(list)])}]`
  // The user is tested first, since an error in a condition denies everybody. Without credential-id there is no certificate.
  const shows = `has(request.extra) && '${credentialId}' in request.extra && request.extra['${credentialId}'].exists(id, id.startsWith('${credentialPrefix}') && !(id in [${quoted(good)}]))`
  const listed = pinned.length > 0 ? `${denied} || request.user in [${quoted(pinned)}] && ${shows}` : denied
  if (listed.length > longest)
    throw new Failure(
      `revoked is too long: an API server takes ${longest} characters, and its list has ${listed.length}`,
      { remedy: `take out whose certificates have expired; then ${runAgain}` },
    )
  return [
    '  - type: Webhook',
    `    name: ${authorizerName}`,
    '    webhook:',
    '      timeout: 3s',
    '      subjectAccessReviewVersion: v1',
    '      matchConditionSubjectAccessReviewVersion: v1',
    '      failurePolicy: Deny',
    '      connectionInfo:',
    '        type: KubeConfigFile',
    `        kubeConfigFile: ${kubeconfig}`,
    '      matchConditions:',
    ...list.entries.map((entry) => `        # revoked: ${entry}`),
    ...list.certificates.map(formatShown),
    `        - expression: "${listed}"`,
    `        - expression: "request.extra['this certificate is revoked'][0] == 'revoked'"`,
  ].join('\n')
}

const formatShown = ({ fingerprint, keyId, user, end }: Shown) =>
  `        # certificate: ${fingerprint} key ${keyId} until ${end.toISOString()} user ${user}`

/** `kubeconfig`: the absolute path of the one below. In block style: a file that begins with { is read as JSON. */
export function formatAuthorization(list: RevokedList, kubeconfig: string): string {
  return [
    header,
    'apiVersion: apiserver.config.k8s.io/v1',
    'kind: AuthorizationConfiguration',
    'authorizers:',
    formatAuthorizer(list, kubeconfig),
    ...['  - type: Node', '    name: node', '  - type: RBAC', '    name: rbac', ''],
  ].join('\n')
}

/** What a Webhook has to name. It is never dialled. */
export const webhookKubeconfig = `# Made by harderway, for ${authorizerName} in authorization-config.yaml, which asks nobody.
apiVersion: v1
kind: Config
clusters:
  - name: nobody
    cluster:
      server: https://127.0.0.1:1
users:
  - name: nobody
    user: {}
contexts:
  - name: nobody
    context:
      cluster: nobody
      user: nobody
current-context: nobody
`

/** Of names: none of these ends a string of an expression. No name of cluster.yaml has others. */
const plain = '[\\w.:@-]+'

/** The list that a file of ours has; undefined if it can't be read, or its conditions are not of the list that it names. */
export function readRevoked(text: string): RevokedList | undefined {
  const linesOf = (pattern: RegExp) => Array.from(text.matchAll(pattern), ([, ...parts]) => parts)
  const entries = linesOf(new RegExp(`^ {8}# revoked: (${plain})$`, 'gm')).map(([entry = '']) => entry)
  const certificates = linesOf(
    new RegExp(`^ {8}# certificate: ([0-9a-f]{64}) key ([0-9a-f]{64}) until ([\\dT:.-]+Z) user (${plain})$`, 'gm'),
  ).map(([fingerprint = '', keyId = '', end = '', user = '']) => ({ fingerprint, keyId, user, end: new Date(end) }))
  const [, kubeconfig = ''] = /^ {8}kubeConfigFile: (.+)$/m.exec(text) ?? []
  if (certificates.some(({ end }) => Number.isNaN(end.getTime()))) return undefined
  const list = { entries, certificates }
  // One that is too long is loaded by no API server.
  const whole = tryTo(() => formatWith(list, kubeconfig))
  return whole !== undefined && text.includes(whole) ? list : undefined
}

/** Whether an API server may load it and then deny somebody: a list of ours that a YAML tool has rewritten, which `readRevoked` does not read. */
export function mayDeny(text: string): boolean {
  const document = parseYaml(text)
  if (document.errors.length > 0) return false
  const isOurs = (each: unknown) => isCollection(each) && each.get('name') === authorizerName
  const all = document.get('authorizers')
  const ours = isSeq(all) ? all.items.find(isOurs) : undefined
  const conditions = isCollection(ours) && ours.getIn(['webhook', 'matchConditions'])
  return document.get('kind') === 'AuthorizationConfiguration' && isSeq(conditions) && conditions.items.length > 0
}

/** What is wrong where entries that a file has would be dropped. */
export function formatDropped(removed: readonly string[], file: string): string {
  return `${file} lists more than revoked in cluster.yaml; ${formatNames(removed)} would regain access`
}

/** Where a file can't be read. */
export function formatUnread(file: string): string {
  return `${file} is not a list of harderway's, and may have more than revoked in cluster.yaml`
}

/** A configuration that somebody else has written. One of ours may be truncated. */
export function isOwnAuthorization(text: string): boolean {
  return !text.startsWith(header) && text.includes('AuthorizationConfiguration')
}

/**
 * What an API server denies while exactly this list is in force, before RBAC is asked: the spec of a SubjectAccessReview. RBAC allows
 * everybody who is authenticated to read /version, so it is not denied by an authorizer that stands behind RBAC.
 */
export function reviewOf(list: RevokedList): object {
  return {
    user: markOf(list),
    groups: ['system:authenticated'],
    nonResourceAttributes: { path: '/version', verb: 'get' },
  }
}

/** What a run has: its list is in auth/. */
interface Listing {
  readonly auth: AuthDir
  readonly cluster: Pick<Cluster, 'revoked'>
  readonly now: Date
}

export interface KnownCertificate extends NonNullable<ReturnType<typeof identified>> {
  /** In auth/: `.`, or of its backup. */
  readonly folder: string
  /** Of its file, without the ending. */
  readonly name: string
}

const identified = once((pem: Uint8Array) => {
  const certificate = readCertificate(pem)
  return certificate && { certificate, fingerprint: fingerprintOf(certificate), keyId: keyIdOf(certificate) }
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

/** Those that an entry revokes. */
export function coveredBy(entry: string, known: readonly KnownCertificate[]): KnownCertificate[] {
  if (!isKeyEntry(entry)) {
    const users = [`CN=${entry}`, `CN=${nodeUser(entry)}`]
    return known.filter(({ certificate }) => users.some((user) => certificate.attributes.includes(user)))
  }
  const own = known.find(({ fingerprint }) => entryOf(fingerprint) === entry)
  return own ? known.filter(({ keyId }) => keyId === own.keyId) : []
}

const readList = once((bytes) => readRevoked(bytes.toString()))

/** The list in auth/; undefined if it can't be read. */
export function listIn(auth: AuthDir): RevokedList | undefined {
  const bytes = auth.tryBytes(authorizationConfigFile)
  return bytes ? readList(bytes) : nobody
}

/** What a user shows to an API server: certificates in auth/ and its backup, and those that its list has from before. */
function certificatesIn(auth: AuthDir): Shown[] {
  const found = knownCertificates(auth).flatMap(({ certificate, fingerprint, keyId }): Shown[] => {
    const user = commonNameOf(certificate)
    const isPlain = user !== undefined && new RegExp(`^${plain}$`).test(user)
    return isPlain && !certificate.isCa ? [{ fingerprint, keyId, user, end: certificate.notAfter }] : []
  })
  const all = [...found, ...(listIn(auth)?.certificates ?? [])]
  return [...new Map(all.map((each) => [each.fingerprint, each])).values()]
}

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
 * The list that is wanted, without the `held` entries: those keys are not revoked yet, and a name that they take the place of stays. A
 * certificate stays listed until it expires or its key is revoked, as a node or user may still have it.
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
  const byName = (a: Shown, b: Shown) => compare(a.user, b.user) || compare(a.fingerprint, b.fingerprint)
  const certificates = all.filter(isWanted).toSorted(byName)
  // An expired certificate is dropped with the next change: time alone changes no file.
  const listed = listIn(auth)
  const isSame =
    listed && isDeepStrictEqual([listed.entries, listed.certificates.filter(isWanted)], [entries, certificates])
  return isSame ? listed : { entries, certificates }
}

/** Names that the one list has no more, since it has all their keys. */
function replacedBy(wanted: RevokedList, listed: RevokedList, now: Date): string[] {
  const removed = removedFrom(listed, wanted, now)
  return listed.entries.filter(
    (entry) => !isKeyEntry(entry) && !wanted.entries.includes(entry) && !removed.includes(entry),
  )
}

const compare = (a: string, b: string) => Number(a > b) - Number(a < b)

/** Whether the file in auth/ has the list that is wanted. */
export function isListed(of: Listing): boolean {
  return of.auth.read(authorizationConfigFile) !== undefined && wantedList(of) === listIn(of.auth)
}

/** Everybody whom one of them has. */
export function mergeLists(lists: readonly RevokedList[]): RevokedList {
  const all = lists.flatMap(({ certificates }) => certificates)
  return {
    entries: [...new Set(lists.flatMap(({ entries }) => entries))].toSorted(),
    certificates: [...new Map(all.map((each) => [each.fingerprint, each])).values()],
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

/** Whether a file is of a pair that this run replaces because its key is about to be listed: its readers must load the new one first. */
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
 * Whom the one list denies, and the other does not: its entries. A key lets in nobody without a valid certificate that is known; and
 * keys may take the place of a name, if they are all that it had when it was listed.
 */
export function removedFrom(listed: RevokedList, wanted: RevokedList, now: Date): string[] {
  const denied = keysOf(wanted.entries, wanted.certificates)
  const names = new Set(wanted.entries.flatMap(usersOf))
  const isDenied = ({ user, keyId }: Shown) => names.has(user) || denied.has(keyId)
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
export function keysOfName(
  name: string,
  known: readonly KnownCertificate[],
  { auth, now }: Omit<Listing, 'cluster'>,
): string[] {
  const listed = (listIn(auth) ?? nobody).certificates.filter(({ user }) => usersOf(name).includes(user))
  const all = [...known.map(({ certificate, ...each }) => ({ ...each, end: certificate.notAfter })), ...listed]
  const valid = all.filter(({ end }) => end > now)
  return [...new Map(valid.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

/** The line of cluster.yaml with more entries. */
export function formatEntries({ revoked = [] }: Listing['cluster'], more: readonly string[]): string {
  return `revoked: [${[...revoked, ...more].map(scalarText).join(', ')}]`
}
