/**
 * The stand-in's API server answers as the real one does, where harderway relies on it: KUBE_BIN_DIR may name a real
 * one.
 */
import assert from 'node:assert/strict'
import type { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import { formatAuthorization } from '../../lib/kubernetes/authorization.ts'
import { harderWay } from '../../tasks/layouts/harder-way.ts'
import { makeEverything } from '../support/certificates.ts'
import { and, oddNames, parsed, scratch, sha256 } from '../support/files.ts'
import { eventually, freePorts, needs, type Server, startServer } from '../support/programs.ts'
import { Authorization } from './component/authorization.ts'
import { parseFlags } from './component/flags.ts'
import { isSince, kubernetesVersion } from './machines/shared.ts'

const options = { skip: needs('etcd', 'openssl') }
const { KUBE_BIN_DIR } = process.env
const [program, ...before] = KUBE_BIN_DIR
  ? [join(KUBE_BIN_DIR, 'kube-apiserver')]
  : [process.execPath, join(import.meta.dirname, 'component/component.ts'), 'kube-apiserver']

const folder = scratch({ after: (work) => process.once('exit', work) })
const file = (name: string) => join(folder, name)
const paths = { config: file('authorization-config.yaml'), kubeconfig: file('revoked.kubeconfig') }
await makeEverything(
  new AuthDir(folder, harderWay.files),
  parsed(and('users: [{ name: jane }, { name: bob }]\ncertificates: { key: ecdsa-p256 }')),
  new Date(),
)
writeFileSync(
  file('encryption.yaml'),
  `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources: [{ resources: [secrets], providers: [{ identity: {} }] }]
`,
)
writeFileSync(
  paths.kubeconfig,
  `apiVersion: v1
kind: Config
clusters: [{ name: none, cluster: { server: "https://127.0.0.1:1" } }]
contexts: [{ name: none, context: { cluster: none, user: none } }]
current-context: none
`,
)

const configuration = (users: readonly string[] = [], kubeconfig = paths.kubeconfig) =>
  formatAuthorization(users, kubeconfig)

/** As it is to be done: by a rename. */
function put(text: string): void {
  writeFileSync(`${paths.config}.new`, text)
  renameSync(`${paths.config}.new`, paths.config)
}

interface Answered {
  readonly status: number | undefined
  readonly text: string
}

const [etcdPort, peerPort] = await freePorts(2)
const etcdUrl = `http://127.0.0.1:${etcdPort}`
const etcdArgs = [
  ...[`--data-dir=${file('etcd')}`, `--listen-peer-urls=http://127.0.0.1:${peerPort}`],
  ...[`--listen-client-urls=${etcdUrl}`, `--advertise-client-urls=${etcdUrl}`],
]
/** One for all tests, from the first that has an API server. */
let etcd: Promise<Server> | undefined
after(async () => (await etcd)?.stop())

async function startApi(t: TestContext, ...more: readonly string[]) {
  etcd ??= startServer('etcd', etcdArgs, /"ready to serve client requests"/)
  await etcd
  const [port] = await freePorts(1)
  const [cert, key] = [file('kubernetes.pem'), file('kubernetes-key.pem')]
  const [accounts, accountsKey] = [file('service-account.pem'), file('service-account-key.pem')]
  const server = await startServer(
    program,
    [
      ...[...before, '--bind-address=127.0.0.1', '--advertise-address=192.0.2.1', `--secure-port=${port}`],
      ...['--endpoint-reconciler-type=none', '--service-cluster-ip-range=10.32.0.0/24'],
      ...[`--encryption-provider-config=${file('encryption.yaml')}`, `--etcd-servers=${etcdUrl}`],
      ...[`--client-ca-file=${file('ca.pem')}`, `--kubelet-certificate-authority=${file('ca.pem')}`],
      ...[`--tls-cert-file=${cert}`, `--tls-private-key-file=${key}`],
      ...[`--kubelet-client-certificate=${cert}`, `--kubelet-client-key=${key}`],
      ...['--service-account-issuer=https://127.0.0.1', `--service-account-key-file=${accounts}`],
      ...[`--service-account-signing-key-file=${accountsKey}`, ...more],
    ],
    /Serving securely/,
  )
  t.after(() => server.stop())
  const api = (name: string, path: string, body?: object, headers: Readonly<Record<string, string | string[]>> = {}) =>
    new Promise<Answered>((resolve, reject) => {
      const pair = { cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}-key.pem`)) }
      const sent = {
        ...pair,
        ca: readFileSync(file('ca.pem')),
        method: body ? 'POST' : 'GET',
        agent: false,
        headers: { 'content-type': 'application/json', ...headers },
      }
      const asked = request(`https://127.0.0.1:${port}${path}`, sent, async (response) => {
        const chunks = await Array.fromAsync<Buffer>(response)
        resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() })
      })
      asked.on('error', reject)
      asked.end(body && JSON.stringify(body))
    })
  // The real one writes its roles first.
  await eventually(async () => assert.equal((await api('admin', '/readyz')).status, 200))
  return Object.assign(api, { port })
}

