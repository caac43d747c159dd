/** What stays where a certificate is made anew: the bytes that name a CA, and the key of a leaf. */
import assert from 'node:assert/strict'
import { chmodSync, cpSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Certificate, readCertificate } from '../../lib/pki/certificate.ts'
import { openssl } from '../support/certificates.ts'
import {
  copyPlace,
  type Edit,
  harderway,
  idsOf,
  makePlace,
  messageOf,
  oneOfEach,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { kubectl, needs, startServer } from '../support/programs.ts'

const leaves = [
  'admin',
  'control0',
  'kube-controller-manager',
  'kube-proxy',
  'kube-scheduler',
  'kubernetes',
  'service-account',
  'worker0',
]

describe('where a certificate is reissued', { skip: needs('openssl', 'kubectl') }, () => {
  let origin: string
  before(async () => {
    origin = makePlace()
    writeCluster(origin, oneOfEach)
    assertStatus(await harderway(origin, 'certs'), 0)
  })
  after(() => rmSync(origin, { recursive: true, force: true }))

  describe('the CA', () => {
    test('reissued by openssl, in strings of another type, has its leaves issued again over their keys', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      const keys = keysIn(auth)
      recertify(auth)
      await assert.rejects(dial(place, auth), /signed by unknown authority/)
      const ran = await harderway(place, 'certs', '--json')
      assertStatus(ran, 0)
      assert.equal(idsOf(ran, 'built').length, leaves.length)
      assert.equal(messageOf(ran, 'cluster-cert'), 'made: not issued by the current CA')
      assert.deepEqual(keysIn(auth), keys)
      await dial(place, auth)
    })

    test('of which a killed --force has left the key alone is named as in backup/, and its leaves stay', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      recertify(auth, 'subjectKeyIdentifier=0102030405')
      assertStatus(await harderway(place, 'certs'), 0)
      const [{ subject }, issued] = [certificateIn(auth, 'ca'), certificatesIn(auth)]
      const kept = join(auth, 'backup/2026-01-01T00-00-00-000Z')
      mkdirSync(kept, { recursive: true })
      cpSync(join(auth, 'ca-key.pem'), join(kept, 'ca-key.pem'))
      renameSync(join(auth, 'ca.pem'), join(kept, 'ca.pem'))
      const ran = await harderway(place, 'certs', '--json')
      assertStatus(ran, 0)
      assert.deepEqual(idsOf(ran, 'built'), ['ca'])
      const ca = certificateIn(auth, 'ca')
      assert.deepEqual([ca.subject, ca.issuer, ca.subjectKeyId?.toString('hex')], [subject, subject, '0102030405'])
      assert.deepEqual(certificatesIn(auth), issued)
      await dial(place, auth)
    })

    test('keeps the identifier of its key, too, where it is renewed', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      recertify(auth, 'subjectKeyIdentifier=0102030405')
      assertStatus(await harderway(place, 'certs'), 0)
      assertStatus(await harderway(place, 'ca', '--renew'), 0)
      const ran = await harderway(place, 'certs', '--json')
      assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, []])
      await dial(place, auth)
    })

    const refused: Readonly<Record<string, [spoil: (auth: string) => void, go: RegExp]>> = {
      'that may issue for clients alone': [
        (auth) => recertify(auth, 'extendedKeyUsage=clientAuth'),
        /incompatible key usage/,
      ],
      'with a critical extension that nobody knows': [
        (auth) => recertify(auth, '1.2.3.4=critical,DER:0500'),
        /unhandled critical extension|unknown authority/,
      ],
    }
    for (const [what, [spoil, go]] of Object.entries(refused))
      test(`${what} is refused, and renewed is taken`, async (t) => {
        const { place, auth } = copyPlace(t, origin, oneOfEach)
        // The leaves name the CA in openssl's way, as it does itself after this.
        recertify(auth)
        assertStatus(await harderway(place, 'certs'), 0)
        spoil(auth)
        await assert.rejects(dial(place, auth), go)
        const ran = await harderway(place, 'certs', '--json')
        assertStatus(ran, 3)
        const { message, remedy } = ran.events.find(({ type }) => type === 'refused') ?? {}
        assert.match(String(message), /^the CA in .*: Kubernetes would refuse it: it/)
        assert.match(String(remedy), /npm run task -- ca --renew/)
        assertStatus(await harderway(place, 'ca', '--renew'), 0)
        assertStatus(await harderway(place, 'certs'), 0)
        await dial(place, auth)
      })
  })

  describe('the key of a leaf', () => {
    const elsewhere: Edit = [['domain'], 'elsewhere']
    const rows: readonly {
      title: string
      stays: boolean
      edits?: readonly Edit[]
      args?: string[]
      spoil?: (auth: string) => void
    }[] = [
      { title: 'stays where its names change', stays: true, edits: [elsewhere] },
      {
        title: 'stays where its subject changes',
        stays: true,
        edits: [[['subject', 'locality'], 'Gdynia']],
        args: ['ca', '--force'],
      },
      { title: 'stays where its issuer changes', stays: true, args: ['ca', '--force'] },
      {
        title: 'stays, closed to others, where it was open and names change',
        stays: true,
        edits: [elsewhere],
        spoil: (auth) => chmodSync(join(auth, 'worker0-key.pem'), 0o644),
      },
      {
        title: 'goes where the certificate expires',
        stays: false,
        edits: [
          [['certificates', 'validity'], '3y'],
          [['certificates', 'renewBefore'], '2y'],
        ],
      },
      { title: 'goes with --force', stays: false, args: ['node-certs', '--force'] },
      {
        title: 'goes where another kind is asked for',
        stays: false,
        edits: [[['certificates', 'key'], 'ecdsa-p384']],
        args: ['ca', '--force'],
      },
      {
        title: "goes where it is another node's, though names change",
        stays: false,
        edits: [elsewhere],
        spoil: (auth) => writeFileSync(join(auth, 'worker0-key.pem'), readFileSync(join(auth, 'control0-key.pem'))),
      },
    ]
    for (const { title, stays, edits = [], args, spoil } of rows)
      test(title, async (t) => {
        const { place, auth } = copyPlace(t, origin, [...oneOfEach, ...edits])
        spoil?.(auth)
        const [key, certificate] = ['worker0-key.pem', 'worker0.pem'].map((name) =>
          readFileSync(join(auth, name), 'utf8'),
        )
        if (args) assertStatus(await harderway(place, ...args), 0)
        assertStatus(await harderway(place, 'node-certs'), 0)
        assert.notEqual(readFileSync(join(auth, 'worker0.pem'), 'utf8'), certificate)
        assert.equal(readFileSync(join(auth, 'worker0-key.pem'), 'utf8') === key, stays)
        assert.equal(lstatSync(join(auth, 'worker0-key.pem')).mode & 0o777, 0o600)
        openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), join(auth, 'worker0.pem'))
        const again = await harderway(place, 'node-certs', '--json')
        assert.deepEqual([again.status, idsOf(again, 'built')], [0, []])
      })
  })
})

