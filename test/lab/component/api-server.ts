/** kube-apiserver: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { Authorization } from './authorization.ts'
import { Etcd } from './etcd.ts'
import { type Flags, required } from './flags.ts'
import { readCertificates, type User } from './identity.ts'
import { publishClientCAs, publishIdentity } from './published.ts'
import { answerFor, apiVersion, findResource, parseBody, resources, StatusError } from './resources.ts'
import { readSealing } from './sealing.ts'
import { ServiceAccounts } from './service-accounts.ts'
import { type Answer, type Request, serve } from './serving.ts'
import { Store } from './store.ts'
import { log, watchFiles } from './watched.ts'

const port = 6443
const anonymous: User = { username: 'system:anonymous', groups: ['system:unauthenticated'] }

export async function startApiServer(flags: Flags): Promise<void> {
  const text = (name: string) => readFileSync(required(flags, name), 'utf8')
  const accounts = new ServiceAccounts(
    required(flags, 'service-account-issuer'),
    text('service-account-key-file'),
    text('service-account-signing-key-file'),
  )
  // Read at the start and used by none here, but the real one does not start without them.
  readCertificates(Buffer.from(text('kubelet-certificate-authority')))
  for (const name of ['kubelet-client-certificate', 'kubelet-client-key']) text(name)
  const encryption = text('encryption-provider-config')
  const etcd = new Etcd(flags)
  const store = new Store(etcd, readSealing(encryption))
  const authorization = new Authorization(flags)
  const api = { accounts, authorization, encryption, etcd, store, isEnding: false }
  const proxyCA = flags.get('requestheader-client-ca-file')
  const files = {
    cert: required(flags, 'tls-cert-file'),
    key: required(flags, 'tls-private-key-file'),
    clientCA: required(flags, 'client-ca-file'),
    proxyCA,
  }
  const server = serve(files, (request) =>
    answer(api, request).catch((error) => {
      if (error instanceof StatusError) return error.answer()
      log(`${request.method} ${request.url.pathname}: ${error}`)
      return new StatusError(500, 'InternalError', `Internal error occurred: ${error}`).answer()
    }),
  )
  process.once('SIGTERM', async () => {
    log('Shutting down: not ready any more')
    api.isEnding = true
    await wait(1000 * Number.parseInt(flags.get('shutdown-delay-duration') ?? '0', 10))
    server.close(() => process.exit(0))
    // What was asked is answered; a connection goes when it has nothing under way.
    setInterval(() => server.closeIdleConnections(), 20)
  })
  watchFiles([files.clientCA, proxyCA ?? []].flat(), (pems) => void publishClientCAs(store, pems))
  authorization.follow()
  publishIdentity(store)
  server.listen(port, flags.get('bind-address'), () => log(`Serving securely on port ${port}`))
}

interface Api {
  readonly accounts: ServiceAccounts
  readonly authorization: Authorization
  /** The text of the configuration. */
  readonly encryption: string
  readonly etcd: Etcd
  readonly store: Store
  isEnding: boolean
}

async function answer(api: Api, request: Request): Promise<Answer> {
  const { pathname: path } = request.url
  const asked = `${request.method} ${path}`
  const user = authenticate(api, request)
  const denial = api.authorization.denial(user)
  if (denial !== undefined) return { status: 500, body: `Internal Server Error: ${JSON.stringify(path)}: ${denial}\n` }
  if (['/livez', '/healthz', '/readyz'].includes(path)) return await health(api, path)
  if (path === '/version') return { status: 200, body: { major: '1', minor: '36', gitVersion: 'v1.36.0-stand-in' } }
  if (asked === 'POST /apis/authentication.k8s.io/v1/selfsubjectreviews')
    return { status: 201, body: { kind: 'SelfSubjectReview', status: { userInfo: user } } }
  const known = discovery(path) ?? (path === '/openid/v1/jwks' && api.accounts.jwks())
  if (known && user !== anonymous) return { status: 200, body: known }
  if (!mayAsk(user, request))
    throw new StatusError(403, 'Forbidden', `forbidden: User ${JSON.stringify(user.username)} cannot ${asked}`)
  if (path === '/metrics') return { status: 200, body: metrics(api) }
  if (asked === 'POST /apis/authorization.k8s.io/v1/subjectaccessreviews')
    return { status: 201, body: accessReview(api, request.body) }
  const [, namespace, account] = /^POST .*\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)\/token$/.exec(asked) ?? []
  if (namespace && account) return { status: 201, body: tokenRequest(api, namespace, account, request.body) }
  return await answerFor(api.store, findResource(path), request)
}

