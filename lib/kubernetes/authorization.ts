/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked, and
 * counts who still uses a certificate that was replaced: its text, and the list read back from it.
 *
 * A name is denied with every certificate. A key can't be denied by its fingerprints: whoever has it can write its
 * certificate in other bytes, which have another SHA-256 and are accepted all the same. So its users are pinned: an API
 * server accepts only the certificates that it knows of them, over other keys.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import { hash } from 'node:crypto'
import { isCollection, isSeq } from 'yaml'
import { entryOf, isKeyEntry } from '../cluster/problem.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import { parseYaml } from '../yaml.ts'
import { scalarText } from './kubeconfig.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** Of the authorizer, in the API server's metrics too. */
export const authorizerName = 'revoked'
/** Of the one that tells which list is in force. */
export const markName = 'revoked-list'

/** A certificate that a user may or may not show. Fingerprint and key: SHA-256, as 64 hexadecimal digits. */
export interface Shown {
  readonly fingerprint: string
  readonly keyId: string
  readonly user: string
  readonly end: Date
}

/**
 * Certificates that were replaced, and that one authorizer counts the requests by: of one user, or of several until it
 * counts any.
 */
export interface Counted {
  /** A component's name, `nodes` or `users`. */
  readonly label: string
  /** When it was listed. */
  readonly since: Date
  readonly certificates: readonly Omit<Shown, 'keyId'>[]
}

/** Who is revoked, with the certificates concerned: the file has all of this, so a lost auth/ loses none of it. */
export interface RevokedList {
  /** Of `revoked`: names of users and nodes, and `sha256:…`. */
  readonly entries: readonly string[]
  /**
   * All certificates of the users of revoked keys, over these keys and over others; and those that a name had when it
   * was listed.
   */
  readonly certificates: readonly Shown[]
  /** Denied to nobody. */
  readonly counted?: readonly Counted[]
}

export const nobody: RevokedList = { entries: [], certificates: [] }

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
export const usersOf = (name: string): string[] => [name, nodeUser(name)]

/**
 * Of a user, whose certificate the API server names there:
 * https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/
 */
const credentialId = 'authentication.kubernetes.io/credential-id'
const credentialPrefix = 'X509SHA256='

/** The keys that the entries revoke. */
export const keysOf = (entries: readonly string[], certificates: readonly Shown[]) =>
  new Set(certificates.filter((each) => entries.includes(entryOf(each.fingerprint))).map(({ keyId }) => keyId))

/** Whether a certificate is over a revoked key. */
export function isOverRevoked({ entries, certificates }: RevokedList): (certificate: Pick<Shown, 'keyId'>) => boolean {
  const keys = keysOf(entries, certificates)
  return ({ keyId }) => keys.has(keyId)
}

/** The users of revoked keys. */
export function pinnedBy(list: RevokedList): string[] {
  return [...new Set(list.certificates.filter(isOverRevoked(list)).map(({ user }) => user))]
}

/** The name of a user that does not exist: an API server that denies it enforces exactly this list. */
function markOf({ entries, certificates, counted = [] }: RevokedList): string {
  const all = [entries, certificates.map(formatShown), ...counted.map(({ certificates }) => certificates)]
  return `revoked:${hash('sha256', JSON.stringify(all))}`
}

/** A certificate that is listed anew is counted from nought: an API server keeps the count of a name until it ends. */
export function counterOf({ label, since, certificates }: Counted): string {
  return `old-${label}-${hash('sha256', JSON.stringify([since, certificates])).slice(0, 16)}`
}

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/**
 * The authorizers that deny and count them, as items of `authorizers`. If all conditions of one were true, the API
 * server would query a webhook; a condition that is an error denies at once, with its text for the client, or with
 * NoOpinion is counted and changes no answer. Throws a Failure if the list is too long.
 */
export function formatAuthorizers(list: RevokedList, kubeconfig: string): string {
  return formatWith(list, scalarText(kubeconfig))
}

