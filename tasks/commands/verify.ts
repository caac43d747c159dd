/** `verify`: every handshake of the cluster is tried between the files in auth/, in memory. */
import { createPublicKey } from 'node:crypto'
import { addressBytes } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { providers } from '../../lib/cluster/schema.ts'
import { Failure } from '../../lib/failure.ts'
import { type AuthDir, caName, type FileNames, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase, type Run, type Target } from '../../lib/graph/target.ts'
import { nodeUser } from '../../lib/kubernetes/authorization.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import { type Identity, type Party, shakeHands } from '../../lib/pki/handshake.ts'
import { readIssuer, readPair, tryCertificate } from '../../lib/pki/pair.ts'
import { generatePrivateKey, issueCertificate, privateKeyPem } from '../../lib/pki/x509.ts'
import { asFindings, type CheckResult, formatReasons, type Reason } from '../../lib/reason.ts'
import { day, formatNames, joinClauses } from '../../lib/wording.ts'
import type { EtcdNames } from '../layouts/layout.ts'
import { frontProxy } from '../layouts/shared.ts'
import { anyones, certTable, encryptionConfig, layoutOf } from '../layouts/tables.ts'
import { readAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import { readLocalPair } from '../request/inventory.ts'
import type { ExitCause } from '../request/job.ts'
import { checkTarget, observe, showObservation } from '../request/observe.ts'
import { selectNodes } from '../request/selection.ts'

/** Throws a usage Failure for a node without connections. */
export async function verify(given: CommandRun): Promise<readonly ExitCause[]> {
  const { from } = given.options
  if (from !== undefined) return (await import('./verify-backup.ts')).verifyBackup(given, from)
  const graph = buildGraph(selectNodes(given, connectionTargets(given.cluster)))
  return readAuth(given, graph, async (run) => {
    const seen = await observe(run, graph, { phases: byPhase(connectionKinds, graph) })
    const isAllRight = [...seen.rows.values()].every(({ kind }) => kind === 'fresh' || kind === 'cancelled')
    const text = `${run.command('status')}: what is wrong with a file, and what repairs it`
    return () => showObservation(run, seen, { findings: asFindings([!isAllRight && text], { owner: 'afterwards' }) })
  })
}

/** The part of a target's id before the slash, in display order. */
const connectionKinds = [
  { name: 'etcd', title: 'Clients to etcd' },
  { name: 'kubelets', title: 'API server to kubelets' },
  { name: 'names', title: 'Names of kubelets' },
  { name: 'clients', title: 'Clients to API server' },
  { name: 'front-proxy', title: 'Who may set X-Remote-User' },
  { name: 'keys', title: 'Tokens and Secrets' },
  { name: 'strangers', title: 'Clients that must be refused' },
]

function connectionTargets(cluster: Cluster): Target[] {
  const rows = handshakeTable(cluster)
  return [
    ...rows.map((row) => checkTarget(row.id, (run) => checkConnection(run, row), { node: row.node })),
    ...(cluster.localKubeconfig ? [checkTarget('clients/local-kubeconfig', checkLocal)] : []),
    checkTarget('names/kubelets', checkKubeletNames),
    checkTarget('keys/service-account-token', checkTokens),
    checkTarget('keys/encryption', checkEncryption),
  ]
}

async function checkConnection(run: Run, row: HandshakeRow): Promise<CheckResult> {
  const { client, server, ca = caName, trusts = ca, dialled, strict = false, expected, tolerated = [], notice } = row
  const { auth } = run
  const missing = missingFiles(auth, [auth.files.certificate(ca), ...filesOf(auth.files, row)])
  if (missing.length > 0) return { reasons: missing }
  for (const name of [server, ...(typeof client === 'object' ? [client.name] : [])]) refuseBrokenPair(auth, name)
  const parties = { server: partyOf(auth, server, ca), client: await clientOf(run, client, trusts) }
  const isRefusal = expected === 'refused'
  const right = isRefusal ? ['refused'] : [expected, ...tolerated].map(formatSeen)
  let note = right[0]
  for (const name of dialled) {
    const met = await shakeHands({ ...parties, dialled: name, strict })
    if (isRefusal && 'refused' in met) continue
    const found = 'refused' in met ? `refused: ${met.refused}` : formatSeen(met.seen)
    if (!right.includes(found)) {
      const why = 'seen' in met && met.why ? ` (${met.why})` : ''
      throw new Failure(`dialled as ${name}: ${found}${why}, where it had to be ${right[0]}`)
    }
    note = found
  }
  const isMeant = expected === undefined || isRefusal
  return { reasons: [], note: joinClauses(`${note}${isMeant ? ', as it must be' : ''}`, notice) }
}

function refuseBrokenPair(auth: AuthDir, name: string): void {
  const broken = readPair(auth, name).reasons.filter(({ kind }) => kind !== 'wrong-mode')
  if (broken.length > 0) throw new Failure(formatReasons(broken))
}

function formatSeen(seen: Identity | undefined): string {
  return seen ? `seen as ${seen.user} of ${seen.groups.join(', ') || 'no group'}` : 'seen as nobody'
}

function filesOf({ pair }: FileNames, { client, server, ca = caName }: HandshakeRow): string[] {
  if (client === 'nobody') return pair(server)
  if (typeof client === 'string') return [...pair(server), ...pair(ca)]
  return [...pair(server), ...pair(client.name), ...(client.in === 'files' ? [] : [kubeconfigFile(client.name)])]
}

function missingFiles(auth: AuthDir, names: readonly string[]): Reason[] {
  return [...new Set([auth.files.certificate(caName), ...names])]
    .filter((name) => !auth.tryBytes(name))
    .map((path) => ({ kind: 'missing', path }))
}

function partyOf(auth: AuthDir, name: string, trusted: string = caName): Party {
  const ca = auth.bytes(auth.files.certificate(trusted))
  return { ca, certificate: auth.bytes(auth.files.certificate(name)), key: auth.bytes(auth.files.key(name)) }
}

async function clientOf(run: Run, client: HandshakeRow['client'], ca: string): Promise<Party | undefined> {
  const { auth } = run
  if (client === 'nobody') return undefined
  if (typeof client === 'string') return stranger(run, client, ca)
  const pair = partyOf(auth, client.name, ca)
  if (client.in === 'files') return pair
  const file = kubeconfigFile(client.name)
  const embedded = readEmbedded(auth.bytes(file).toString())
  const isSame = (['certificate', 'key'] as const).every((part) => embedded?.[part].equals(Buffer.from(pair[part])))
  if (embedded && isSame) return embedded
  throw new Failure(`${file} does not hold the pair of ${auth.files.certificate(client.name)}`, {
    remedy: run.command('kubeconfigs'),
  })
}

/** The user's own kubeconfig is shown and may cause a warning, but not a failure: it is not in auth/. */
async function checkLocal({ auth, cluster, kubeconfigs, command }: Run): Promise<CheckResult> {
  const { api } = auth.files.names
  const missing = missingFiles(auth, auth.files.pair(api))
  if (missing.length > 0) return { reasons: missing }
  const client = readLocalPair({ cluster, kubeconfigs })
  if (!client) return { reasons: [], note: 'not in your kubeconfig' }
  refuseBrokenPair(auth, api)
  const met = await shakeHands({ server: partyOf(auth, api), client, dialled: cluster.api.host, strict: false })
  if ('seen' in met && met.seen) return { reasons: [], note: formatSeen(met.seen) }
  const why = 'refused' in met ? met.refused : met.why
  const text = `your kubeconfig's user is not accepted (${why})`
  return { reasons: [], note: 'not accepted', findings: [{ owner: 'run', text, remedy: command('local-kubeconfig') }] }
}

/** An admin made in memory: signed by another CA of the same name, or by ours but expired yesterday. */
async function stranger({ auth, now, cluster }: Run, kind: 'of another CA' | 'expired', ca: string): Promise<Party> {
  const admin = certTable(cluster).find(({ name }) => name === auth.files.names.admin)?.profile
  if (!admin) throw new Error('the table has no admin')
  const [key, otherCaKey] = await Promise.all([generatePrivateKey('ecdsa-p256'), generatePrivateKey('ecdsa-p256')])
  const ours = readIssuer(auth, ca)
  const issuer = kind === 'expired' ? ours : { ...ours, privateKey: otherCaKey }
  const notBefore = new Date(now.getTime() - 2 * day)
  const notAfter = new Date(now.getTime() + (kind === 'expired' ? -day : day))
  const profile = { ...admin, key: 'ecdsa-p256' as const }
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), notBefore, notAfter }, issuer)
  return { ca: auth.bytes(auth.files.certificate(ca)), certificate, key: privateKeyPem(key) }
}

