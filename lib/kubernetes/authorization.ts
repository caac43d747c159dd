/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text, and the list
 * read back from it; and whom the entries of `revoked` concern, by the certificates that auth/ has and had. Reads only.
 *
 * A name is denied with every certificate. A key can't be denied by its fingerprints: whoever has it can write its certificate in other
 * bytes, which have another SHA-256 and are accepted all the same. So its users are pinned: they may show only the good ones of their
 * certificates, those over other keys.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import { hash } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { Cluster } from '../cluster/cluster.ts'
import { entryOf, isKeyEntry } from '../cluster/problem.ts'
import { Failure, refusal, runAgain, tryTo } from '../failure.ts'
import { type AuthDir, authorizationConfigFile } from '../files/auth-dir.ts'
import { once } from '../files/plain-file.ts'
import { type Certificate, commonNameOf, fingerprintOf, keyIdOf, readCertificate } from '../pki/certificate.ts'
import { formatNames } from '../wording.ts'
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

/** Who is revoked, and what is known of it: the file has all of this, so that none is lost with auth/. */
export interface RevokedList {
  /** Of `revoked`: names of users and nodes, and `sha256:…`. */
  readonly entries: readonly string[]
  /** Those of the users of revoked keys, over these keys and over others. */
  readonly certificates: readonly Shown[]
}

const nobody: RevokedList = { entries: [], certificates: [] }

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
const usersOf = (name: string): string[] => [name, nodeUser(name)]

/** Of a user, whose certificate the API server names there: https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/ */
const credentialId = 'authentication.kubernetes.io/credential-id'
const credentialPrefix = 'X509SHA256='

/** The keys of the entries, by their certificates. */
const keysOf = (entries: readonly string[], certificates: readonly Shown[]) =>
  new Set(certificates.filter((each) => entries.includes(entryOf(each.fingerprint))).map(({ keyId }) => keyId))

/** Whether a certificate is over a revoked key. */
export function isOverRevoked({ entries, certificates }: RevokedList): (certificate: Pick<Shown, 'keyId'>) => boolean {
  const keys = keysOf(entries, certificates)
  return ({ keyId }) => keys.has(keyId)
}

/** A user that is nobody's name. Whoever denies it has this list in force, and no other. */
function markOf({ entries, certificates }: RevokedList): string {
  return `revoked:${hash('sha256', JSON.stringify([entries, certificates.map(formatShown)]))}`
}

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/**
 * The authorizer that denies them, as an item of `authorizers`: all conditions that are true would have it ask a server, and one that is
 * an error denies at once. So the second condition is an error, whose text a denied client reads; the first has the list. Throws a
 * Failure for one that is too long.
 */
export function formatAuthorizer(list: RevokedList, kubeconfig: string): string {
  return formatWith(list, scalarText(kubeconfig))
}

/** `kubeconfig`: as it stands in the file. */
function formatWith(list: RevokedList, kubeconfig: string): string {
  const quoted = (values: readonly string[]) => values.map((each) => `'${each}'`).join(', ')
  const names = list.entries.filter((entry) => !isKeyEntry(entry)).flatMap(usersOf)
  const isRevoked = isOverRevoked(list)
  const pinned = [...new Set(list.certificates.filter(isRevoked).map(({ user }) => user))]
  const good = list.certificates.filter((each) => !isRevoked(each)).map((each) => credentialPrefix + each.fingerprint)
  const denied = `request.user in [${quoted([...names, markOf(list)])}]`
  // The test of the user comes first: a condition that is an error denies everybody. Without credential-id it is no certificate.
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

/** The list that a file of ours has; undefined if it can't be read, or its conditions are not of the list that it names. */
export function readRevoked(text: string): RevokedList | undefined {
  const linesOf = (pattern: RegExp) => Array.from(text.matchAll(pattern), ([, ...parts]) => parts)
  const entries = linesOf(/^ {8}# revoked: (\S+)$/gm).map(([entry = '']) => entry)
  const certificates = linesOf(
    /^ {8}# certificate: ([0-9a-f]{64}) key ([0-9a-f]{64}) until ([\dT:.-]+Z) user (\S+)$/gm,
  ).map(([fingerprint = '', keyId = '', end = '', user = '']) => ({ fingerprint, keyId, user, end: new Date(end) }))
  const [, kubeconfig = ''] = /^ {8}kubeConfigFile: (.+)$/m.exec(text) ?? []
  if (certificates.some(({ end }) => Number.isNaN(end.getTime()))) return undefined
  const list = { entries, certificates }
  return text.includes(formatWith(list, kubeconfig)) ? list : undefined
}

/** Why a list with less than the file has is refused. `again`: the command that lets in all the same; `back`: what keeps it out. */
export function letInAgain(
  removed: readonly string[],
  file: string,
  again: string,
  back = `keep it: add ${removed.join(', ')} to revoked`,
): Failure {
  return refusal(`${formatNames(removed)} would be let in again: ${file} lists more than revoked in cluster.yaml`, [
    back,
    `or let in again what is not listed, with every certificate that is still valid: ${again}`,
  ])
}

/** A configuration that somebody else has written. Ours may be cut off. */
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

interface KnownCertificate extends NonNullable<ReturnType<typeof identified>> {
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
      return found && name !== undefined ? [{ name, ...found }] : []
    }),
  )
}