function authenticate(api: Api, { user, bearer }: Request): User {
  if (typeof user === 'object') return user
  const byToken = bearer === undefined ? undefined : api.accounts.userOf(bearer)
  if (byToken) return byToken
  // A credential that was given and is not known is no anonymous request.
  if (user !== 'unknown' && bearer === undefined) return anonymous
  throw new StatusError(401, 'Unauthorized', 'Unauthorized')
}

async function health({ etcd, isEnding }: Api, path: string): Promise<Answer> {
  const isReady = path !== '/readyz' || !isEnding
  const hasEtcd = await etcd.get('/registry/health').then(
    () => true,
    () => false,
  )
  return isReady && hasEtcd ? { status: 200, body: 'ok' } : { status: 500, body: `${path.slice(1)} check failed\n` }
}

function metrics({ accounts, encryption }: Api): string {
  const hash = createHash('sha256').update(encryption).digest('hex')
  return `serviceaccount_stale_tokens_total ${accounts.stale}
apiserver_encryption_config_controller_last_config_info{apiserver_id_hash="sha256:0",hash="sha256:${hash}"} 1
`
}

function mayAsk({ groups, username }: User, { method, url: { pathname } }: Request): boolean {
  if (groups.includes('system:masters')) return true
  if (username === 'system:kube-controller-manager' && pathname.includes('/configmaps')) return true
  const isComponent = groups.includes('system:nodes') || /^system:kube-/.test(username)
  return (
    isComponent && (/\/(nodes|leases)(\/|$)/.test(pathname) || (method === 'GET' && pathname.includes('/configmaps')))
  )
}

/** Who is denied, and that system:masters may do everything: of what RBAC says to others there is nothing here. */
function accessReview({ authorization }: Api, text: string): object {
  const { spec } = parseBody(text) as { spec?: { groups?: readonly string[]; user?: string } }
  const { user: username = '', groups = [] } = spec ?? {}
  const evaluationError = authorization.denial({ username, groups })
  const status = evaluationError
    ? { allowed: false, denied: true, evaluationError }
    : { allowed: groups.includes('system:masters') }
  return { kind: 'SubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', metadata: {}, spec, status }
}

function tokenRequest({ accounts }: Api, namespace: string, name: string, body: string): object {
  const { spec } = parseBody(body) as { spec?: { expirationSeconds?: number } }
  const { token, expires } = accounts.issue(namespace, name, spec?.expirationSeconds ?? 3607)
  const status = { token, expirationTimestamp: expires.toISOString() }
  return { kind: 'TokenRequest', apiVersion: 'authentication.k8s.io/v1', metadata: { name, namespace }, status }
}

/** What kubectl asks before anything else; only what is stored is named. */
function discovery(path: string): object | undefined {
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
  if (path === '/apis') return { kind: 'APIGroupList', apiVersion: 'v1', groups: [] }
  if (path !== '/api/v1') return undefined
  const verbs = ['create', 'delete', 'get', 'list', 'update']
  const list = resources
    .filter((each) => apiVersion(each) === 'v1')
    .map(({ name, kind, namespaced }) => ({ name, kind, namespaced, singularName: kind.toLowerCase(), verbs }))
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: 'v1', resources: list }
}
