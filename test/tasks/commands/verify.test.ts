import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Edit, gateway, harderway, makePlace, type Ran, writeCluster } from '../../support/harderway.ts'
import { needs } from '../../support/parts.ts'
import { scratch } from '../../support/scratch.ts'
import { stateOf } from '../../support/state.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const controls = ['control0', 'control1', 'control2']
const kubelets = [...controls, 'worker0', 'worker1', 'worker2']
const components = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy']
const clients = [...components, ...kubelets].map((name) => `clients/${name}`)
const etcd = ['etcd/api-server', 'etcd/peers']
const strangers = (server: string) => ['nobody', 'of-another-ca', 'expired'].map((who) => `strangers/${server}-${who}`)

/** What the guide says of who talks to whom, and of who must not; and whom the other side has to see. */
const connections: Readonly<Record<string, RegExp>> = {
  ...Object.fromEntries(etcd.map((id) => [id, /^seen as kubernetes of Kubernetes$/])),
  ...Object.fromEntries(kubelets.map((name) => [`kubelets/${name}`, /^seen as kubernetes of Kubernetes$/])),
  'clients/admin': /^seen as admin of system:masters$/,
  'clients/kube-scheduler': /^seen as system:kube-scheduler of system:kube-scheduler$/,
  'clients/kube-controller-manager': /^seen as system:kube-controller-manager of system:kube-controller-manager$/,
  'clients/kube-proxy': /^seen as system:kube-proxy of system:node-proxier$/,
  'clients/pods': /^seen as nobody$/,
  'clients/local-kubeconfig': /^not in your kubeconfig$/,
  ...Object.fromEntries(
    kubelets.map((name) => [`clients/${name}`, new RegExp(`^seen as system:node:${name} of system:nodes$`)]),
  ),
  ...Object.fromEntries(
    ['nobody', 'of-another-ca', 'expired'].flatMap((who) => [
      [`strangers/etcd-${who}`, /^refused, as it must be$/],
      [`strangers/api-server-${who}`, /^seen as nobody$/],
      [`strangers/kubelet-${who}`, /^seen as nobody$/],
    ]),
  ),
  'strangers/name-not-in-sans': /^refused, as it must be$/,
  'keys/service-account-token': /^a token that service-account-key\.pem signs verifies with service-account\.pem$/,
  'keys/encryption': /encrypts with its (aescbc|aesgcm|secretbox) key$/,
}

/** One thing broken in one way: the connections that must be named, and what must be said of each. */
interface Row {
  readonly title: string
  readonly spoil: (auth: string, elsewhere: string) => void
  readonly named: readonly string[]
  readonly reason: RegExp
  /** What TLS itself has against it, in at least one of the connections. */
  readonly cause?: RegExp
  /** With each kind of key and provider; the others with one. */
  readonly everywhere?: boolean
}