/** Those that an entry cuts off. */
export function coveredBy(entry: string, known: readonly KnownCertificate[]): KnownCertificate[] {
  if (!isKeyEntry(entry)) {
    const users = [`CN=${entry}`, `CN=${nodeUser(entry)}`]
    return known.filter(({ certificate }) => users.some((user) => certificate.attributes.includes(user)))
  }
  const own = known.find(({ fingerprint }) => entryOf(fingerprint) === entry)
  return own ? known.filter(({ keyId }) => keyId === own.keyId) : []
}

/** The list in auth/; undefined if it can't be read. */
export function listIn(auth: AuthDir): RevokedList | undefined {
  const text = auth.tryBytes(authorizationConfigFile)?.toString()
  return text === undefined ? nobody : readRevoked(text)
}

/** What a user shows to an API server: certificates in auth/ and its backup, and those that its list has from before. */
function certificatesIn(auth: AuthDir): Shown[] {
  const found = knownCertificates(auth).flatMap(({ certificate, fingerprint, keyId }): Shown[] => {
    const user = commonNameOf(certificate)
    // No name of cluster.yaml has other characters, and none of these ends a string of an expression.
    const isPlain = user !== undefined && /^[\w.:@-]+$/.test(user)
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
 * The list as it is to be; without the `held` entries, whose certificates are good until then. A good certificate is dropped only when it
 * expires, or its key is revoked: so nobody is refused whom any node or user may still show one of.
 */
export function wantedList({ auth, cluster, now }: Listing, held: readonly string[] = []): RevokedList {
  const entries = (cluster.revoked ?? []).filter((entry) => !held.includes(entry)).toSorted()
  const all = entries.some(isKeyEntry) ? certificatesIn(auth) : []
  const keys = keysOf(entries, all)
  const isValid = ({ end }: Shown) => end > now
  const users = new Set(all.filter((each) => keys.has(each.keyId) && isValid(each)).map(({ user }) => user))
  const isTold = (each: Shown) => users.has(each.user) && (isValid(each) || entries.includes(entryOf(each.fingerprint)))
  const byName = (a: Shown, b: Shown) => compare(a.user, b.user) || compare(a.fingerprint, b.fingerprint)
  const certificates = all.filter(isTold).toSorted(byName)
  // One that has expired is dropped with the next change: time alone changes no file.
  const listed = listIn(auth)
  const isSame =
    listed && isDeepStrictEqual([listed.entries, listed.certificates.filter(isTold)], [entries, certificates])
  return isSame ? listed : { entries, certificates }
}

const compare = (a: string, b: string) => Number(a > b) - Number(a < b)

/** Entries by key of which no certificate is known: whom they concern is not either, so they cut off nobody. */
export function unknownKeys({ auth, cluster }: Pick<Listing, 'auth' | 'cluster'>): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  const known = keys.length > 0 ? certificatesIn(auth) : []
  return keys.filter((entry) => !known.some(({ fingerprint }) => entryOf(fingerprint) === entry))
}

/** Whether a certificate is over a key that is to be cut off, listed or not. */
export function revokedKeys({
  auth,
  cluster,
}: Pick<Listing, 'auth' | 'cluster'>): (certificate: Certificate) => boolean {
  const { revoked: entries = [] } = cluster
  if (!entries.some(isKeyEntry)) return () => false
  const isOver = isOverRevoked({ entries, certificates: certificatesIn(auth) })
  return (certificate) => isOver({ keyId: keyIdOf(certificate) })
}

/** Whether a file has a pair that a run replaces because its key is about to be listed: who reads it has to load the new one first. */
export function pairsToReplace(run: Pick<Listing, 'auth' | 'cluster'>): (file: string) => boolean {
  return pairsOf(run.auth, keysToList(run))
}

/** Whether a file is, or was, of a pair over one of these keys. */
export function pairsOf(auth: AuthDir, keys: readonly string[]): (file: string) => boolean {
  const known = keys.length > 0 ? knownCertificates(auth) : []
  const names = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ name }) => name)))
  return (file) => names.has(auth.files.parse(file)?.name ?? '')
}

