/** kube-apiserver: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ */
import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { Authorization } from './authorization.ts'
import { publishClientCAs } from './client-cas.ts'
import { Encryption } from './encryption.ts'
import { Etcd } from './etcd.ts'
import { duration, type Flags, required } from './flags.ts'
import { readFrontProxy } from './front-proxy.ts'
import { readCertificates, type User } from './identity.ts'
import { publishIdentity } from './identity-lease.ts'
import { Loopback, loopbackName } from './loopback.ts'
import { answerFor, apiVersion, findResource, parseBody, resources } from './resources.ts'
import { ServiceAccounts } from './service-accounts.ts'
import { type Answer, type Request, serve } from './serving.ts'
import { StatusError } from './status.ts'
import { Store } from './store.ts'
import { version } from './version.ts'
import { log, watchFiles } from './watched.ts'

const defaultPort = 6443
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
  const shutdownDelay = duration(flags, 'shutdown-delay-duration')
  const etcd = new Etcd(flags)
  const encryption = new Encryption(required(flags, 'encryption-provider-config'))
  if (flags.get('encryption-provider-config-automatic-reload') === 'true') encryption.poll()
  const authorization = new Authorization(flags)
  const api = {
    accounts,
    authorization,
    etcd,
    store: new Store(etcd, encryption.sealing),
    encryption,
    loopback: new Loopback(),
    isEnding: false,
  }
  const files = {
    cert: required(flags, 'tls-cert-file'),
    key: required(flags, 'tls-private-key-file'),
    clientCA: required(flags, 'client-ca-file'),
    frontProxy: readFrontProxy(flags),
    own: { name: loopbackName, pem: api.loopback.pem },
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
    await wait(shutdownDelay)
    server.close(() => process.exit(0))
    // What was asked is answered; a connection goes when it has nothing under way.
    setInterval(() => server.closeIdleConnections(), 20)
  })
  const { clientCA, frontProxy } = files
  watchFiles([clientCA, ...(frontProxy ? [frontProxy.clientCA] : [])], (pems) => {
    void publishClientCAs(api.store, pems, frontProxy)
  })
  authorization.follow()
  publishIdentity(api.store)
  const port = Number(flags.get('secure-port') ?? defaultPort)
  server.listen(port, flags.get('bind-address'), () => log(`Serving securely on port ${port}`))
}

interface Api {
  readonly accounts: ServiceAccounts
  readonly authorization: Authorization
  readonly etcd: Etcd
  readonly store: Store
  readonly encryption: Encryption
  readonly loopback: Loopback
  isEnding: boolean
}

async function answer(api: Api, request: Request): Promise<Answer> {
  const { pathname: path } = request.url
  const user = authenticate(api, request)
  const denial = api.authorization.denial(user)
  if (denial !== undefined) return internalError(request, denial)
  if (['/livez', '/healthz', '/readyz'].includes(path)) return await health(api, path)
  if (path === '/version')
    return { status: 200, body: { major: '1', minor: version.slice(2), gitVersion: `v${version}.0-stand-in` } }
  if (!user.groups.includes('system:authenticated')) throw forbidden(user, request)
  refuseMedia(request)
  const known = discovery(path) ?? review(user, request) ?? (path === '/openid/v1/jwks' && api.accounts.jwks())
  if (known) return { status: request.method === 'POST' ? 201 : 200, body: known }
  if (!mayAsk(user, request)) throw forbidden(user, request)
  const [, namespace, account] = /^\/api\/v1\/namespaces\/([^/]+)\/serviceaccounts\/([^/]+)\/token$/.exec(path) ?? []
  if (namespace && account && request.method === 'POST')
    return { status: 201, body: tokenRequest(api, { namespace, account, body: request.body }) }
  if (path === '/metrics')
    return {
      status: 200,
      body: `serviceaccount_stale_tokens_total ${api.accounts.stale}\nserviceaccount_legacy_tokens_total 0\n${api.encryption.metrics()}`,
    }
  if (path === '/apis/authorization.k8s.io/v1/subjectaccessreviews' && request.method === 'POST')
    return { status: 201, body: accessReview(api, request.body) }
  const asked = findResource(path)
  if (asked === undefined) throw new StatusError(404, 'NotFound', 'the server could not find the requested resource')
  return await answerFor(api.store, asked, request)
}

/** It answers tokens' keys in a form of their own alone, and reads no HTML form, which is what curl sends. */
function refuseMedia({ accept, contentType, url: { pathname } }: Request): void {
  if (pathname === '/openid/v1/jwks' && !/application\/jwk-set\+json|\*\/\*/.test(accept))
    throw new StatusError(406, 'NotAcceptable', 'only application/jwk-set+json is served here')
  if (contentType === 'application/x-www-form-urlencoded')
    throw new StatusError(415, 'UnsupportedMediaType', 'the body of the request was in an unknown format')
}

function authenticate(api: Api, { user, bearer }: Request): User {
  if (typeof user === 'object') return user
  const byToken = bearer === undefined ? undefined : api.accounts.userOf(bearer)
  if (byToken) return byToken
  // A credential that was given and is not known is no anonymous request.
  if (user !== 'unknown' && bearer === undefined) return anonymous
  throw new StatusError(401, 'Unauthorized', 'Unauthorized')
}

