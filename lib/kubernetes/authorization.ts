/**
 * The AuthorizationConfiguration by which an API server denies who is revoked, before Node and RBAC are asked: its text,
 * and the names read back from it.
 * https://kubernetes.io/docs/reference/access-authn-authz/authorization/#using-configuration-file-for-authorization
 */
import { hash } from 'node:crypto'
import { scalarText } from './kubeconfig.ts'

const header = '# Made by harderway from `revoked` in cluster.yaml: what is changed here is lost.'

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

export const usersOf = (name: string): string[] => [name, nodeUser(name)]

/** The name of a user that does not exist: an API server that denies this user enforces exactly this list. */
const markOf = (names: readonly string[]) => `revoked:${hash('sha256', JSON.stringify(names.toSorted()))}`

/**
 * If all conditions of the authorizer were true, the API server would query a webhook. The second condition is an error
 * instead, for whom the first one is true, and `failurePolicy: Deny` makes that a denial. `kubeconfig`: the absolute path of
 * the one below. In block style: a file that begins with { is read as JSON.
 */
export function formatAuthorization(names: readonly string[], kubeconfig: string): string {
  // Names have no character that would mean something in a comment, in YAML or in CEL: schema.ts.
  const users = [...names.toSorted().flatMap(usersOf), markOf(names)].map((user) => `'${user}'`)
  const isRevoked = `request.user in [${users.join(', ')}]`
  return [
    header,
    'apiVersion: apiserver.config.k8s.io/v1',
    'kind: AuthorizationConfiguration',
    'authorizers:',
    '  - type: Webhook',
    '    name: revoked',
    '    webhook:',
    '      timeout: 3s',
    '      subjectAccessReviewVersion: v1',
    '      matchConditionSubjectAccessReviewVersion: v1',
    '      failurePolicy: Deny',
    '      connectionInfo:',
    '        type: KubeConfigFile',
    `        kubeConfigFile: ${scalarText(kubeconfig)}`,
    '      matchConditions:',
    ...names.toSorted().map((name) => `        # revoked: ${name}`),
    `        - expression: "${isRevoked}"`,
    `        - expression: "request.extra['this user is revoked'][0] == 'revoked'"`,
    '  - type: Node',
    '    name: node',
    '  - type: RBAC',
    '    name: rbac',
    '',
  ].join('\n')
}

/** What a Webhook has to name. It is never dialled. */
export const webhookKubeconfig = `# Made by harderway, for the authorizer revoked in authorization-config.yaml, which asks nobody.
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

export interface RevokedList {
  readonly names: readonly string[]
  /** Fingerprints, `sha256:…`, of keys: only lists of harderway 0.4 and 0.5 have any. */
  readonly keys: readonly string[]
}

/** The list that a file of ours has, or one of harderway 0.4 and 0.5; undefined for any other file. */
export function readRevoked(text: string): RevokedList | undefined {
  if (!text.startsWith(header)) return undefined
  const entries = Array.from(text.matchAll(/^ {8}# revoked: (\S+)$/gm), ([, entry = '']) => entry)
  const { keys = [], names = [] } = Object.groupBy(entries, (each) => (each.startsWith('sha256:') ? 'keys' : 'names'))
  return { names, keys }
}

/** A configuration that somebody else has written. One of ours may be truncated. */
export function isForeignAuthorization(text: string): boolean {
  return !text.startsWith(header) && text.includes('AuthorizationConfiguration')
}

/** A SubjectAccessReview that is denied only by this list: RBAC allows everybody authenticated to read /version. */
export function reviewOf(names: readonly string[]): object {
  return {
    ...{ user: markOf(names), groups: ['system:authenticated'] },
    nonResourceAttributes: { path: '/version', verb: 'get' },
  }
}