/** Of the certificate that a kubelet serves; an API server may refuse one that is of no such user: https://kep.k8s.io/4872 */
function checkKubeletNames({ auth, cluster }: Run): CheckResult {
  const names = cluster.nodes.flatMap((node) => (layoutOf(cluster).nodeCert(node) ? [node.name] : []))
  const missing = missingFiles(
    auth,
    names.map((name) => auth.files.certificate(name)),
  )
  if (missing.length > 0) return { reasons: missing }
  const others = names.filter((name) => !tryCertificate(auth, name)?.attributes.includes(`CN=${nodeUser(name)}`))
  if (others.length > 0) throw new Failure(`the certificate of ${formatNames(others)} is not of CN system:node:<name>`)
  return { reasons: [], note: 'each serves as system:node:<name>, which an API server may ask for (KEP-4872)' }
}

/** kube-controller-manager signs tokens with the key, and kube-apiserver verifies them with the certificate. */
function checkTokens({ auth }: Run): CheckResult {
  const { tokens } = auth.files.names
  const [certificateName, keyName] = auth.files.pair(tokens)
  const missing = missingFiles(auth, [certificateName, keyName])
  if (missing.length > 0) return { reasons: missing }
  refuseBrokenPair(auth, tokens)
  const refusals = tryCertificate(auth, tokens)?.refusals ?? []
  if (refusals.length > 0) throw new Failure(`${certificateName}: ${formatReasons(refusals)}`)
  return { reasons: [], note: `a token that ${keyName} signs verifies with ${certificateName}` }
}

