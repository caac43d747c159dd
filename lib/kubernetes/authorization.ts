/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text, and the list
 * read back from it; and whom the entries of `revoked` cut off, by the certificates that auth/ has and had. Reads only.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import { hash } from 'node:crypto'
import { join } from 'node:path'
import type { Cluster } from '../cluster/cluster.ts'
import { entryOf, isKeyEntry } from '../cluster/problem.ts'
import { Failure, refusal, runAgain, tryTo } from '../failure.ts'
import { type AuthDir, authorizationConfigFile } from '../files/auth-dir.ts'
import { once } from '../files/plain-file.ts'
import { type Certificate, fingerprintOf, keyIdOf, readCertificate } from '../pki/certificate.ts'
import { formatNames } from '../wording.ts'
import { scalarText } from './kubeconfig.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** Of the authorizer, in the API server's metrics too. */
const authorizerName = 'revoked'

/**
 * Who is cut off: each entry of `revoked`. A user's or node's name has no fingerprints; `sha256:…` has its own, and that of every other
 * certificate known to be over its key, as 64 hexadecimal digits.
 */
export type RevokedList = ReadonlyMap<string, readonly string[]>

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
const usersOf = (name: string): string[] => [name, nodeUser(name)]

/** Of a user, whose certificate the API server names there: https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/ */
const credentialId = 'authentication.kubernetes.io/credential-id'
const credentialOf = (fingerprint: string) => `X509SHA256=${fingerprint}`

/** A user that is nobody's name. Whoever denies it has this list in force, and no other. */
function markOf(list: RevokedList): string {
  return `revoked:${hash('sha256', JSON.stringify([...list].toSorted()))}`
}

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/**
 * The authorizer that denies them, as an item of `authorizers`: all conditions that are true would have it ask a server, and one that is
 * an error denies at once. So the second condition is an error, whose text a denied client reads; the first has the list. Throws a
 * Failure for one that is too long.
 */
export function formatAuthorizer(list: RevokedList, kubeconfig: string): string {
  const quoted = (values: readonly string[]) => values.map((each) => `'${each}'`).join(', ')
  const names = [...list.keys()].filter((entry) => !isKeyEntry(entry))
  const credentials = [...new Set([...list.values()].flat())].map(credentialOf)
  const keys = `has(request.extra) && '${credentialId}' in request.extra && request.extra['${credentialId}'].exists(id, id in [${quoted(credentials)}])`
  const users = `request.user in [${quoted([...names.flatMap(usersOf), markOf(list)])}]`
  const listed = credentials.length > 0 ? `${users} || ${keys}` : users
  if (listed.length > longest)
    throw new Failure(
      `revoked is too long: an API server takes ${longest} characters, and its list has ${listed.length}`,
      {
        remedy: `take out whose certificates have expired; then ${runAgain}`,
      },
    )
  const others = [...list].flatMap(([entry, [, ...more]]) =>
    more.length > 0 ? [`# ${entry}, and ${more.join(' ')}`] : [],
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
    `        kubeConfigFile: ${scalarText(kubeconfig)}`,
    '      matchConditions:',
    ...others.map((line) => `        ${line}`),
    `        - expression: "${listed}"`,
    `        - expression: "request.extra['this certificate is revoked'][0] == 'revoked'"`,
  ].join('\n')
}

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