function assertStatus({ status, stdout, stderr }: Ran, expected: number): void {
  assert.equal(status, expected, stdout + stderr)
}

/** Of the same key and subject, in UTF8Strings: openssl's own way. */
function recertify(auth: string, ...extensions: readonly string[]): void {
  const { attributes } = certificateIn(auth, 'ca')
  const added = ['keyUsage=critical,keyCertSign,cRLSign', ...extensions].flatMap((each) => ['-addext', each])
  const subject = attributes.map((attribute) => `/${attribute}`).join('')
  const files = ['-key', join(auth, 'ca-key.pem'), '-out', join(auth, 'ca.pem')]
  openssl('req', '-x509', '-new', ...files, '-subj', subject, '-days', '3650', ...added)
}

function certificateIn(auth: string, name: string): Certificate {
  const certificate = readCertificate(readFileSync(join(auth, `${name}.pem`)))
  assert.ok(certificate, name)
  return certificate
}

const keysIn = (auth: string) => leaves.map((name) => readFileSync(join(auth, `${name}-key.pem`), 'utf8'))
const certificatesIn = (auth: string) => leaves.map((name) => readFileSync(join(auth, `${name}.pem`), 'utf8'))

/** kubectl, with ca.pem, dials a server with the API's certificate. */
async function dial(place: string, auth: string): Promise<void> {
  const pair = ['-cert', join(auth, 'kubernetes.pem'), '-key', join(auth, 'kubernetes-key.pem')]
  await using server = await startServer(
    'openssl',
    ['s_server', '-accept', '127.0.0.1:0', ...pair, '-www'],
    /^ACCEPT 127\.0\.0\.1:(\d+)$/m,
  )
  const url = `https://127.0.0.1:${server.ready[1]}`
  kubectl(join(place, 'home'), [
    'get',
    '--raw=/',
    `--server=${url}`,
    `--certificate-authority=${join(auth, 'ca.pem')}`,
    '--token=none',
  ])
}