/** `kubeconfig`: as it stands in the file. */
function formatWith(list: RevokedList, kubeconfig: string): string {
  const names = list.entries.filter((entry) => !isKeyEntry(entry)).flatMap(usersOf)
  const isRevoked = isOverRevoked(list)
  const pinned = pinnedBy(list)
  const isGood = (each: Shown) => pinned.includes(each.user) && !isRevoked(each)
  // The user is tested first, since an error in a condition denies everybody. Without credential-id there is no
  // certificate.
  const shows = showsOne(
    `id.startsWith('${credentialPrefix}') && !(id in [${credentials(list.certificates.filter(isGood))}])`,
  )
  const isNamed = names.length > 0 && `request.user in [${quoted(names)}]`
  const isOther = pinned.length > 0 && `request.user in [${quoted(pinned)}] && ${shows}`
  const listed = [isNamed, isOther].filter(Boolean).join(' || ') || 'false'
  if (listed.length > longest)
    throw new Failure(
      `revoked is too long; its list has ${listed.length} characters, and API servers accept ${longest}`,
      { remedy: `remove entries whose certificates have expired; then ${runAgain}` },
    )
  const comments = [...list.entries.map((entry) => `revoked: ${escaped(entry)}`), ...list.certificates.map(formatShown)]
  const refused = "request.extra['this certificate is revoked'][0] == 'revoked'"
  const webhook = (name: string, policy: 'Deny' | 'NoOpinion', its: readonly string[], ...conditions: string[]) => [
    '  - type: Webhook',
    `    name: ${name}`,
    '    webhook:',
    '      timeout: 3s',
    '      subjectAccessReviewVersion: v1',
    '      matchConditionSubjectAccessReviewVersion: v1',
    `      failurePolicy: ${policy}`,
    '      connectionInfo:',
    '        type: KubeConfigFile',
    `        kubeConfigFile: ${kubeconfig}`,
    '      matchConditions:',
    ...its.map((comment) => `        # ${comment}`),
    ...conditions.map((condition) => `        - expression: "${condition}"`),
  ]
  return [
    ...webhook(authorizerName, 'Deny', comments, listed, refused),
    // By a name of its own our reviews are not among the refused requests that the API server counts.
    ...webhook(markName, 'Deny', [], `request.user in [${quoted(usersOf(markOf(list)))}]`, refused),
    ...(list.counted ?? []).flatMap((group) => {
      const shown = showsOne(`id in [${credentials(group.certificates)}]`)
      const used = `${shown} ? request.extra['an old certificate'][0] == 'is used' : true`
      return webhook(counterOf(group), 'NoOpinion', formatCounted(group), used, 'false')
    }),
  ].join('\n')
}

/** Strings of CEL, in an expression that has double quotes of YAML: both read `\\` as `\`. */
const quoted = (values: readonly string[]) =>
  values.map((each) => `'${escaped(each).replaceAll('\\', '\\\\')}'`).join(', ')
const credentials = (certificates: readonly Pick<Shown, 'fingerprint'>[]) =>
  quoted(certificates.map(({ fingerprint }) => credentialPrefix + fingerprint))
const showsOne = (condition: string) =>
  `has(request.extra) && '${credentialId}' in request.extra && request.extra['${credentialId}'].exists(id, ${condition})`

const formatShown = ({ fingerprint, keyId, user, end }: Shown) =>
  `certificate: ${fingerprint} key ${keyId} until ${end.toISOString()} user ${escaped(user)}`

const formatCounted = ({ label, since, certificates }: Counted) => [
  `counted: ${label} since ${since.toISOString()}`,
  ...certificates.map(({ fingerprint, end, user }) => `old: ${fingerprint} until ${end.toISOString()} user ${user}`),
]