/** The list that a file of ours has; undefined if it can't be read. */
export function readRevoked(text: string): RevokedList | undefined {
  const [, names, keys = ''] =
    /^ {8}- expression: "request\.user in \[([^\]"]*)\](?: \|\| [^"]*\[([^\]"]*)\]\))?"$/m.exec(text) ?? []
  if (names === undefined) return undefined
  const quotedIn = (of: string) => Array.from(of.matchAll(/'([^']+)'/g), ([, value = '']) => value)
  const users = new Set(quotedIn(names))
  const groups = Array.from(
    text.matchAll(/^ {8}# (sha256:[0-9a-f]{64}), and ([0-9a-f ]+)$/gm),
    ([, entry = '', more = '']) => [entry.slice(entryOf('').length), ...more.split(' ')],
  )
  const grouped = new Set(groups.flatMap(([, ...more]) => more))
  const fingerprints = quotedIn(keys).map((each) => each.slice(credentialOf('').length))
  const alone = fingerprints.filter((each) => !groups.some(([own]) => own === each) && !grouped.has(each))
  return new Map([
    ...[...users].filter((user) => users.has(nodeUser(user))).map((name): [string, string[]] => [name, []]),
    ...[...groups, ...alone.map((each) => [each])].map((all): [string, string[]] => [entryOf(all[0] ?? ''), all]),
  ])
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

/** What an API server is asked, of which it denies each while the entry is in force: specs of a SubjectAccessReview. */
export function reviewsOf([entry, fingerprints]: [entry: string, fingerprints: readonly string[]]): object[] {
  if (!isKeyEntry(entry)) return usersOf(entry).map((user) => reviewOf(user))
  return fingerprints.map((each) => reviewOf('nobody', { [credentialId]: [credentialOf(each)] }))
}

/** The one that is denied while exactly this list is in force. */
export function reviewOfAll(list: RevokedList): object {
  return reviewOf(markOf(list))
}

function reviewOf(user: string, extra?: object): object {
  return { user, ...(extra && { extra }), nonResourceAttributes: { path: '/', verb: 'get' } }
}

/** What a run has: its list is in auth/. */
interface Listing {
  readonly auth: AuthDir
  readonly cluster: Pick<Cluster, 'revoked'>
  /** No key is added: its new pair may not be loaded everywhere yet. */
  readonly listsNoKeys?: boolean
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
  return text === undefined ? new Map() : readRevoked(text)
}

/** Entries by key that are not in the list yet: it gets them once the new pairs are loaded wherever they are read. */
export function keysToList({ auth, cluster }: Listing): string[] {
  const keys = cluster.revoked?.filter(isKeyEntry) ?? []
  if (keys.length === 0) return []
  const listed = new Set([...(listIn(auth)?.values() ?? [])].flat().map(entryOf))
  return keys.filter((entry) => !listed.has(entry))
}

/** The list as it is to be. What it knows of a key is kept, even if the certificates are gone. */
export function wantedList(run: Listing): RevokedList {
  const { auth, cluster, listsNoKeys } = run
  const held = new Set(listsNoKeys ? keysToList(run) : [])
  const entries = (cluster.revoked ?? []).filter((entry) => !held.has(entry))
  const known = entries.some(isKeyEntry) ? knownCertificates(auth) : []
  const groups = [...(listIn(auth)?.values() ?? [])]
  return new Map(
    entries.map((entry): [string, readonly string[]] => {
      if (!isKeyEntry(entry)) return [entry, []]
      const own = entry.slice(entryOf('').length)
      const all = [
        ...coveredBy(entry, known).map(({ fingerprint }) => fingerprint),
        ...groups.filter((group) => group.includes(own)).flat(),
      ]
      return [entry, [own, ...[...new Set(all)].filter((each) => each !== own).toSorted()]]
    }),
  )
}

/** Whether a certificate is over a key that is cut off. What the list alone knows counts too: auth/backup may be lost. */
export function revokedKeys({ auth, cluster }: Listing): (certificate: Certificate) => boolean {
  if (!cluster.revoked?.some(isKeyEntry)) return () => false
  const prints = new Set([...wantedList({ auth, cluster }).values()].flat())
  const own = knownCertificates(auth).filter(({ fingerprint }) => prints.has(fingerprint))
  const covered = new Set(own.map(({ keyId }) => keyId))
  return (certificate) => covered.has(keyIdOf(certificate)) || prints.has(fingerprintOf(certificate))
}

/** Whether a file has a pair that a run replaces because its key is about to be listed: who reads it has to load the new one first. */
export function pairsToReplace(run: Listing): (file: string) => boolean {
  const { files } = run.auth
  const keys = keysToList(run)
  const known = keys.length > 0 ? knownCertificates(run.auth) : []
  const names = new Set(keys.flatMap((entry) => coveredBy(entry, known).map(({ name }) => name)))
  return (file) => names.has(files.parse(file)?.name ?? '')
}

/** Whom the one list denies, and the other does not: its entries. */
export function removedFrom(listed: RevokedList, wanted: RevokedList): string[] {
  const prints = new Set([...wanted.values()].flat())
  const isKept = (entry: string, own: readonly string[]) =>
    isKeyEntry(entry) ? own.every((each) => prints.has(each)) : wanted.has(entry)
  return [...listed].flatMap(([entry, own]) => (isKept(entry, own) ? [] : [entry]))
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