const rows: readonly Row[] = [
  {
    title: 'a kubeconfig with another key than the .pem file',
    spoil: (auth) => embed(auth, 'worker0', { key: 'worker1' }),
    named: ['clients/worker0'],
    reason: /^worker0\.kubeconfig does not hold the pair of worker0\.pem$/,
    everywhere: true,
  },
  {
    title: 'a kubeconfig with the certificate of another client',
    spoil: (auth) => embed(auth, 'kube-proxy', { certificate: 'admin', key: 'admin' }),
    named: ['clients/kube-proxy'],
    reason: /^kube-proxy\.kubeconfig does not hold the pair of kube-proxy\.pem$/,
  },
  {
    title: 'a kubeconfig that trusts another CA',
    spoil: (auth, elsewhere) => embed(auth, 'kube-scheduler', { ca: join(elsewhere, 'ca') }),
    named: ['clients/kube-scheduler'],
    reason: /^dialled as kubernetes: refused: /,
  },
  {
    title: 'a kubeconfig that is none',
    spoil: (auth) => writeFileSync(join(auth, 'admin.kubeconfig'), 'clusters: ['),
    named: ['clients/admin'],
    reason: /^admin\.kubeconfig is not a kubeconfig/,
  },
  {
    title: 'an API certificate without the address of a control node',
    spoil: (auth) => issue(auth, 'kubernetes', { without: 'IP:192.168.1.12' }),
    named: etcd,
    reason: /^dialled as 192\.168\.1\.12: refused: 192\.168\.1\.12 is not in the server certificate's SANs/,
    everywhere: true,
  },
  {
    title: 'an API certificate without the name of the API',
    spoil: (auth) => issue(auth, 'kubernetes', { without: 'DNS:kubernetes' }),
    named: [...clients, 'clients/pods', ...strangers('api-server')],
    reason: /^dialled as kubernetes: refused: kubernetes is not in the server certificate's SANs/,
  },
  {
    title: "a kubelet's certificate without its address",
    spoil: (auth) => issue(auth, 'worker0', { without: 'IP:192.168.1.14', embedded: true }),
    named: ['kubelets/worker0'],
    reason: /^dialled as 192\.168\.1\.14: refused: 192\.168\.1\.14 is not in the server certificate's SANs/,
  },
  {
    title: 'an API certificate for another user',
    spoil: (auth) => issue(auth, 'kubernetes', { subject: '/O=Kubernetes/CN=apiserver' }),
    named: [...etcd, ...kubelets.map((name) => `kubelets/${name}`)],
    reason: /: seen as apiserver of Kubernetes, where it had to be seen as kubernetes of Kubernetes$/,
  },
  {
    title: 'a node in the group of another',
    spoil: (auth) => issue(auth, 'worker1', { subject: '/O=system:masters/CN=system:node:worker1', embedded: true }),
    named: ['clients/worker1'],
    reason:
      /: seen as system:node:worker1 of system:masters, where it had to be seen as system:node:worker1 of system:nodes$/,
  },
  {
    title: 'an API certificate that is for servers alone',
    spoil: (auth) => issue(auth, 'kubernetes', { extendedKeyUsage: 'serverAuth' }),
    named: [...etcd, ...kubelets.map((name) => `kubelets/${name}`)],
    reason: /^dialled as \S+: (refused: |seen as nobody)/,
    cause: /purpose/,
  },
  {
    title: 'a client of another CA',
    spoil: (auth, elsewhere) => {
      for (const file of ['admin.pem', 'admin-key.pem']) cpSync(join(elsewhere, file), join(auth, file))
      embed(auth, 'admin', { certificate: 'admin', key: 'admin' })
    },
    named: ['clients/admin'],
    reason: /^dialled as kubernetes: seen as nobody/,
    cause: /issuer|self.signed|signature|unable to/,
    everywhere: true,
  },
  {
    title: 'an expired certificate of a client',
    spoil: (auth) => issue(auth, 'kube-controller-manager', { expired: true, embedded: true }),
    named: ['clients/kube-controller-manager'],
    reason: /^dialled as kubernetes: seen as nobody/,
    cause: /expired/,
  },
  {
    title: 'an expired certificate of a kubelet, as a server and as a client',
    spoil: (auth) => issue(auth, 'worker2', { expired: true, embedded: true }),
    named: ['clients/worker2', 'kubelets/worker2'],
    reason: /expired|seen as nobody/,
    everywhere: true,
  },
  {
    title: 'the service-account key of another pair',
    spoil: (auth) => cpSync(join(auth, 'admin-key.pem'), join(auth, 'service-account-key.pem')),
    named: ['keys/service-account-token'],
    reason: /^service-account-key\.pem is not the certificate's key$/,
    everywhere: true,
  },
  {
    title: 'the service-account certificate of another pair',
    spoil: (auth) => cpSync(join(auth, 'admin.pem'), join(auth, 'service-account.pem')),
    named: ['keys/service-account-token'],
    reason: /^service-account-key\.pem is not the certificate's key$/,
  },
  {
    title: 'an encryption config with a field that kube-apiserver does not know',
    spoil: (auth) => replaceIn(auth, 'encryption-config.yaml', /secret:/, 'secrets:'),
    named: ['keys/encryption'],
    reason: /^encryption-config\.yaml is not a valid EncryptionConfiguration/,
  },
  {
    title: 'an encryption config with a key of a wrong length',
    spoil: (auth) => replaceIn(auth, 'encryption-config.yaml', /secret: \S+/, `secret: ${btoa('fifteen bytes..')}`),
    named: ['keys/encryption'],
    reason: /^encryption-config\.yaml is not a valid EncryptionConfiguration/,
    everywhere: true,
  },
  {
    title: 'an encryption config that leaves Secrets as they are',
    spoil: (auth) => replaceIn(auth, 'encryption-config.yaml', /providers:\n.*/s, 'providers:\n  - identity: {}\n'),
    named: ['keys/encryption'],
    reason: /^encryption-config\.yaml is not a valid EncryptionConfiguration, or its first provider has no key$/,
  },
  {
    title: 'an encryption config whose key is behind a provider that leaves Secrets as they are',
    spoil: (auth) => replaceIn(auth, 'encryption-config.yaml', /providers:\n/, 'providers:\n  - identity: {}\n'),
    named: ['keys/encryption'],
    reason: /^encryption-config\.yaml is not a valid EncryptionConfiguration, or its first provider has no key$/,
  },
  {
    title: 'a key of the API that is not its own',
    spoil: (auth) => cpSync(join(auth, 'worker0-key.pem'), join(auth, 'kubernetes-key.pem')),
    named: Object.keys(connections).filter((id) => !/^keys|^strangers.kubelet|local-kubeconfig/.test(id)),
    reason: /kubernetes-key\.pem is not the certificate's key/,
  },
  {
    title: 'a certificate of a kubelet that is none',
    spoil: (auth) => writeFileSync(join(auth, 'worker1.pem'), 'garbage'),
    named: ['clients/worker1', 'kubelets/worker1'],
    reason: /^worker1\.(pem is not a valid certificate|kubeconfig does not hold the pair)/,
  },
]