function checkEncryption({ auth }: Run): CheckResult {
  const { file: name } = encryptionConfig
  const file = auth.tryBytes(name)
  if (!file) return { reasons: [{ kind: 'missing', path: name }] }
  const config = readEncryptionConfig(file)
  // The first provider encrypts: keys of those after it, as after identity, are for reading alone.
  if (!config || !providers.some((keyed) => keyed === config.provider))
    throw new Failure(`${name} is not a valid EncryptionConfiguration, or its first provider has no key`)
  return { reasons: [], note: `a valid EncryptionConfiguration; encrypts with its ${config.provider} key` }
}

interface HandshakeRow {
  readonly id: string
  readonly node?: string | undefined
  /** By its file name; `in`: whether its own files or its kubeconfig are used. */
  readonly client:
    | { readonly name: string; readonly in: 'files' | 'kubeconfig' }
    | 'nobody'
    | 'of another CA'
    | 'expired'
  readonly server: string
  /** The CA that the server asks its clients for, and that they trust: by default that of the cluster. */
  readonly ca?: string | undefined
  /** The CA that the client trusts, where it is another. */
  readonly trusts?: string | undefined
  /** Every name and address that is dialled. */
  readonly dialled: readonly string[]
  /** etcd refuses unknown clients; the others treat them as anonymous. */
  readonly strict?: boolean
  /** Undefined: the client is anonymous. */
  readonly expected: Identity | 'refused' | undefined
  /** Others that are as good. */
  readonly tolerated?: readonly Identity[]
  /** What is to be known of it, though it is right. */
  readonly notice?: string
}

