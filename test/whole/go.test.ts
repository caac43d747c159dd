/**
 * Go's eyes: what kubectl refuses in a certificate is stale, with the reason; what it takes is fresh. Each
 * certificate is that of a node of its own, made here, then altered byte for byte and signed again by the same CA.
 */
import assert from 'node:assert/strict'
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { certificatePem } from '../../lib/pki/encoding.ts'
import {
  altered,
  bytes,
  element,
  elementAt,
  elements,
  instead,
  more,
  oid,
  type Parts,
  sequence,
} from '../support/certificates.ts'
import {
  type Edit,
  exits,
  harderway,
  idsOf,
  makePlace,
  messageOf,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { kubectl, needs, startServer } from '../support/programs.ts'

interface Row {
  readonly alter?: (parts: Parts, ca: X509Certificate) => Partial<Parts>
  readonly hash?: string
  /** In place of the one that was made. */
  readonly key?: (own: KeyObject) => string
  /** Of the whole PEM. */
  readonly spell?: (pem: string) => string | Buffer
}

interface Refused extends Row {
  /** What Go says. */
  readonly go: RegExp
  readonly why: RegExp
}

const issuerAs = (change: (tag: number, value: Buffer) => Buffer) => (parts: Parts) => ({
  issuer: sequence(
    ...elements(elementAt(parts.issuer, 0).content).map(({ content }) => {
      const [type, value] = [elementAt(content, 0, 0), elementAt(content, 0, 1)]
      return element(0x31, sequence(type.whole, change(value.tag, value.content)))
    }),
  ),
})
const [keyUsage, subjectAltName, basicConstraints] = ['551d0f', '551d11', '551d13']
const [subjectKeyId, authorityKeyId] = ['551d0e', '551d23']
const [_unknown, null_] = ['2a0304', bytes('0500')]
/** The subject that is asked, its organizational unit as a string of another type. */
const unitAs = (tag: number) => (parts: Parts) => ({
  subject: Buffer.from(
    parts.subject.toString('latin1').replace(`\x0c\x08kube_net`, `${String.fromCharCode(tag)}\x08kube_net`),
    'latin1',
  ),
})
const without =
  (...ids: readonly string[]) =>
  ({ extensions }: Parts) => ({
    extensions: extensions.filter((each) => !ids.some((id) => each.includes(oid(id)))),
  })
const refused: Readonly<Record<string, Refused>> = {
  'an issuer of the other string type': {
    alter: issuerAs((tag, value) => element(tag === 0x0c ? 0x1e : 0x0c, tag === 0x0c ? utf16(value) : value)),
    go: /signed by unknown authority/,
    why: /^not issued by the current CA$/,
  },
  'an address given as a DNS name': {
    alter: (parts) =>
      instead(subjectAltName, (old) =>
        sequence(
          ...elements(elementAt(old, 0).content).map(({ tag, content, whole }) =>
            tag === 0x87 ? element(0x82, content.join('.')) : whole,
          ),
        ),
      )(parts),
    go: /cannot validate certificate for 192\.168\.2\.\d+ because it doesn't contain any IP SANs/,
    why: /^adds SAN 192\.168\.2\.\d+; drops SAN DNS:192\.168\.2\.\d+$/,
  },
  'the usage of a client alone, where a kubelet serves by it': {
    alter: instead('551d25', () => sequence(oid('2b06010505070302'))),
    go: /certificate specifies an incompatible key usage/,
    why: /key usages differ/,
  },
  'another one with headers before it': {
    spell: (pem) => `-----BEGIN CERTIFICATE-----\nA: b\n\nMAA=\n-----END CERTIFICATE-----\n${pem}`,
    go: /malformed/,
    why: /is not a valid certificate/,
  },
  'a certificate that OpenSSL alone knows by its label': {
    spell: (pem) => pem.replaceAll(' CERTIFICATE', ' X509 CERTIFICATE'),
    go: /failed to find "CERTIFICATE" PEM block/,
    why: /is not a valid certificate/,
  },
  'something behind the certificate': {
    spell: (pem) => certificatePem(Buffer.concat([new X509Certificate(pem).raw, null_])),
    go: /trailing data/,
    why: /is not a valid certificate/,
  },
}

/** What looks alike, and Go takes. */
const taken: Readonly<Record<string, Row>> = {
  'a T61String': { alter: unitAs(0x14) },
  'CA:FALSE in so many words': { alter: instead(basicConstraints, () => sequence(element(0x01, bytes('00')))) },
  'an authority key identifier without a key': { alter: instead(authorityKeyId, () => sequence()) },
  'no key identifiers': { alter: without(subjectKeyId, authorityKeyId) },
  'text before the certificate': { spell: (pem) => `Certificate:\n    Data:\n${pem}` },
  'line ends of Windows': { spell: (pem) => pem.replaceAll('\n', '\r\n') },
  'a key as PKCS#8': { key: (own) => own.export({ type: 'pkcs8', format: 'pem' }).toString() },
}

const rows = Object.entries<Row>({ ...refused, ...taken }).map(([title, row], i) => ({
  ...{ title, row, name: `w${i}`, ip: `192.168.2.${i + 1}` },
}))
const nameOf = (title: string) => rows.find((each) => each.title === title)?.name ?? ''
const cluster: readonly Edit[] = [
  [['subject', 'organizationalUnit'], 'kube_net'],
  [
    ['nodes'],
    [
      { name: 'control0', role: 'control', ip: '192.168.1.11' },
      ...rows.map(({ name, ip }) => ({ name, role: 'worker', ip })),
    ],
  ],
]

describe('a certificate as Go reads it', { skip: needs('kubectl', 'openssl'), concurrency: 2 }, () => {
  let place: string
  let auth: string
  let spoiled: string
  let keys: Map<string, Buffer>
  let told: Ran
  let verified: Ran
  let mended: Ran

  before(async () => {
    place = makePlace()
    auth = join(place, 'auth')
    spoiled = join(place, 'spoiled')
    writeCluster(place, cluster)
    await exits(0, place, 'certs', 'kubeconfigs', 'encryption-key')
    for (const { name, row } of rows) spoil(auth, name, row)
    cpSync(auth, spoiled, { recursive: true })
    keys = new Map(rows.map(({ name }) => [name, readFileSync(join(auth, `${name}-key.pem`))]))
    told = await harderway(place, 'certs', '--dry-run', '--json')
    verified = await harderway(place, 'verify', '--json')
    mended = await harderway(place, 'certs', '--json')
  })
  after(() => rmSync(place, { recursive: true, force: true }))

  for (const [title, row] of Object.entries(refused)) {
    const name = nameOf(title)
    const id = `node-certs/${name}`
    test(`${title} is refused by Go, stale, and reissued`, async () => {
      // What OpenSSL would not serve, Go reads as a client's.
      await assert.rejects((row.alter ? dial : asClient)(place, spoiled, name), row.go)
      assert.ok(idsOf(told, 'stale').includes(id), String(messageOf(told, id)))
      assert.match(String(messageOf(told, id)).replace('to change; ', ''), row.why)
      assert.ok(
        verified.events.some((event) => event.type === 'failed' && event.id === `kubelets/${name}`),
        'verify finds nothing wrong',
      )
      assert.ok(idsOf(mended, 'built').includes(id))
      const isKept = readFileSync(join(auth, `${name}-key.pem`)).equals(keys.get(name) ?? Buffer.alloc(0))
      assert.equal(isKept, !row.key && !/ is not a valid certificate/.test(String(messageOf(told, id))), 'its key')
    })
  }

  test('what is reissued is accepted by Go', async () => {
    await dial(place, auth, nameOf('an address given as a DNS name'))
  })

  for (const title of Object.keys(taken)) {
    const name = nameOf(title)
    test(`${title} is taken by Go, and fresh`, async () => {
      await dial(place, spoiled, name, [name])
      assert.ok(idsOf(told, 'fresh').includes(`node-certs/${name}`), String(messageOf(told, `node-certs/${name}`)))
      assert.ok(idsOf(mended, 'fresh').includes(`node-certs/${name}`))
    })
  }
})

/** Lists of one subtree each: permitted, and excluded. */
const constraints = (...lists: readonly Buffer[]) =>
  more('551d1e', sequence(...lists.map((base, i) => element(0xa0 + i, sequence(base)))), 'ff')
const domain = element(0x82, 'example.org')
const constrained = /has name constraints/

const refusedCas: Readonly<Record<string, Refused>> = {
  'for one domain alone': {
    alter: constraints(domain),
    go: /not authorized to sign for this name|not permitted by any constraint/,
    why: constrained,
  },
  'for signatures of other kinds': {
    alter: instead(keyUsage, () => element(0x03, bytes('0780'))),
    go: /parent certificate cannot sign|signed by unknown authority/,
    why: /key usages differ/,
  },
}

const takenCas: Readonly<Record<string, Row>> = {
  'for whatever it likes, its usage not said': { alter: without(keyUsage) },
}

describe('a CA as Go reads it', { skip: needs('kubectl', 'openssl') }, () => {
  let place: string
  let auth: string
  let made: string
  const ip = '192.168.1.11'

  before(async () => {
    place = makePlace()
    auth = join(place, 'auth')
    made = join(place, 'made')
    writeCluster(place, [[['nodes'], [{ name: 'control0', role: 'control', ip }]]])
    await exits(0, place, 'certs')
    cpSync(auth, made, { recursive: true })
  })
  beforeEach(() => cpSync(made, auth, { recursive: true, force: true }))
  after(() => rmSync(place, { recursive: true, force: true }))

  for (const [title, { go, why, ...row }] of Object.entries(refusedCas))
    test(`that may sign ${title} is refused by Go and by us, and renewed over its key it is taken`, async () => {
      spoil(auth, 'ca', row)
      await assert.rejects(dial(place, auth, 'control0', ['control0', ip]), go)
      const ran = await exits(3, place, 'certs')
      assert.match(ran.stdout + ran.stderr, why)
      assert.match(ran.stdout + ran.stderr, /ca --renew$/m)
      await exits(0, place, 'ca', '--renew')
      await dial(place, auth, 'control0', ['control0', ip])
      const again = await harderway(place, 'certs', '--json')
      assert.deepEqual([again.status, idsOf(again, 'built')], [0, []], again.stdout)
    })

  test('that may sign every name of the cluster, by its constraints, is taken by Go, and refused by us', async () => {
    const everything = element(0x87, bytes('00000000 00000000'))
    spoil(auth, 'ca', { alter: constraints(everything, domain) })
    await dial(place, auth, 'control0', ['control0', ip])
    const ran = await exits(3, place, 'certs')
    assert.match(ran.stdout + ran.stderr, constrained)
  })

  for (const [title, row] of Object.entries(takenCas))
    test(`that may sign ${title} is taken by Go, and fresh`, async () => {
      spoil(auth, 'ca', row)
      await dial(place, auth, 'control0', ['control0', ip])
      const ran = await harderway(place, 'certs', '--json')
      assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, []], ran.stdout)
    })
})