const absent: readonly (readonly [file: string, named: readonly string[]])[] = [
  ['worker0.kubeconfig', ['clients/worker0']],
  ['worker0-key.pem', ['clients/worker0', 'kubelets/worker0']],
  ['service-account.pem', ['keys/service-account-token']],
  ['encryption-config.yaml', ['keys/encryption']],
  ['kubernetes.pem', Object.keys(connections).filter((id) => !/^keys|^strangers.kubelet/.test(id))],
]

const clusters: readonly (readonly [kind: string, provider: string])[] = [
  ['rsa-2048', 'aescbc'],
  ['ecdsa-p256', 'aesgcm'],
  ['ecdsa-p384', 'secretbox'],
]

for (const [kind, provider] of clusters) {
  const edits: readonly Edit[] = [
    [['certificates', 'key'], kind],
    [['encryption', 'provider'], provider],
  ]
  describe(`verify, with ${kind} and ${provider}`, { concurrency: 2 }, () => {
    const isFull = kind === 'ecdsa-p256'
    let origin: string
    let elsewhere: string

    before(async () => {
      origin = makePlace()
      elsewhere = makePlace()
      for (const place of [origin, elsewhere]) writeCluster(place, edits)
      for (const ran of await Promise.all([harderway(origin, ...phases), harderway(elsewhere, 'certs')]))
        assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    })
    after(() => {
      for (const place of [origin, elsewhere]) rmSync(place, { recursive: true, force: true })
    })

    test('names every connection of the guide with the identity that the other side saw, and exits 0', async () => {
      const { status, events, stdout } = await harderway(origin, 'verify', '--json')
      assert.equal(status, 0, stdout)
      assert.deepEqual(idsOf(events, 'fresh'), Object.keys(connections).toSorted())
      for (const { id, message } of events.filter(({ type }) => type === 'fresh'))
        assert.match(String(message), connections[String(id)] ?? /^$/, String(id))
      const { type, targets, fresh, exit } = events.at(-1) ?? {}
      const count = Object.keys(connections).length
      assert.deepEqual([type, targets, fresh, exit], ['summary', count, count, 0])
    })

    if (isFull)
      test('lists every connection in plain lines too', async () => {
        const { status, stdout } = await harderway(origin, 'verify')
        assert.equal(status, 0, stdout)
        const { length } = Object.keys(connections)
        for (const id of Object.keys(connections)) assert.match(stdout, new RegExp(`^${id}: `, 'm'))
        assert.match(stdout, new RegExp(`^${length} checks: ${length} passed, 0 failed in .* s$`, 'm'))
      })

    for (const row of rows.filter(({ everywhere }) => everywhere || isFull))
      test(`${row.title} is named in its connections, and in no other`, {
        skip: needs('openssl'),
      }, async () => {
        const place = copy(origin, edits)
        row.spoil(join(place, 'auth'), join(elsewhere, 'auth'))
        const { status, events, stdout, stderr } = await harderway(place, 'verify', '--json')
        assert.equal(status, 1, stdout + stderr)
        const failed = events.filter(({ type }) => type === 'failed')
        assert.deepEqual(idsOf(events, 'failed'), row.named.toSorted())
        for (const { id, message } of failed) assert.match(String(message), row.reason, String(id))
        if (row.cause) assert.match(failed.map(({ message }) => String(message)).join('\n'), row.cause)
        assert.equal(idsOf(events, 'fresh').length, Object.keys(connections).length - row.named.length)
        rmSync(place, { recursive: true, force: true })
      })

    for (const san of isFull
      ? ['IP:10.32.0.1', 'DNS:kubernetes.default.svc', 'DNS:kubernetes.kubenet', 'IP:192.168.1.21']
      : [])
      test(`an API certificate without ${san} fails, since pods or people dial that`, {
        skip: needs('openssl'),
      }, async () => {
        const place = copy(origin, edits)
        issue(join(place, 'auth'), 'kubernetes', { without: san })
        const { status } = await harderway(place, 'verify', '--json')
        rmSync(place, { recursive: true, force: true })
        assert.equal(status, 1)
      })

    for (const [file, named] of isFull ? absent : [])
      test(`${file} missing is reported in its connections, and exits 4`, async () => {
        const place = copy(origin, edits)
        rmSync(join(place, 'auth', file))
        const { status, events, stdout } = await harderway(place, 'verify', '--json')
        assert.equal(status, 4, stdout)
        assert.deepEqual(idsOf(events, 'stale'), named.toSorted())
        for (const { id, message } of events.filter(({ type }) => type === 'stale'))
          assert.match(String(message), new RegExp(`${file.replace('.', '\\.')} missing`), String(id))
        rmSync(place, { recursive: true, force: true })
      })
  })
}

