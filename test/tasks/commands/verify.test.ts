import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { openssl } from '../../support/certificates.ts'
import { scratch, stateOf } from '../../support/files.ts'
import { copyPlace, type Edit, exits, harderway, idsOf, madePlace, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const kubelets = ['control0', 'control1', 'worker0', 'worker1']
const nodes: Edit = [
  ['nodes'],
  [
    { name: 'control0', role: 'control', ip: '192.168.1.11' },
    { name: 'control1', role: 'control', ip: '192.168.1.12' },
    { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
    { name: 'worker1', role: 'worker', ip: '192.168.1.15' },
  ],
]
const components = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy']
const clients = [...components, ...kubelets].map((name) => `clients/${name}`)
const etcd = ['etcd/api-server', 'etcd/peers']
const strangers = (server: string) => ['nobody', 'of-another-ca', 'expired'].map((who) => `strangers/${server}-${who}`)

/** What the guide says of who talks to whom, and of who must not; and whom the other side has to see. */
const connections: Readonly<Record<string, RegExp>> = {
  ...Object.fromEntries(etcd.map((id) => [id, /^authenticated as kubernetes \(groups Kubernetes\)$/])),
  'etcd/admin': /^authenticated as admin \(groups system:masters\); etcd /,
  'etcd/worker': /^authenticated as system:node:worker0 \(groups system:nodes\); etcd /,
  ...Object.fromEntries(
    kubelets.map((name) => [`kubelets/${name}`, /^authenticated as kubernetes \(groups Kubernetes\)$/]),
  ),
  'clients/admin': /^authenticated as admin \(groups system:masters\)$/,
  'clients/kube-scheduler': /^authenticated as system:kube-scheduler \(groups system:kube-scheduler\)$/,
  'clients/kube-controller-manager':
    /^authenticated as system:kube-controller-manager \(groups system:kube-controller-manager\)$/,
  'clients/kube-proxy': /^authenticated as system:kube-proxy \(groups system:node-proxier\)$/,
  'clients/pods': /^anonymous, as without a certificate$/,
  ...Object.fromEntries(
    kubelets.map((name) => [
      `clients/${name}`,
      new RegExp(`^authenticated as system:node:${name} \\(groups system:nodes\\)$`),
    ]),
  ),
  ...Object.fromEntries(
    ['nobody', 'of-another-ca', 'expired'].flatMap((who) => [
      [`strangers/etcd-${who}`, /^rejected$/],
      [`strangers/api-server-${who}`, /^anonymous, as without a certificate$/],
      [`strangers/kubelet-${who}`, /^anonymous, as without a certificate$/],
    ]),
  ),
  'strangers/name-not-in-sans': /^rejected$/,
  'keys/service-account-token': /^service-account\.pem verifies tokens signed by service-account-key\.pem$/,
  'keys/encryption': /encrypts with its (aescbc|secretbox) key$/,
}

/**
 * One thing broken in one way, the connections that must be named, and what TLS has against it in at least one of them.
 */
const rows: Readonly<
  Record<string, readonly [spoil: (auth: string, elsewhere: string) => void, named: readonly string[], cause?: RegExp]>
> = {
  'a kubeconfig that trusts another CA': [
    (auth, elsewhere) => embed(auth, 'kube-scheduler', { ca: join(elsewhere, 'ca') }),
    ['clients/kube-scheduler'],
    /connecting to kube-apiserver: rejected \(/,
  ],
  'an API certificate without the name of the API': [
    (auth) => issue(auth, 'kubernetes', { without: 'DNS:kubernetes' }),
    [...clients, 'clients/pods', ...strangers('api-server')],
    /the server certificate has no SAN kubernetes/,
  ],
  'a client of another CA': [
    (auth, elsewhere) => {
      for (const file of ['admin.pem', 'admin-key.pem']) cpSync(join(elsewhere, file), join(auth, file))
      embed(auth, 'admin', { certificate: 'admin', key: 'admin' })
    },
    ['clients/admin', 'etcd/admin'],
    /anonymous.*(issuer|self.signed|signature|unable to)/,
  ],
  'an expired certificate of a kubelet, as a server and as a client': [
    (auth) => issue(auth, 'worker1', { expired: true, embedded: true }),
    ['clients/worker1', 'kubelets/worker1'],
    /expired/,
  ],
  'the service-account key of another pair': [
    (auth) => cpSync(join(auth, 'admin-key.pem'), join(auth, 'service-account-key.pem')),
    ['keys/service-account-token'],
  ],
  'an encryption config whose key is behind a provider that leaves Secrets as they are': [
    (auth) => replaceIn(auth, 'encryption-config.yaml', /providers:\n/, 'providers:\n  - identity: {}\n'),
    ['keys/encryption'],
  ],
}

test('verify names each kind of connection with the identity that the other side saw', async (t) => {
  const place = scratch(t)
  mkdirSync(join(place, 'home'))
  writeCluster(place, [nodes, [['certificates', 'key'], 'ecdsa-p384'], [['encryption', 'provider'], 'secretbox']])
  await exits(0, place, ...phases)
  const ran = await exits(0, place, 'verify', '--json')
  const { length } = Object.keys(connections)
  assert.deepEqual(idsOf(ran, 'fresh'), Object.keys(connections).toSorted())
  for (const { id, message } of ran.events.filter(({ type }) => type === 'fresh'))
    assert.match(String(message), connections[String(id)] ?? /^$/, String(id))
  const { type, targets, fresh, exit } = ran.events.at(-1) ?? {}
  assert.deepEqual([type, targets, fresh, exit], ['summary', length, length, 0])
})

describe('verify', { concurrency: 2 }, () => {
  const edits: readonly Edit[] = [nodes]
  const [origin, elsewhere] = [madePlace(edits, ...phases), madePlace(edits, 'certs')]
  const copied = (t: TestContext) => copyPlace(t, origin, edits)

  for (const [title, [spoil, named, cause = /./]] of Object.entries(rows))
    test(`${title} is named in its connections, and in no other`, { skip: needs('openssl') }, async (t) => {
      const { place, auth } = copied(t)
      spoil(auth, join(elsewhere, 'auth'))
      const ran = await exits(1, place, 'verify', '--json')
      assert.deepEqual(idsOf(ran, 'failed'), named.toSorted())
      const said = ran.events.flatMap(({ type, message }) => (type === 'failed' ? String(message) : []))
      assert.match(said.join('\n'), cause)
      assert.equal(idsOf(ran, 'fresh').length, Object.keys(connections).length - named.length)
    })

  test('nothing is written, touched or removed, and each node is judged by its own', async (t) => {
    const { place, auth } = copied(t)
    rmSync(join(auth, 'admin.kubeconfig'))
    writeFileSync(join(auth, 'worker1.kubeconfig'), '')
    const spoiled = stateOf(place)
    const ran = await harderway(place, 'verify', '--json')
    assert.deepEqual(
      [ran.status, idsOf(ran, 'stale'), idsOf(ran, 'failed')],
      [1, ['clients/admin'], ['clients/worker1']],
    )
    for (const [name, status] of [
      ['control1', 0],
      ['worker1', 1],
    ] as const) {
      const one = await harderway(place, 'verify', '--node', name, '--json')
      assert.equal(one.status, status, name)
      assert.deepEqual([...idsOf(one, 'fresh'), ...idsOf(one, 'failed')].toSorted(), [
        `clients/${name}`,
        `kubelets/${name}`,
      ])
    }
    await exits(2, place, 'verify', '--node', 'worker9')
    assert.deepEqual(stateOf(place), spoiled)
  })
})

function replaceIn(auth: string, name: string, from: RegExp, to: string): void {
  const text = readFileSync(join(auth, name), 'utf8')
  assert.match(text, from)
  writeFileSync(join(auth, name), text.replace(from, to))
}

/** Puts other files into a kubeconfig: names in auth/, or paths without .pem and -key.pem. */
function embed(auth: string, name: string, files: { ca?: string; certificate?: string; key?: string }): void {
  const data = { 'certificate-authority': files.ca, 'client-certificate': files.certificate, 'client-key': files.key }
  for (const [field, from] of Object.entries(data)) {
    if (from === undefined) continue
    const file = `${from.includes('/') ? from : join(auth, from)}${field === 'client-key' ? '-key.pem' : '.pem'}`
    const base64 = readFileSync(file, 'base64')
    replaceIn(auth, `${name}.kubeconfig`, new RegExp(`${field}-data: \\S+`), `${field}-data: ${base64}`)
  }
}

/** `without` one of its SANs, `expired` last year, `embedded` in its kubeconfig too. */
interface Issue {
  readonly without?: string
  readonly expired?: boolean
  readonly embedded?: boolean
}

/** Has openssl issue the certificate of a name under the CA in auth/, for the key that is there. */
function issue(auth: string, name: string, { without, expired, embedded }: Issue): void {
  const [file, key] = [join(auth, `${name}.pem`), join(auth, `${name}-key.pem`)]
  const { subjectAltName } = new X509Certificate(readFileSync(file))
  const sans = subjectAltName?.replaceAll('IP Address:', 'IP:').split(', ')
  if (without !== undefined) assert.ok(sans?.includes(without))
  const own = name === 'kubernetes' ? '/O=Kubernetes/CN=kubernetes' : `/O=system:nodes/CN=system:node:${name}`
  const extensions = [
    ...['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature'],
    'extendedKeyUsage=serverAuth,clientAuth',
    ...(sans ? [`subjectAltName=${sans.filter((san) => san !== without)}`] : []),
  ]
  const times = expired ? ['-not_before', '20200101000000Z', '-not_after', '20200102000000Z'] : ['-days', '300']
  const issuer = ['-CA', join(auth, 'ca.pem'), '-CAkey', join(auth, 'ca-key.pem')]
  const request = ['req', '-x509', '-new', '-key', key, '-subj', own, ...issuer, ...times, '-out', file]
  openssl(...request, ...extensions.flatMap((each) => ['-addext', each]))
  if (embedded) embed(auth, name, { certificate: name })
}