/** `kubeconfig`: the absolute path of the one below. In block style: a file that begins with { is read as JSON. */
export function formatAuthorization(list: RevokedList, kubeconfig: string): string {
  return [
    header,
    'apiVersion: apiserver.config.k8s.io/v1',
    'kind: AuthorizationConfiguration',
    'authorizers:',
    formatAuthorizers(list, kubeconfig),
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

/** Of names: none of these means anything in a comment, in YAML or in CEL. */
const characters = '\\w.:@-'
/**
 * Any other character is its code point, as CEL has it:
 * https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values
 */
const escaped = (text: string): string =>
  text.replaceAll(
    new RegExp(`[^${characters}]`, 'gu'),
    (char) => `\\U${(char.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`,
  )
const codePoint = '\\\\U(00(?:0[0-9a-f]|10)[0-9a-f]{4})'
const unescaped = (text: string): string =>
  text.replaceAll(new RegExp(codePoint, 'g'), (_, digits) => String.fromCodePoint(Number.parseInt(digits, 16)))
const plain = `(?:[${characters}]|${codePoint.replace('(', '(?:')})+`

/** A user of a certificate that another tool made may have others. */
export const plainly = (user: string): string => user.replaceAll(new RegExp(`[^${characters}]`, 'g'), '_')

const [sha256, time] = ['[0-9a-f]{64}', '[\\dT:.-]+Z'] as const

/**
 * The list that a file of ours has; undefined if it can't be read, or its conditions are not of the list that it names.
 */
export function readRevoked(text: string): RevokedList | undefined {
  const partsOf = (pattern: string, from = text) =>
    Array.from(from.matchAll(new RegExp(`^ {8}# ${pattern}$`, 'gm')), ([, ...parts]) => parts)
  const entries = partsOf(`revoked: (${plain})`).map(([entry = '']) => unescaped(entry))
  const certificates = partsOf(`certificate: (${sha256}) key (${sha256}) until (${time}) user (${plain})`).map(
    ([fingerprint = '', keyId = '', end = '', user = '']) => ({
      fingerprint,
      keyId,
      user: unescaped(user),
      end: new Date(end),
    }),
  )
  const counted = partsOf(`counted: ([a-z0-9-]+) since (${time})((?:\\n {8}# old: .+)+)`).map(
    ([label = '', since = '', its = '']): Counted => ({
      ...{ label, since: new Date(since) },
      certificates: partsOf(`old: (${sha256}) until (${time}) user (${plain})`, its).map(
        ([fingerprint = '', end = '', user = '']) => ({ fingerprint, user, end: new Date(end) }),
      ),
    }),
  )
  const [, kubeconfig = ''] = /^ {8}kubeConfigFile: (.+)$/m.exec(text) ?? []
  // What is for a terminal is in no name of cluster.yaml.
  if ([...entries, ...certificates.map(({ user }) => user)].some((name) => /\p{Cc}/u.test(name))) return undefined
  const dates = [...certificates, ...counted.flatMap((group) => [{ end: group.since }, ...group.certificates])]
  if (dates.some(({ end }) => Number.isNaN(end.getTime()))) return undefined
  const list = { entries, certificates, ...(counted.length > 0 && { counted }) }
  // One that is too long is loaded by no API server.
  const whole = tryTo(() => formatWith(list, kubeconfig))
  return whole !== undefined && text.includes(whole) ? list : undefined
}

/**
 * Whether an API server may load it and then deny somebody: a list of ours that a YAML tool has rewritten, which
 * `readRevoked` does not read.
 */
export function mayDeny(text: string): boolean {
  const document = parseYaml(text)
  if (document.errors.length > 0) return false
  const isOurs = (each: unknown) => isCollection(each) && each.get('name') === authorizerName
  const all = document.get('authorizers')
  const ours = isSeq(all) ? all.items.find(isOurs) : undefined
  const conditions = isCollection(ours) && ours.getIn(['webhook', 'matchConditions'])
  return document.get('kind') === 'AuthorizationConfiguration' && isSeq(conditions) && conditions.items.length > 0
}

/** A configuration that somebody else has written. One of ours may be truncated. */
export function isOwnAuthorization(text: string): boolean {
  return !text.startsWith(header) && text.includes('AuthorizationConfiguration')
}

/**
 * What an API server denies while exactly this list is in force, before Node and RBAC are asked: specs of
 * SubjectAccessReviews. RBAC allows everybody who is authenticated to read /version, and Node every kubelet to read
 * services, so neither is denied by an authorizer that stands behind them.
 */
export function reviewsOf(list: RevokedList): object[] {
  const [user, node] = usersOf(markOf(list))
  const everybody = 'system:authenticated'
  return [
    { user, groups: [everybody], nonResourceAttributes: { path: '/version', verb: 'get' } },
    { user: node, groups: ['system:nodes', everybody], resourceAttributes: { resource: 'services', verb: 'get' } },
  ]
}