describe('verify looks, and no more', () => {
  const edits: readonly Edit[] = [[['certificates', 'key'], 'ecdsa-p256'], gateway]
  let place: string

  before(async () => {
    place = makePlace()
    writeCluster(place, edits)
    const ran = await harderway(place, ...phases)
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
  })
  after(() => rmSync(place, { recursive: true, force: true }))

  test('nothing is written, touched or removed, whether everything is in order or not', async () => {
    const seen = stateOf(place)
    assert.equal((await harderway(place, 'verify')).status, 0)
    assert.deepEqual(stateOf(place), seen)
    rmSync(join(place, 'auth/admin.kubeconfig'))
    writeFileSync(join(place, 'auth/worker0.kubeconfig'), '')
    const spoiled = stateOf(place)
    const told = await harderway(place, 'verify')
    assert.equal(told.status, 1)
    assert.match(told.stdout, /^To do +npm run task -- status: what is wrong with a file, and what repairs it$/m)
    assert.deepEqual(stateOf(place), spoiled)
    assert.equal((await harderway(place, 'kubeconfigs')).status, 0)
  })

  test('where the CA has expired every connection says so, and status has the commands that end it', async (t) => {
    const old = scratch(t)
    writeCluster(old, edits)
    assert.equal((await harderway({ place: old, now: new Date('2010-03-01T00:00:00Z') }, ...phases)).status, 0)
    const { status, stdout } = await harderway(old, 'verify')
    assert.equal(status, 1)
    assert.match(stdout, /^kubelets\/worker0: .*: cert has expired, /m)
    assert.match(
      (await harderway(old, 'status')).stdout,
      / EXPIRED .*: npm run task -- ca --renew, then npm run bootstrap/,
    )
    for (const args of [['ca', '--renew'], phases, ['verify']])
      assert.equal((await harderway(old, ...args)).status, 0, args.join(' '))
  })

  test('an empty folder stays empty, and everything is reported missing', async () => {
    const empty = makePlace()
    writeCluster(empty, edits)
    const seen = stateOf(empty)
    const { status, events } = await harderway(empty, 'verify', '--json')
    assert.equal(status, 4)
    assert.deepEqual(idsOf(events, 'stale'), Object.keys(connections).toSorted())
    assert.deepEqual(stateOf(empty), seen)
    rmSync(empty, { recursive: true, force: true })
  })

  for (const name of ['worker0', 'control1'])
    test(`--node ${name} looks at the connections of that node alone`, async () => {
      const { status, events, stdout } = await harderway(place, 'verify', '--node', name, '--json')
      assert.equal(status, 0, stdout)
      assert.deepEqual(idsOf(events, 'fresh'), [`clients/${name}`, `kubelets/${name}`])
      assert.equal(events.at(-1)?.targets, 2)
    })

  test('a node with what is wrong elsewhere is well, and one with it is not', async () => {
    const broken = copy(place, edits)
    writeFileSync(join(broken, 'auth/worker1.kubeconfig'), '')
    assert.equal((await harderway(broken, 'verify', '--node', 'worker0')).status, 0)
    assert.equal((await harderway(broken, 'verify', '--node', 'worker1')).status, 1)
    rmSync(broken, { recursive: true, force: true })
  })

  test('a node that is none is bad usage', async () => {
    assert.equal((await harderway(place, 'verify', '--node', 'worker9')).status, 2)
  })

  test('what is missing and what is broken together exit 1', async () => {
    const broken = copy(place, edits)
    rmSync(join(broken, 'auth/worker0.kubeconfig'))
    writeFileSync(join(broken, 'auth/worker1.kubeconfig'), '')
    const { status, events } = await harderway(broken, 'verify', '--json')
    assert.deepEqual(
      [status, idsOf(events, 'stale'), idsOf(events, 'failed')],
      [1, ['clients/worker0'], ['clients/worker1']],
    )
    rmSync(broken, { recursive: true, force: true })
  })

  for (const [title, text] of [
    ['is none', 'clusters: ['],
    ['has nothing of ours', 'apiVersion: v1\nkind: Config\n'],
  ] as const)
    test(`a local kubeconfig that ${title} does not change the exit status`, async () => {
      const other = copy(place, edits)
      mkdirSync(join(other, 'home/.kube'), { recursive: true })
      writeFileSync(join(other, 'home/.kube/config'), text)
      const { status, events, stdout } = await harderway(other, 'verify', '--json')
      assert.equal(status, 0, stdout)
      assert.deepEqual(idsOf(events, 'failed'), [])
      rmSync(other, { recursive: true, force: true })
    })
})