async function health({ etcd, isEnding, loopback }: Api, path: string): Promise<Answer> {
  const checks: [string, boolean][] = [
    ['ping', true],
    ['etcd', await etcd.get('/registry/health').then(...isSettled)],
    ...(path === '/readyz' ? [['shutdown', !isEnding] as [string, boolean]] : []),
    ...loopback.checks(path),
  ]
  if (checks.every(([, isWell]) => isWell)) return { status: 200, body: 'ok' }
  const lines = checks.map(([name, isWell]) => (isWell ? `[+]${name} ok` : `[-]${name} failed: reason withheld`))
  return { status: 500, body: `${lines.join('\n')}\n${path.slice(1)} check failed\n` }
}

/** As text, whatever was asked for: apiserver, endpoints/handlers/responsewriters/errors.go. */
function internalError({ url }: Request, error: string): Answer {
  const text = `Internal Server Error: ${JSON.stringify(url.pathname + url.search)}: ${error}`
  return { status: 500, body: `${text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')}\n` }
}

const isSettled = [() => true, () => false] as const

function mayAsk({ groups, username }: User, { method, url: { pathname } }: Request): boolean {
  if (groups.includes('system:masters')) return true
  if (username === 'system:kube-controller-manager' && pathname.includes('/configmaps')) return true
  const isComponent = groups.includes('system:nodes') || /^system:kube-/.test(username)
  return (
    isComponent && (/\/(nodes|leases)(\/|$)/.test(pathname) || (method === 'GET' && pathname.includes('/configmaps')))
  )
}

function forbidden({ username }: User, { method, url }: Request): StatusError {
  const what = `User ${JSON.stringify(username)} cannot ${method.toLowerCase()} path ${JSON.stringify(url.pathname)}`
  return new StatusError(403, 'Forbidden', `forbidden: ${what}`)
}

function review({ username, groups }: User, { method, url }: Request): object | undefined {
  if (method !== 'POST' || url.pathname !== '/apis/authentication.k8s.io/v1/selfsubjectreviews') return undefined
  const userInfo = { username, groups }
  return { kind: 'SelfSubjectReview', apiVersion: 'authentication.k8s.io/v1', metadata: {}, status: { userInfo } }
}

/** Who is denied, and that system:masters may do everything: of what RBAC says to others there is nothing here. */
function accessReview({ authorization }: Api, text: string): object {
  const spec = (parseBody(text) as { spec?: AccessReviewSpec }).spec ?? {}
  const { user: username = '', groups = [], resourceAttributes, nonResourceAttributes } = spec
  if ((resourceAttributes === undefined) === (nonResourceAttributes === undefined))
    throw invalidReview(
      'spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified',
    )
  if (username === '' && groups.length === 0)
    throw invalidReview('spec.user: Invalid value: "": at least one of user or group must be specified')
  const evaluationError = authorization.denial({ username, groups })
  const status = evaluationError
    ? { allowed: false, denied: true, evaluationError }
    : { allowed: groups.includes('system:masters') }
  return { kind: 'SubjectAccessReview', apiVersion: 'authorization.k8s.io/v1', metadata: {}, spec, status }
}

const invalidReview = (why: string) => new StatusError(422, 'Invalid', `.authorization.k8s.io "" is invalid: ${why}`)

interface AccessReviewSpec {
  readonly groups?: readonly string[]
  readonly user?: string
  readonly resourceAttributes?: object
  readonly nonResourceAttributes?: object
}

function tokenRequest({ accounts }: Api, { namespace = '', account = '', body = '{}' }): object {
  const { expirationSeconds } = (parseBody(body || '{}') as TokenRequestBody).spec ?? {}
  const { token, expires } = accounts.issue(namespace, account, Number(expirationSeconds ?? 3607))
  const status = { token, expirationTimestamp: expires.toISOString() }
  return {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name: account, namespace },
    status,
  }
}

interface TokenRequestBody {
  readonly spec?: { readonly expirationSeconds?: number }
}

/** What kubectl asks before anything else; only what is stored is named. */
function discovery(path: string): object | undefined {
  const groups = ['authentication.k8s.io', 'authorization.k8s.io', 'coordination.k8s.io']
  if (path === '/api') return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] }
  if (path === '/apis') {
    const version = (name: string) => ({ groupVersion: `${name}/v1`, version: 'v1' })
    const list = groups.map((name) => ({ name, versions: [version(name)], preferredVersion: version(name) }))
    return { kind: 'APIGroupList', apiVersion: 'v1', groups: list }
  }
  const [, group] = /^\/apis\/([^/]+)\/v1$/.exec(path) ?? []
  if (path !== '/api/v1' && !groups.includes(group ?? '')) return undefined
  const groupVersion = group === undefined ? 'v1' : `${group}/v1`
  const verbs = ['create', 'delete', 'get', 'list', 'update']
  const own = resources.filter((each) => apiVersion(each) === groupVersion)
  const list = own.map(({ name, kind, namespaced }) => ({
    name,
    kind,
    namespaced,
    singularName: kind.toLowerCase(),
    verbs,
  }))
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: list }
}
