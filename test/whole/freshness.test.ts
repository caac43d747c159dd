import assert from 'node:assert/strict'
import { chmodSync, cpSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openssl } from '../support/certificates.ts'
import { type Edit, harderway, idsOf, makePlace, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const quick: Edit = [['certificates', 'key'], 'ecdsa-p256']

/** One way for one thing to go stale: what is done, what must be made again, and the reason that must be given. */
interface Row {
  readonly title: string
  readonly edits?: readonly Edit[]
  readonly spoil?: (auth: string) => void
  readonly built: readonly string[]
  /** Of the first of them. */
  /** A function where it tells a day, which may be over in the middle of the test. */
  readonly reason: string | (() => string)
}

const worker0 = ['kubeconfigs/worker0', 'node-certs/worker0']

const rows: readonly Row[] = [
  {
    title: 'a certificate that is missing',
    spoil: (auth) => rmSync(join(auth, 'worker0.pem')),
    built: worker0,
    reason: 'made: worker0.pem missing',
  },
  {
    title: 'a SAN less in cluster.yaml',
    edits: [[['nodes', 3, 'ip'], '192.168.1.99']],
    built: worker0,
    reason: 'made: SAN added: 192.168.1.99; SAN removed: 192.168.1.14',
  },
  {
    title: 'a renewBefore that has grown past what is left',
    edits: [
      [['certificates', 'renewBefore'], '200d'],
      [['certificates', 'validity'], '1y'],
    ],
    spoil: (auth) => reissue(auth, 'worker0', 100),
    built: worker0,
    reason: () => `made: expires ${daysFromNow(100)}`,
  },
  {
    title: 'a wrong mode of a key, repaired without issuing again',
    spoil: (auth) => chmodSync(join(auth, 'worker0-key.pem'), 0o644),
    built: ['node-certs/worker0'],
    reason: 'repaired: worker0-key.pem has mode 0644, not 0600',
  },
  {
    title: 'a wrong mode of the key of the CA, repaired without a new CA',
    spoil: (auth) => chmodSync(join(auth, 'ca-key.pem'), 0o640),
    built: ['ca'],
    reason: 'repaired: ca-key.pem has mode 0640, not 0600',
  },
  {
    title: 'a kubeconfig with an earlier certificate of the same client',
    spoil: (auth) => reissue(auth, 'worker0', 100),
    built: ['kubeconfigs/worker0'],
    reason: 'made: users changed',
  },
  {
    title: 'a kubeconfig that is missing',
    spoil: (auth) => rmSync(join(auth, 'admin.kubeconfig')),
    built: ['kubeconfigs/admin'],
    reason: 'made: admin.kubeconfig missing',
  },
  {
    title: 'a kubeconfig that does not parse',
    spoil: (auth) => writeFileSync(join(auth, 'admin.kubeconfig'), '{'),
    built: ['kubeconfigs/admin'],
    reason: 'made: admin.kubeconfig is not a valid kubeconfig',
  },
  {
    title: 'a kubeconfig for another server',
    spoil: (auth) => replaceIn(join(auth, 'admin.kubeconfig'), 'https://kubernetes:6443', 'https://elsewhere:6443'),
    built: ['kubeconfigs/admin'],
    reason: 'made: clusters changed',
  },
  {
    title: 'a resource more to encrypt',
    edits: [
      [
        ['encryption', 'resources'],
        ['secrets', 'configmaps'],
      ],
    ],
    built: ['encryption-key'],
    reason: 'made: resource added: configmaps',
  },
]

/** What changes nothing that was asked for. */
const harmless: readonly Omit<Row, 'built' | 'reason'>[] = [
  { title: 'another validity', edits: [[['certificates', 'validity'], '5y']] },
  {
    title: 'a SAN that is there already',
    edits: [
      [
        ['api', 'extraSANs'],
        ['control0', '10.32.0.1'],
      ],
    ],
  },
  { title: 'another place for ssh', edits: [[['nodes', 0, 'host'], 'elsewhere']] },
  {
    title: 'a kubeconfig in another layout',
    spoil: (auth) =>
      replaceIn(join(auth, 'admin.kubeconfig'), 'kind: Config\n', 'kind: Config\npreferences: {}\n# by hand\n'),
  },
]

describe('freshness, read from the files themselves', { skip: needs('openssl') }, () => {
  let origin: string

  before(async () => {
    origin = makePlace()
    writeCluster(origin, [quick])
    const made = await harderway(origin, ...phases)
    assert.equal(made.status, 0, made.stdout + made.stderr)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  const spoiled = ({ edits = [], spoil }: Pick<Row, 'edits' | 'spoil'>): string => {
    const place = makePlace()
    cpSync(origin, place, { recursive: true, preserveTimestamps: true })
    // What spoils certificates in no folder of the user's own may stay beside them.
    writeCluster(place, [quick, ...edits])
    spoil?.(join(place, 'auth'))
    return place
  }

  for (const row of rows) {
    test(`${row.title} is named, repaired, and nothing else is touched`, async () => {
      const reasonNow = () => (typeof row.reason === 'string' ? row.reason : row.reason())
      const earlier = reasonNow()
      const place = spoiled(row)
      const before = inodes(place)
      const ran = await harderway(place, ...phases, '--json')
      assert.equal(ran.status, 0, ran.stdout + ran.stderr)
      assert.deepEqual(idsOf(ran, 'built'), [...row.built].toSorted())
      const target = row.built.find((id) => !id.startsWith('kubeconfigs')) ?? row.built[0]
      const message = String(ran.events.find(({ type, id }) => type === 'built' && id === target)?.message)
      assert.ok([earlier, reasonNow()].includes(message), message)
      const made = new Set(row.built.flatMap(filesOf))
      for (const [name, inode] of inodes(place)) if (!made.has(name)) assert.equal(inode, before.get(name), name)
      const again = await harderway(place, ...phases, '--json')
      assert.deepEqual(idsOf(again, 'built'), [])
      rmSync(place, { recursive: true, force: true })
    })
  }

  for (const row of harmless) {
    test(`${row.title} makes nothing stale`, async () => {
      const place = spoiled(row)
      const ran = await harderway(place, ...phases, '--json')
      assert.equal(ran.status, 0, ran.stdout + ran.stderr)
      assert.deepEqual(idsOf(ran, 'built'), [])
      rmSync(place, { recursive: true, force: true })
    })
  }
})

/** Has openssl issue the node's certificate again, over its key. */
function reissue(auth: string, name: string, days: number): void {
  const file = (each: string) => join(auth, each)
  const extensions = [
    'keyUsage=critical,digitalSignature,keyEncipherment',
    'extendedKeyUsage=serverAuth,clientAuth',
    'basicConstraints=critical,CA:FALSE',
    `subjectAltName=DNS:${name},DNS:${name}.kubenet,IP:192.168.1.14`,
  ]
  const subject = `/C=PL/ST=Lesser Poland/L=Krakow/O=system:nodes/OU=kubenet/CN=system:node:${name}`
  const issuer = ['-CA', file('ca.pem'), '-CAkey', file('ca-key.pem'), '-days', String(days)]
  const args = ['req', '-x509', '-new', '-key', file(`${name}-key.pem`), ...issuer, '-subj', subject]
  openssl(...args, ...extensions.flatMap((each) => ['-addext', each]), '-out', file(`${name}.pem`))
  chmodSync(file(`${name}.pem`), 0o644)
}

function filesOf(id: string): string[] {
  const name = { ca: 'ca', 'cluster-cert': 'kubernetes' }[id] ?? id.split('/')[1]
  if (id === 'encryption-key') return ['encryption-config.yaml']
  return id.startsWith('kubeconfigs/') ? [`${name}.kubeconfig`] : [`${name}.pem`, `${name}-key.pem`]
}

function inodes(place: string): Map<string, string> {
  const auth = join(place, 'auth')
  return new Map(
    readdirSync(auth).map((name) => [
      name,
      `${lstatSync(join(auth, name)).ino} ${lstatSync(join(auth, name)).mtimeMs}`,
    ]),
  )
}

function replaceIn(path: string, from: string, to: string): void {
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to))
}

function daysFromNow(days: number): string {
  return new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10)
}