function copy(origin: string, edits: readonly Edit[]): string {
  const place = makePlace()
  cpSync(join(origin, 'auth'), join(place, 'auth'), { recursive: true, preserveTimestamps: true })
  writeCluster(place, edits)
  return place
}

function idsOf(events: Ran['events'], type: string): string[] {
  return events
    .filter((event) => event.type === type)
    .map(({ id }) => String(id))
    .toSorted()
}

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

interface Issue {
  readonly subject?: string
  /** One of its SANs. */
  readonly without?: string
  readonly extendedKeyUsage?: string
  /** Of last year. */
  readonly expired?: boolean
  /** Into its kubeconfig too. */
  readonly embedded?: boolean
}

const subjects: Readonly<Record<string, string>> = {
  kubernetes: '/O=Kubernetes/CN=kubernetes',
  'kube-controller-manager': '/O=system:kube-controller-manager/CN=system:kube-controller-manager',
}

/** Has openssl issue the certificate of a name under the CA in auth/, for the key that is there. */
function issue(auth: string, name: string, { subject, without, extendedKeyUsage, expired, embedded }: Issue): void {
  const folder = join(auth, '..', 'openssl-ca')
  mkdirSync(folder)
  const file = (each: string) => join(folder, each)
  const { subjectAltName } = new X509Certificate(readFileSync(join(auth, `${name}.pem`)))
  const sans = subjectAltName?.replaceAll('IP Address:', 'IP:').split(', ')
  if (without !== undefined) assert.ok(sans?.includes(without))
  const extensions = [
    'keyUsage=critical,digitalSignature',
    `extendedKeyUsage=${extendedKeyUsage ?? 'serverAuth,clientAuth'}`,
    ...(sans ? [`subjectAltName=${sans.filter((san) => san !== without)}`] : []),
  ]
  writeFileSync(file('index'), '')
  writeFileSync(
    file('config'),
    [
      ...['[ca]', 'default_ca=here', '[here]', `database=${file('index')}`, `new_certs_dir=${folder}`],
      'rand_serial=yes',
      ...['default_md=sha256', 'policy=any', 'copy_extensions=copy', 'x509_extensions=kept'],
      ...['[any]', 'organizationName=supplied', 'commonName=supplied'],
      ...['[kept]', 'authorityKeyIdentifier=keyid', 'subjectKeyIdentifier=hash', ''],
    ].join('\n'),
  )
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  openssl(
    ...['req', '-new', '-key', join(auth, `${name}-key.pem`), '-out', file('request')],
    ...['-subj', subject ?? subjects[name] ?? `/O=system:nodes/CN=system:node:${name}`],
    ...extensions.flatMap((each) => ['-addext', each]),
  )
  const year = new Date().getUTCFullYear()
  const [from, to] = expired ? [year - 2, year - 1] : [year - 1, year + 2]
  openssl(
    ...['ca', '-batch', '-config', file('config'), '-notext', '-preserveDN'],
    ...['-cert', join(auth, 'ca.pem'), '-keyfile', join(auth, 'ca-key.pem')],
    ...['-startdate', `${from}0101000000Z`, '-enddate', `${to}0101000000Z`],
    ...['-in', file('request'), '-out', join(auth, `${name}.pem`)],
  )
  if (embedded) embed(auth, name, { certificate: name })
}