function handshakeTable(cluster: Cluster): HandshakeRow[] {
  const { nodes, api: endpoint, network } = cluster
  const layout = layoutOf(cluster)
  const { api, admin } = layout.files.names
  const { etcd: names } = layout
  const isShared = names?.ca === caName
  const etcd = { server: names?.server ?? '', ca: names?.ca, strict: true }
  const kubelets = nodes.filter((node) => layout.nodeCert(node))
  const members = nodes.filter(({ role }) => role === 'control').flatMap(({ ips }) => ips)
  const apiServer: HandshakeRow['client'] = { name: api, in: 'files' }
  const identities = new Map(certTable(cluster).map(({ name, profile }) => [name, identityIn(profile.subject)]))
  const sans = new Map(certTable(cluster).map(({ name, profile }) => [name, profile.sans]))
  const seenApi = identities.get(api)
  const strangers = (id: string, to: Pick<HandshakeRow, 'server' | 'ca' | 'strict' | 'dialled'>): HandshakeRow[] =>
    (['nobody', 'of another CA', 'expired'] as const).map((client) => ({
      ...to,
      id: `strangers/${id}-${client.replaceAll(' ', '-').toLowerCase()}`,
      client,
      expected: to.strict ? 'refused' : undefined,
    }))
  const [kubelet] = kubelets
  const { virtualIP } = endpoint
  const outside = virtualIP
    ? [...(addressBytes(endpoint.host) ? [] : [`${endpoint.host}.${cluster.domain}`]), virtualIP]
    : []
  const toEtcd = ({ server, client }: EtcdNames): HandshakeRow[] => [
    { ...etcd, ...clientOfEtcd(server), id: 'etcd/peers', dialled: members },
    { ...etcd, ...clientOfEtcd(client), id: 'etcd/api-server', dialled: ['127.0.0.1', ...members] },
  ]
  const clientOfEtcd = (name: string) => ({ client: { name, in: 'files' } as const, expected: identities.get(name) })
  const clients = certTable(cluster).filter(({ isClient }) => isClient)
  const notice = 'etcd asks for any certificate of this CA: with it all of etcd is read and written'
  const others = [
    ...anyones(cluster),
    { kind: 'admin', name: admin },
    ...(isShared ? [] : [{ kind: 'api-server-itself', name: api }]),
  ].map(({ kind, name }): HandshakeRow => {
    const row = { ...etcd, ...clientOfEtcd(name), id: `etcd/${kind}`, dialled: members.slice(0, 1) }
    return isShared ? { ...row, notice } : { ...row, expected: 'refused' }
  })
  const proxied = [frontProxy.client, ...anyones(cluster).map(({ name }) => name), admin, api].map(
    (name, i): HandshakeRow => ({
      ...{ id: `front-proxy/${name}`, client: { name, in: 'files' }, server: api, dialled: [endpoint.host] },
      ...{ ca: frontProxy.ca, trusts: caName, strict: true },
      expected: i === 0 ? identities.get(name) : 'refused',
      ...(i === 0 && { notice: 'it speaks for any user and group' }),
    }),
  )
  return [
    ...(names ? [...toEtcd(names), ...others] : []),
    ...kubelets.map(
      ({ name, ips }): HandshakeRow => ({
        id: `kubelets/${name}`,
        node: name,
        client: apiServer,
        server: name,
        dialled: [name, ...ips].filter((each) => sans.get(name)?.includes(each)),
        expected: seenApi,
      }),
    ),
    ...clients.map(
      ({ name, node, phase, dials, profile }): HandshakeRow => ({
        id: `clients/${name}`,
        node,
        client: { name, in: 'kubeconfig' },
        server: api,
        // People connect through the load balancer too.
        dialled: [dials, ...(name === admin || phase === 'user-certs' ? outside : [])],
        expected: identities.get(name),
        tolerated: profile.tolerated?.map(identityIn) ?? [],
      }),
    ),
    ...(cluster.aggregation ? proxied : []),
    // A pod presents a token instead of a certificate.
    { id: 'clients/pods', client: 'nobody', server: api, dialled: layout.serviceSans(network), expected: undefined },
    ...(names ? strangers('etcd', { ...etcd, dialled: members.slice(0, 1) }) : []),
    ...strangers('api-server', { server: api, dialled: [endpoint.host] }),
    ...(kubelet ? strangers('kubelet', { server: kubelet.name, dialled: [kubelet.name] }) : []),
    {
      id: 'strangers/name-not-in-sans',
      client: apiServer,
      server: api,
      dialled: ['elsewhere.invalid'],
      expected: 'refused',
    },
  ]
}

function identityIn({ CN, O }: Subject): Identity {
  return { user: CN, groups: [O ?? []].flat() }
}