/** The file's certificates are of a user who is pinned: API servers have to know one before it is loaded. */
export function pinnedPairs({ auth }: Pick<Listing, 'auth'>): (file: string) => boolean {
  const list = listIn(auth) ?? nobody
  const users = new Set(list.certificates.filter(isOverRevoked(list)).map(({ user }) => user))
  const known = users.size > 0 ? knownCertificates(auth) : []
  const isOfUser = ({ certificate }: KnownCertificate) => users.has(commonNameOf(certificate) ?? '')
  const names = new Set(known.filter(isOfUser).map(({ name }) => name))
  return (file) => names.has(auth.files.parse(file)?.name ?? '')
}

/** By the list in auth/, whether a certificate is over a key that API servers refuse. */
export function refusedKeys({ auth }: Pick<Listing, 'auth'>): (certificate: Certificate) => boolean {
  const isOver = isOverRevoked(listIn(auth) ?? nobody)
  return (certificate) => isOver({ keyId: keyIdOf(certificate) })
}

/** Whom the one list denies, and the other does not: its entries. A key that no valid certificate is over lets in nobody. */
export function removedFrom(listed: RevokedList, wanted: RevokedList, now: Date): string[] {
  const denied = keysOf(wanted.entries, wanted.certificates)
  const isKept = (entry: string) => {
    const key = listed.certificates.find(({ fingerprint }) => entryOf(fingerprint) === entry)?.keyId
    if (key === undefined) return wanted.entries.includes(entry)
    return denied.has(key) || !listed.certificates.some(({ keyId, end }) => keyId === key && end > now)
  }
  return listed.entries.filter((entry) => !isKept(entry))
}

/** Users whom the one list lets in with a certificate, and the other would not, though its key is not revoked. */
export function lockedOutBy(wanted: RevokedList, listed: RevokedList, now: Date): string[] {
  const isRevoked = isOverRevoked({ ...wanted, certificates: [...wanted.certificates, ...listed.certificates] })
  const pinned = new Set(wanted.certificates.filter(isRevoked).map(({ user }) => user))
  const good = new Set(wanted.certificates.map(({ fingerprint }) => fingerprint))
  const lost = listed.certificates.filter(
    (each) => pinned.has(each.user) && each.end > now && !isRevoked(each) && !good.has(each.fingerprint),
  )
  return [...new Set(lost.map(({ user }) => user))]
}

/** The entries by which they are cut off with their keys, as far as they are valid. */
export function cuttingOff(known: readonly KnownCertificate[], now: Date): string[] {
  const valid = known.filter(({ certificate }) => certificate.notAfter > now)
  return [...new Map(valid.map(({ keyId, fingerprint }) => [keyId, entryOf(fingerprint)])).values()]
}

/** The line of cluster.yaml with more entries. */
export function formatEntries({ revoked = [] }: Listing['cluster'], more: readonly string[]): string {
  return `revoked: [${[...revoked, ...more].join(', ')}]`
}