type Api = Awaited<ReturnType<typeof startApi>>

/** The value of a row of the metrics whose labels have these among them; 0 where there is none. */
async function metric(api: Api, name: string, label: string): Promise<number> {
  const { text } = await api('admin', '/metrics')
  const row = text.split('\n').find((line) => line.startsWith(`apiserver_${name}{`) && line.includes(label))
  return Number(row?.split(' ').at(-1) ?? 0)
}
async function review(api: Api, user: object): Promise<Record<string, unknown>> {
  const spec = 'resourceAttributes' in user ? user : { nonResourceAttributes: { path: '/', verb: 'get' }, ...user }
  const { status, text } = await api('admin', '/apis/authorization.k8s.io/v1/subjectaccessreviews', { spec })
  assert.equal(status, 201, text)
  return JSON.parse(text).status
}

const listing = `--authorization-config=${paths.config}`
const evaluationError =
  "cel evaluation error: expression 'request.extra['this user is revoked'][0] == 'revoked'' resulted in error: " +
  'no such key: this user is revoked'

const ownName = 'apiserver-loopback-client'
async function ownCertificate({ port }: Api): Promise<X509Certificate> {
  const socket = connect({ host: '127.0.0.1', port: Number(port), servername: ownName, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const own = socket.getPeerX509Certificate() ?? assert.fail()
  socket.destroy()
  return own
}

test(
  'an API server tells its version, has the digest of what encrypts in its metrics, and a certificate of its own',
  options,
  async (t) => {
    const api = await startApi(t, '--authorization-mode=Node,RBAC')
    const { gitVersion } = JSON.parse((await api('admin', '/version')).text)
    assert.ok(gitVersion.startsWith(`v${kubernetesVersion}.`), gitVersion)
    const hash = `hash="sha256:${sha256(readFileSync(file('encryption.yaml')))}"`
    assert.equal(await metric(api, 'encryption_config_controller_last_config_info', hash), isSince('1.34') ? 1 : 0)
    const own = await ownCertificate(api)
    assert.match(own.subject, /^CN=apiserver-loopback-client@\d+$/)
    assert.equal(own.subjectAltName, `DNS:${ownName}`)
    const days = (own.validToDate.getTime() - own.validFromDate.getTime()) / 86_400_000
    assert.equal(Math.floor(days), isSince('1.33') ? 3 * 365 + 1 : 365)
  },
)

test('an API server does not start with a configuration that the real one refuses', () => {
  const start = () => new Authorization(parseFlags('kube-apiserver', [`--authorization-config=${paths.config}`]))
  for (const [text, why] of [
    [configuration([], file('missing')), /error loading file/],
    [configuration().replace("['this user is revoked'][0]", ''), /compilation failed/],
    [configuration().replace('timeout', 'timeouts'), /timeout: Invalid/],
  ] as const) {
    put(text)
    assert.throws(start, why, text)
  }
})

test('who is listed is denied on every path, and nobody else; system:masters never is', options, async (t) => {
  put(configuration(['jane', 'admin', ...oddNames]))
  const api = await startApi(t, listing)
  for (const path of ['/healthz', '/version', '/api/v1/nodes?limit=1'])
    assert.deepEqual(await api('jane', path), {
      status: 500,
      text: `Internal Server Error: "${path}": ${evaluationError}\n`,
    })
  for (const name of ['bob', 'kube-controller-manager', 'admin'])
    assert.equal((await api(name, '/healthz')).status, 200, name)
  assert.deepEqual(await review(api, { user: 'jane' }), { allowed: false, denied: true, evaluationError })
  for (const user of oddNames) assert.equal((await review(api, { user })).denied, true, user)
  for (const user of ['bob', ...oddNames.map((name) => `${name}x`)])
    assert.deepEqual(await review(api, { user }), { allowed: false })
  assert.deepEqual(await review(api, { user: 'jane', groups: ['system:masters'] }), { allowed: true })
  const path = '/apis/authorization.k8s.io/v1/subjectaccessreviews'
  const spec = { user: 'bob', nonResourceAttributes: { path: '/', verb: 'get' } }
  assert.equal((await api('bob', path, { spec })).status, 403)
  assert.equal((await api('admin', path, { spec: { user: 'bob' } })).status, 422)
})

test('the list is reloaded when it changes, and kept where the file cannot be used', options, async (t) => {
  put(configuration([]))
  const api = await startApi(t, listing)
  const statuses = () => Promise.all(['jane', 'bob'].map(async (name) => (await api(name, '/healthz')).status))
  assert.deepEqual(await statuses(), [200, 200])
  put(configuration(['jane']))
  await eventually(async () => assert.deepEqual(await statuses(), [500, 200]))
  put(configuration(['bob']).replace('failurePolicy', 'no-such'))
  put(configuration(['bob'], file('missing')))
  for (let i = 0; i < 20; i++) assert.deepEqual(await statuses(), [500, 200])
  put(configuration(['bob']))
  await eventually(async () => assert.deepEqual(await statuses(), [200, 500]))
})
