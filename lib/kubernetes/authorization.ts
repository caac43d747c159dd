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
import { isKeyEntry } from '../cluster/problem.ts'
import { Failure, runAgain, tryTo } from '../failure.ts'
import { parseYaml } from '../yaml.ts'
import { escaped, isOneOf, plain, showsAnother, unescaped } from './conditions.ts'
import { type Counter, countersOf } from './counters.ts'
import { scalarText } from './kubeconfig.ts'
import {
  byUser,
  type Counted,
  goodOf,
  kindOf,
  pinnedBy,
  type RevokedList,
  type Shown,
  type UserKind,
  usersOf,
} from './revoked-list.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** Of the authorizer, in the API server's metrics too. */
export const authorizerName = 'revoked'
/** Of the one that tells which list is in force. */
export const markName = 'revoked-list'

const digest = (value: unknown) => hash('sha256', JSON.stringify(value))

/** The name of a user that does not exist: an API server that denies this user enforces exactly this list. */
const markOf = ({ entries, certificates }: RevokedList) => `revoked:${digest([entries, certificates.map(formatShown)])}`

/** The same for the counters: an API server that denies this user has loaded all of them. */
const countersMarkOf = (list: RevokedList) => `counted:${digest(countersOf(list).map(({ name }) => name))}`

/** Code points that an expression may have: the parser's default, of cel-go. */
const longest = 100_000

/** Of the whole file, in characters; what counts is left out where the file has more. A look at a node reads 256 KiB. */
const largest = 200_000

/**
 * Whether an API server, or the next run, might not read the file of this list, which has room for certificates that a
 * run adds.
 */
export function isTooLong({ entries, certificates }: RevokedList): boolean {
  if (denialOf({ entries, certificates }).expression.length > 0.95 * longest) return true
  return formatAuthorization({ entries, certificates }, longPath).length > largest
}

/** As long as paths on nodes are. */
const longPath = '/'.repeat(100)

/**
 * The list with the replaced certificates that its file has room for: those of nodes are left out first, then those of
 * people; and of either, those that are not in `before` first, a list that was there. So two auth/, each of which
 * would fill the file, come to one list.
 */
export function withCounted(
  { counted: _, ...list }: RevokedList,
  certificates: readonly Counted[],
  before: readonly Counted[] = [],
): RevokedList {
  const all = certificates.toSorted(byUser)
  const known = new Set(before.map(({ fingerprint }) => fingerprint))
  for (const added of [3, 2, 1, 0])
    for (const stays of [3, 2, 1].filter((each) => each >= added)) {
      const isKept = (each: Counted) => ranks[kindOf(each.user)] <= (known.has(each.fingerprint) ? stays : added)
      const counted = all.filter(isKept)
      const kept = counted.length > 0 ? { ...list, counted } : list
      if (formatAuthorization(kept, longPath).length <= largest) return kept
    }
  return list
}

/** The greatest is left out first. */
const ranks: Readonly<Record<UserKind, number>> = { component: 1, user: 2, node: 3 }

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
  const counters = countersOf(list)
  const textsOf = (counts: Counter['counts']) =>
    counters.flatMap((each) => (each.counts === counts ? formatCounter(each, path) : []))
  // Under another name, so that our own reviews are not among the denied requests that an API server counts.
  const mark = { name: markName, failurePolicy: 'Deny', path, comments: [] } as const
  const marks = isOneOf([...usersOf(markOf(list)), countersMarkOf(list)])
  // No authorizer behind the one that denies a request is asked.
  return [
    ...textsOf('denied'),
    formatDenial(list, path),
    formatWebhook(mark, marks, refused),
    ...textsOf('replaced'),
  ].join('\n')
}

function formatCounter({ name, counts, condition, certificates }: Counter, path: string): string {
  const [what, is] = counts === 'denied' ? ['a revoked certificate', 'is denied'] : ['an old certificate', 'is used']
  const comments = certificates.map(
    ({ fingerprint, end, user }) => `old: ${fingerprint} until ${end.toISOString()} user ${escaped(user)}`,
  )
  const counted = `${condition} ? request.extra['${what}'][0] == '${is}' : true`
  return formatWebhook({ name, failurePolicy: 'NoOpinion', path, comments }, counted, 'false')
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
export function isForeignAuthorization(text: string): boolean {
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
