/** What stays where a certificate is made anew: the bytes that name a CA, and the key of a leaf. */
import assert from 'node:assert/strict'
import { chmodSync, cpSync, lstatSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { certificateIn, openssl } from '../support/certificates.ts'
import { copyPlace, type Edit, exits, harderway, idsOf, madePlace, messageOf, oneOfEach } from '../support/harderway.ts'
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
  const origin = madePlace(oneOfEach, 'certs')

  describe('the CA', () => {
    test('reissued by openssl, in strings of another type, has its leaves issued again over their keys', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      const keys = keysIn(auth)
      recertify(auth)
      await assert.rejects(dial(place, auth), /signed by unknown authority/)
      const ran = await exits(0, place, 'certs', '--json')
      assert.equal(idsOf(ran, 'built').length, leaves.length)
      assert.match(String(messageOf(ran, 'cluster-cert')), /^changed, expires [-\d]+; not issued by the current CA$/)
      assert.deepEqual(keysIn(auth), keys)
      await dial(place, auth)
    })

    test('of which a killed --force has left the key alone is named as in backup/, and its leaves stay', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      recertify(auth, 'subjectKeyIdentifier=0102030405')
      await exits(0, place, 'certs')
      const [{ subject }, issued] = [certificateIn(auth, 'ca'), certificatesIn(auth)]
      const kept = join(auth, 'backup/2026-01-01T00-00-00-000Z')
      mkdirSync(kept, { recursive: true })
      cpSync(join(auth, 'ca-key.pem'), join(kept, 'ca-key.pem'))
      renameSync(join(auth, 'ca.pem'), join(kept, 'ca.pem'))
      const ran = await exits(0, place, 'certs', '--json')
      assert.deepEqual(idsOf(ran, 'built'), ['ca'])
      const ca = certificateIn(auth, 'ca')
      assert.deepEqual([ca.subject, ca.issuer, ca.subjectKeyId?.toString('hex')], [subject, subject, '0102030405'])
      assert.deepEqual(certificatesIn(auth), issued)
      await dial(place, auth)
    })

    test('keeps the identifier of its key, too, where it is renewed', async (t) => {
      const { place, auth } = copyPlace(t, origin, oneOfEach)
      recertify(auth, 'subjectKeyIdentifier=0102030405')
      await exits(0, place, 'certs')
      await exits(0, place, 'ca', '--renew')
      const ran = await harderway(place, 'certs', '--json')
      assert.deepEqual([ran.status, idsOf(ran, 'built')], [0, []])
      await dial(place, auth)
    })
  })

  describe('the key of a leaf', () => {
    const elsewhere: Edit = [['domain'], 'elsewhere']
    const key = (auth: string, name: string) => join(auth, `${name}-key.pem`)
    interface Row {
      readonly edits?: readonly Edit[]
      readonly args?: readonly string[]
      readonly spoil?: (auth: string) => void
    }
    const stays: Readonly<Record<string, Row>> = {
      'stays where its names change': { edits: [elsewhere] },
      'stays where its subject changes': {
        edits: [[['subject', 'locality'], 'Gdynia']],
        args: ['ca', '--force', '--yes'],
      },
      'stays where its issuer changes': { args: ['ca', '--force', '--yes'] },
      'stays, closed to others, where it was open and names change': {
        edits: [elsewhere],
        spoil: (auth) => chmodSync(key(auth, 'worker0'), 0o644),
      },
    }
    const expiring: readonly Edit[] = [
      [['certificates', 'validity'], '3y'],
      [['certificates', 'renewBefore'], '2y'],
    ]
    const goes: Readonly<Record<string, Row>> = {
      'goes where the certificate expires': { edits: expiring },
      'goes with --force': { args: ['node-certs', '--force'] },
      'goes where another kind is asked for': {
        edits: [[['certificates', 'key'], 'ecdsa-p384']],
        args: ['ca', '--force', '--yes'],
      },
      "goes where it is another node's, though names change": {
        edits: [elsewhere],
        spoil: (auth) => cpSync(key(auth, 'control0'), key(auth, 'worker0')),
      },
    }
    for (const [title, { edits = [], args, spoil }] of Object.entries({ ...stays, ...goes }))
      test(title, async (t) => {
        const { place, auth } = copyPlace(t, origin, [...oneOfEach, ...edits])
        spoil?.(auth)
        const old = readFileSync(key(auth, 'worker0'), 'utf8')
        const certificate = readFileSync(join(auth, 'worker0.pem'), 'utf8')
        if (args) await exits(0, place, ...args)
        await exits(0, place, 'node-certs')
        assert.notEqual(readFileSync(join(auth, 'worker0.pem'), 'utf8'), certificate)
        assert.equal(readFileSync(key(auth, 'worker0'), 'utf8') === old, title in stays)
        assert.equal(lstatSync(key(auth, 'worker0')).mode & 0o777, 0o600)
        openssl('verify', '-x509_strict', '-CAfile', join(auth, 'ca.pem'), join(auth, 'worker0.pem'))
        const again = await harderway(place, 'node-certs', '--json')
        assert.deepEqual([again.status, idsOf(again, 'built')], [0, []])
      })
  })
})

/** Of the same key and subject, in UTF8Strings: openssl's own way. */
function recertify(auth: string, ...extensions: readonly string[]): void {
  const { attributes } = certificateIn(auth, 'ca')
  const added = ['keyUsage=critical,keyCertSign,cRLSign', ...extensions].flatMap((each) => ['-addext', each])
  const subject = attributes.map((attribute) => `/${attribute}`).join('')
  const files = ['-key', join(auth, 'ca-key.pem'), '-out', join(auth, 'ca.pem')]
  openssl('req', '-x509', '-new', ...files, '-subj', subject, '-days', '3650', ...added)
}

const keysIn = (auth: string) => leaves.map((name) => readFileSync(join(auth, `${name}-key.pem`), 'utf8'))
const certificatesIn = (auth: string) => leaves.map((name) => readFileSync(join(auth, `${name}.pem`), 'utf8'))

/** kubectl, with ca.pem, dials a server with the API's certificate. */
async function dial(place: string, auth: string): Promise<void> {
  const pair = ['-cert', join(auth, 'kubernetes.pem'), '-key', join(auth, 'kubernetes-key.pem')]
  const args = ['s_server', '-accept', '127.0.0.1:0', ...pair, '-www']
  await using server = await startServer('openssl', args, /^ACCEPT 127\.0\.0\.1:(\d+)$/m)
  const url = `--server=https://127.0.0.1:${server.ready[1]}`
  const ca = `--certificate-authority=${join(auth, 'ca.pem')}`
  kubectl(join(place, 'home'), ['get', '--raw=/', url, ca, '--token=none'])
}
