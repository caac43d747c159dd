/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text, and the list
 * read back from it.
 *
 * A name is denied with every certificate. A key can't be denied by its fingerprints: whoever has it can write its certificate in other
 * bytes, which have another SHA-256 and are accepted all the same. So its users are pinned: an API server accepts only the certificates
 * that it knows of them, over other keys.
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
export const plain = '[\\w.:@-]+'

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