function spoil(auth: string, name: string, { alter, hash, key, spell }: Row): void {
  const [file, keyFile] = [join(auth, `${name}.pem`), join(auth, `${name}-key.pem`)]
  const ca = new X509Certificate(readFileSync(join(auth, 'ca.pem')))
  const signed = {
    key: createPrivateKey(readFileSync(join(auth, 'ca-key.pem'))),
    ...(hash && { hash }),
  }
  const { raw } = new X509Certificate(readFileSync(file))
  const pem = certificatePem(alter ? altered(raw, (parts) => alter(parts, ca), signed) : raw)
  writeFileSync(file, spell?.(pem) ?? pem)
  if (key) writeFileSync(keyFile, key(createPrivateKey(readFileSync(keyFile))))
}

const addressOf = (name: string) => rows.find((row) => row.name === name)?.ip ?? ''

/** kubectl dials the node's name, then its address; throws with what it says. */
async function dial(place: string, auth: string, name: string, as = [name, addressOf(name)]): Promise<void> {
  for (const dialled of as) await connect(place, auth, { server: name, as: dialled, client: ['--token=none'] })
}

/** kubectl reads the pair as its own, and shows it to a server that wants one. */
async function asClient(place: string, auth: string, name: string): Promise<void> {
  const file = (ending: string) => join(auth, `${name}${ending}`)
  const client = [`--client-certificate=${file('.pem')}`, `--client-key=${file('-key.pem')}`]
  const demanded = ['-CAfile', join(auth, 'ca.pem'), '-Verify', '2']
  await connect(place, auth, { server: 'control0', as: 'control0', client, demanded })
}

interface Connection {
  readonly server: string
  readonly as: string
  readonly client: readonly string[]
  readonly demanded?: readonly string[]
}

async function connect(place: string, auth: string, { server, as, client, demanded = [] }: Connection): Promise<void> {
  const pair = ['-cert', join(auth, `${server}.pem`), '-key', join(auth, `${server}-key.pem`)]
  const args = ['s_server', '-accept', '127.0.0.1:0', ...pair, '-cipher', 'DEFAULT@SECLEVEL=0', '-www', ...demanded]
  await using listening = await startServer('openssl', args, /^ACCEPT 127\.0\.0\.1:(\d+)$/m)
  const at = [`--server=https://127.0.0.1:${listening.ready[1]}`, `--tls-server-name=${as}`]
  const ca = `--certificate-authority=${join(auth, 'ca.pem')}`
  // Kubernetes 1.32 is built to take a negative serial number, as Go did before 1.23; what comes after it is not.
  kubectl(join(place, 'home'), ['get', '--raw=/', ...at, ca, ...client], { GODEBUG: 'x509negativeserial=0' })
}

function utf16(utf8: Buffer): Buffer {
  return Buffer.from(utf8.toString(), 'utf16le').swap16()
}
