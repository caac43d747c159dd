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

/** A certificate that was replaced: API servers count the requests that show it, and deny none of them. */
export type Counted = Omit<Shown, 'keyId'>

/** Who is revoked, with the certificates concerned: the file has all of this, so a lost auth/ loses none of it. */
export interface RevokedList {
  /** Of `revoked`: names of users and nodes, and `sha256:…`. */
  readonly entries: readonly string[]
  /**
   * All certificates of the users of revoked keys, over these keys and over others; and those that a name had when it
   * was listed.
   */
  readonly certificates: readonly Shown[]
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

const digest = (value: unknown) => hash('sha256', JSON.stringify(value))

/** The name of a user that does not exist: an API server that denies this user enforces exactly this list. */
const markOf = ({ entries, certificates }: RevokedList) => `revoked:${digest([entries, certificates.map(formatShown)])}`

/** The same for the counters: an API server that denies this user has loaded all of them. */
const countersMarkOf = (list: RevokedList) => `counted:${digest(countersOf(list).map(({ name }) => name))}`

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/** Of the whole file, in characters, the counters left out where they take more: a look at a node reads 256 KiB. */
const largest = 200_000

/** Whether an API server, or the next run, might not read the file of this list, its counters aside. */
export function isTooLong(list: RevokedList): boolean {
  const { expression, comments } = denialOf(list)
  return expression.length > 0.95 * longest || expression.length + comments.join('\n').length > largest
}

/**
 * The list with the replaced certificates that its file has room for: those of nodes are left out first, then those of
 * people.
 */
export function withCounted({ counted: _, ...list }: RevokedList, certificates: readonly Counted[]): RevokedList {
  const all = certificates.toSorted(byUser)
  const kept = (...kinds: UserKind[]): RevokedList => {
    const counted = all.filter(({ user }) => kinds.includes(kindOf(user)))
    return counted.length > 0 ? { ...list, counted } : list
  }
  const ways = [kept('component', 'user', 'node'), kept('component', 'user'), kept('component')]
  return ways.find((each) => formatAuthorization(each, '/'.repeat(100)).length <= largest) ?? list
}

/** By which certificates stand in a list. */
export function byUser(a: Pick<Shown, 'user' | 'fingerprint'>, b: Pick<Shown, 'user' | 'fingerprint'>): number {
  const compare = (one: string, other: string) => Number(one > other) - Number(one < other)
  return compare(a.user, b.user) || compare(a.fingerprint, b.fingerprint)
}

type UserKind = 'component' | 'node' | 'user'

/** What a user is, by the name: https://kubernetes.io/docs/setup/best-practices/certificates/ */
export function kindOf(user: string): UserKind {
  if (user.startsWith(nodeUser(''))) return 'node'
  return user.startsWith('system:kube-') ? 'component' : 'user'
}

/**
 * An authorizer that allows and denies nothing. Each request that meets its condition is an error of the condition,
 * which an API server counts under the authorizer's name: apiserver_authorization_match_condition_evaluation_errors_total
 */
export interface Counter {
  readonly name: string
  /** Of requests that are denied, or of requests with certificates that were replaced. */
  readonly counts: 'denied' | 'replaced'
  /** More than one only where there are more users than counters. */
  readonly users: readonly string[]
  readonly condition: string
  /** None of requests that are denied. */
  readonly certificates: readonly Counted[]
}

/** Each costs every request some 20 µs. */
const mostCounters = 32
/** Of these, for who is revoked. */
const mostOfDenied = 12

/**
 * One for each user, by the list alone. An API server keeps the count of a name until its process ends, so a name has
 * a digest of what it counts.
 */
export function countersOf(list: RevokedList): Counter[] {
  const denied = deal(denialsOf(list), mostOfDenied).map((part): Counter => {
    const condition = part.map((each) => each.condition).join(' || ')
    const users = part.flatMap((each) => each.users)
    const name = `denied-${labelOf(users.slice(0, 1), part.length)}-${digest(condition).slice(0, 16)}`
    return { name, counts: 'denied', users, condition, certificates: [] }
  })
  const users = [...Map.groupBy(list.counted ?? [], ({ user }) => user).values()]
  const { component = [], node = [], user = [] } = Object.groupBy(users, ([first]) => kindOf(first?.user ?? ''))
  const room = mostCounters - denied.length - component.length
  const ofNodes = deal(node, Math.max(1, room - user.length))
  const replaced = [...deal(component, component.length), ...deal(user, room - ofNodes.length), ...ofNodes]
  return [
    ...denied,
    ...replaced.map((part): Counter => {
      const certificates = part.flat()
      const users = [...new Set(certificates.map((each) => each.user))]
      const name = `old-${labelOf(users, users.length)}-${digest(certificates.map(({ fingerprint }) => fingerprint)).slice(0, 16)}`
      return {
        name,
        counts: 'replaced',
        users,
        condition: showsOne(`id in [${credentials(certificates)}]`),
        certificates,
      }
    }),
  ]
}

/** For RFC 1123, as the name of an authorizer has to be: "user-jane", "nodes". */
function labelOf([user = '']: readonly string[], users: number): string {
  const kind = kindOf(user)
  if (users > 1) return `${kind}s`
  const own = user
    .replace(/^system:(?:node:)?/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
  return `${kind === 'component' ? '' : `${kind}-`}${own.slice(0, 40)}`.replaceAll(/-+$/g, '')
}

/** Into at most as many parts, of about the same size. */
function deal<Each>(all: readonly Each[], parts: number): Each[][] {
  return [...Map.groupBy(all.entries(), ([i]) => i % parts).values()].map((part) => part.map(([, each]) => each))
}

/** Who is denied, apart: a name with whatever certificate, the user of a revoked key with all but the good ones. */
function denialsOf({
  entries,
  ...list
}: RevokedList): { readonly users: readonly string[]; readonly condition: string }[] {
  const names = entries.filter((entry) => !isKeyEntry(entry))
  return [
    ...names.map((name) => ({ users: [name], condition: isOneOf(usersOf(name)) })),
    ...pinnedBy({ entries, ...list }).map((user) => ({
      users: [user],
      condition: `${isOneOf([user])} && ${showsAnother(goodOf({ entries, ...list }, [user]))}`,
    })),
  ]
}

/** Those that the pinned users may show. */
function goodOf(list: RevokedList, pinned: readonly string[]): Shown[] {
  const isRevoked = isOverRevoked(list)
  return list.certificates.filter((each) => pinned.includes(each.user) && !isRevoked(each))
}

/** By which requests are denied, and what the file says of it. */
function denialOf(list: RevokedList) {
  const names = list.entries.filter((entry) => !isKeyEntry(entry)).flatMap(usersOf)
  const pinned = pinnedBy(list)
  const isNamed = names.length > 0 && isOneOf(names)
  // The user is tested first, since an error in a condition denies everybody.
  const isOther = pinned.length > 0 && `${isOneOf(pinned)} && ${showsAnother(goodOf(list, pinned))}`
  return {
    expression: [isNamed, isOther].filter(Boolean).join(' || ') || 'false',
    comments: [...list.entries.map((entry) => `revoked: ${escaped(entry)}`), ...list.certificates.map(formatShown)],
  }
}

/**
 * The authorizers that count and deny, as items of `authorizers`. If all conditions of one were true, the API server
 * would query a webhook; a condition that is an error denies at once, with its text for the client, or with NoOpinion is
 * counted and changes no answer. Throws a Failure if the list is too long.
 */
export function formatAuthorizers(list: RevokedList, kubeconfig: string): string {
  const path = scalarText(kubeconfig)
  const counters = countersOf(list).map(({ name, counts, condition, certificates }) => {
    const [what, is] = counts === 'denied' ? ['a revoked certificate', 'is denied'] : ['an old certificate', 'is used']
    const comments = certificates.map(
      ({ fingerprint, end, user }) => `old: ${fingerprint} until ${end.toISOString()} user ${escaped(user)}`,
    )
    const counted = `${condition} ? request.extra['${what}'][0] == '${is}' : true`
    return formatWebhook({ name, failurePolicy: 'NoOpinion', path, comments }, counted, 'false')
  })
  // Under another name, so that our own reviews are not among the denied requests that an API server counts.
  const mark = { name: markName, failurePolicy: 'Deny', path, comments: [] } as const
  const marks = isOneOf([...usersOf(markOf(list)), countersMarkOf(list)])
  const { denied = [], replaced = [] } = Object.groupBy(countersOf(list).entries(), ([, { counts }]) => counts)
  const textsOf = (some: readonly [number, Counter][]) => some.flatMap(([i]) => counters[i] ?? [])
  // What is denied is asked no further: who is to be counted has to be counted before.
  return [...textsOf(denied), formatDenial(list, path), formatWebhook(mark, marks, refused), ...textsOf(replaced)].join(
    '\n',
  )
}

const refused = "request.extra['this certificate is revoked'][0] == 'revoked'"

/** `path`: as it stands in the file. */
function formatDenial(list: RevokedList, path: string): string {
  const { expression, comments } = denialOf(list)
  if (expression.length > longest)
    throw new Failure(
      `revoked is too long; its list has ${expression.length} characters, and API servers accept ${longest}`,
      { remedy: `remove entries whose certificates have expired; then ${runAgain}` },
    )
  return formatWebhook({ name: authorizerName, failurePolicy: 'Deny', path, comments }, expression, refused)
}

function formatWebhook(
  {
    name,
    failurePolicy,
    path,
    comments,
  }: {
    readonly name: string
    readonly failurePolicy: 'Deny' | 'NoOpinion'
    readonly path: string
    readonly comments: readonly string[]
  },
  ...conditions: readonly string[]
): string {
  return [
    '  - type: Webhook',
    `    name: ${name}`,
    '    webhook:',
    '      timeout: 3s',
    '      subjectAccessReviewVersion: v1',
    '      matchConditionSubjectAccessReviewVersion: v1',
    `      failurePolicy: ${failurePolicy}`,
    '      connectionInfo:',
    '        type: KubeConfigFile',
    `        kubeConfigFile: ${path}`,
    '      matchConditions:',
    ...comments.map((comment) => `        # ${comment}`),
    ...conditions.map((condition) => `        - expression: "${condition}"`),
  ].join('\n')
}

/** Strings of CEL, in an expression that has double quotes of YAML: both read `\\\\` as `\\`. */
const quoted = (values: readonly string[]) =>
  values.map((each) => `'${escaped(each).replaceAll('\\', '\\\\')}'`).join(', ')
const credentials = (certificates: readonly Pick<Shown, 'fingerprint'>[]) =>
  quoted(certificates.map(({ fingerprint }) => credentialPrefix + fingerprint))
const isOneOf = (users: readonly string[]) => `request.user in [${quoted(users)}]`
const showsOne = (condition: string) =>
  `has(request.extra) && '${credentialId}' in request.extra && request.extra['${credentialId}'].exists(id, ${condition})`
/** Without a credential-id there is no certificate. */
const showsAnother = (good: readonly Shown[]) =>
  showsOne(`id.startsWith('${credentialPrefix}') && !(id in [${credentials(good)}])`)

const formatShown = ({ fingerprint, keyId, user, end }: Shown) =>
  `certificate: ${fingerprint} key ${keyId} until ${end.toISOString()} user ${escaped(user)}`

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

const [sha256, time] = ['[0-9a-f]{64}', '[\\dT:.-]+Z'] as const

/**
 * The list that a file of ours has, of 0.4.0 too; undefined if it can't be read, or denies others than it names. What it
 * counts lets nobody in.
 */
export function readRevoked(text: string): RevokedList | undefined {
  const partsOf = (pattern: string) =>
    Array.from(text.matchAll(new RegExp(`^ {8}# ${pattern}$`, 'gm')), ([, ...parts]) => parts)
  const entries = partsOf(`revoked: (${plain})`).map(([entry = '']) => unescaped(entry))
  const certificates = partsOf(`certificate: (${sha256}) key (${sha256}) until (${time}) user (${plain})`).map(
    ([fingerprint = '', keyId = '', end = '', user = '']) => ({
      ...{ fingerprint, keyId },
      ...{ user: unescaped(user), end: new Date(end) },
    }),
  )
  const counted = partsOf(`old: (${sha256}) until (${time}) user (${plain})`).map(
    ([fingerprint = '', end = '', user = '']): Counted => ({ fingerprint, user: unescaped(user), end: new Date(end) }),
  )
  const [, path = ''] = /^ {8}kubeConfigFile: (.+)$/m.exec(text) ?? []
  // What is for a terminal is in no name of cluster.yaml.
  if ([...entries, ...certificates.map(({ user }) => user)].some((name) => /\p{Cc}/u.test(name))) return undefined
  if ([...certificates, ...counted].some(({ end }) => Number.isNaN(end.getTime()))) return undefined
  const list = { entries, certificates, ...(counted.length > 0 && { counted: counted.toSorted(byUser) }) }
  // One that is too long is loaded by no API server.
  const denial = tryTo(() => formatDenial(list, path))
  return denial !== undefined && text.includes(denial) ? list : undefined
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
  const [user = '', node] = usersOf(markOf(list))
  return [
    reviewOfVersion(user),
    { user: node, groups: ['system:nodes', everybody], resourceAttributes: { resource: 'services', verb: 'get' } },
  ]
}

const everybody = 'system:authenticated'
const reviewOfVersion = (user: string) => ({
  ...{ user, groups: [everybody] },
  nonResourceAttributes: { path: '/version', verb: 'get' },
})

/** What it denies once it has loaded all counters of the list. */
export function reviewOfCounters(list: RevokedList): object {
  return reviewOfVersion(countersMarkOf(list))
}
