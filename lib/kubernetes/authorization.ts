/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text, and the list
 * read back from it. Pure.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */

import { type Failure, refusal } from '../failure.ts'
import { formatNames } from '../wording.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** Of the authorizer, in the API server's metrics too. */
const authorizerName = 'revoked'

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
const usersOf = (name: string): string[] => [name, nodeUser(name)]

/**
 * The authorizer that denies them, as an item of `authorizers`: all conditions that are true would have it ask a server, and one that is
 * an error denies at once. So the second condition is an error, whose text a denied client reads; the first has the list.
 */
export function formatAuthorizer(revoked: readonly string[], kubeconfig: string): string {
  const users = revoked.flatMap(usersOf).map((user) => `'${user}'`)
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
    `        - expression: "request.user in [${users.join(', ')}]"`,
    `        - expression: "request.extra['this certificate is revoked'][0] == 'revoked'"`,
  ].join('\n')
}

/** `kubeconfig`: the absolute path of the one below. In block style: a file that begins with { is read as JSON. */
export function formatAuthorization(revoked: readonly string[], kubeconfig: string): string {
  return [
    header,
    'apiVersion: apiserver.config.k8s.io/v1',
    'kind: AuthorizationConfiguration',
    'authorizers:',
    formatAuthorizer(revoked, kubeconfig),
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
export function readRevoked(text: string): string[] | undefined {
  const [, list] = /^ {8}- expression: "request\.user in \[([^\]"]*)\]"$/m.exec(text) ?? []
  const users = new Set(list?.split(', ').flatMap((each) => /^'(.+)'$/.exec(each)?.[1] ?? []))
  return list === undefined ? undefined : [...users].filter((user) => users.has(nodeUser(user)))
}

/** Why a list with less than the file has is refused. `again`: the command that lets in all the same. */
export function letInAgain(removed: readonly string[], file: string, again: string): Failure {
  return refusal(`${formatNames(removed)} would be let in again: ${file} lists more than revoked in cluster.yaml`, [
    `keep it: add ${removed.join(', ')} to revoked`,
    `or let in again what is not listed, with every certificate that is still valid: ${again}`,
  ])
}

/** A configuration that somebody else has written. Ours may be cut off. */
export function isOwnAuthorization(text: string): boolean {
  return !text.startsWith(header) && text.includes('AuthorizationConfiguration')
}

/** What an API server is asked, of which it denies each while the entry is in force: specs of a SubjectAccessReview. */
export function reviewsOf(entry: string): object[] {
  return usersOf(entry).map((user) => ({ user, nonResourceAttributes: { path: '/', verb: 'get' } }))
}
