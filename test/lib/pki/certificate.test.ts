import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  type Certificate,
  type CertSpec,
  compareWithProfile,
  isIssuedBy,
  readCertificate,
} from '../../../lib/pki/certificate.ts'
import { oids } from '../../../lib/pki/encoding.ts'
import {
  encodeSubject,
  generatePrivateKey,
  issueCertificate,
  subjectKeyId as keyIdOf,
  selfSign,
} from '../../../lib/pki/x509.ts'
import { caProfile, leafProfile, now, openssl, temporaryAuth, year } from '../../support/certificates.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const caKey = await generatePrivateKey('ecdsa-p256')
const leafKey = await generatePrivateKey('ecdsa-p256')
const caPem = selfSign({ profile: caProfile, ...times }, caKey)

function read(pem: string): Certificate {
  const certificate = readCertificate(pem)
  assert.ok(certificate)
  return certificate
}

const ca = read(caPem)

function leafPem(profile: CertSpec = leafProfile(), certificate = ca, privateKey = caKey): string {
  return issueCertificate({ profile, publicKey: createPublicKey(leafKey), ...times }, { certificate, privateKey })
}

/** What is said of a certificate made for one profile when another is asked for. */
function changes(asked: Partial<CertSpec>, made: Partial<CertSpec> = {}): string[] {
  return compareWithProfile(read(leafPem(leafProfile(made))), leafProfile(asked)).map(({ what }) => what)
}

test('a certificate says what it was made to say', () => {
  const sans = ['w0', '*.example.org', '10.0.0.3', 'fd00::3']
  const { der, x509, subject, issuer, subjectKeyId, publicKey, ...said } = read(leafPem(leafProfile({ sans })))
  assert.deepEqual(der, x509.raw)
  assert.deepEqual(subject, encodeSubject(leafProfile().subject))
  assert.deepEqual(issuer, ca.subject)
  assert.deepEqual(subjectKeyId, keyIdOf(createPublicKey(leafKey)))
  assert.ok(publicKey.equals(createPublicKey(leafKey)))
  assert.equal(x509.issuer, 'C=PL\nO=Kubernetes\nCN=Kubernetes')
  assert.deepEqual(said, {
    attributes: ['C=PL', 'O=system:nodes', 'CN=system:node:w0'],
    sans,
    isCa: false,
    maySignCas: false,
    keyUsage: 0x80,
    extKeyUsages: [oids.serverAuth, oids.clientAuth],
    ...times,
  })
})

test('an IPv6 address in another spelling is the same address', () => {
  assert.deepEqual(changes({ sans: ['FD00:0:0::0003'] }, { sans: ['fd00::3'] }), [])
})

test('names and addresses that are added and removed are named', () => {
  assert.deepEqual(changes({ sans: ['w0', 'w0.kubenet', '10.0.0.4'] }), [
    'adds SAN w0.kubenet, 10.0.0.4; drops SAN 10.0.0.3',
  ])
})

test('a CA where a leaf is asked for has other usages, and the other way round', () => {
  assert.deepEqual(
    compareWithProfile(ca, { ...caProfile, isCa: false }).map(({ what }) => what),
    ['key usages differ'],
  )
  assert.deepEqual(changes({ isCa: true }), ['key usages differ'])
})

test('a server certificate that is none of a client has other usages, and an address as a DNS name is none', (t) => {
  const auth = temporaryAuth(t)
  auth.write('key.pem', leafKey.export({ type: 'sec1', format: 'pem' }), 0o600)
  const extensions = [
    'keyUsage=critical,digitalSignature',
    'basicConstraints=critical,CA:FALSE',
    'subjectAltName=DNS:w0,IP:10.0.0.3',
  ]
  const said = (more?: string, usages?: CertSpec['usages']) => {
    const added = [...extensions, ...(more ? [more] : [])].flatMap((extension) => ['-addext', extension])
    const [key, subject] = [join(auth.path, 'key.pem'), '/C=PL/O=system:nodes/CN=system:node:w0']
    const pem = openssl('req', '-x509', '-new', '-key', key, '-subj', subject, ...added)
    return compareWithProfile(read(pem), { ...leafProfile(), usages }).map(({ what }) => what)
  }
  assert.deepEqual(said('extendedKeyUsage=serverAuth'), ['key usages differ'])
  assert.deepEqual(said(), ['key usages differ'])
  assert.deepEqual(said('extendedKeyUsage=serverAuth,clientAuth'), [])
  // One that has both is left as it is where one would do.
  assert.deepEqual(said('extendedKeyUsage=serverAuth,clientAuth', ['client']), [])
  assert.deepEqual(said('extendedKeyUsage=clientAuth', ['client']), [])
  for (const wrong of ['serverAuth', 'clientAuth,codeSigning', 'clientAuth,anyExtendedKeyUsage'])
    assert.deepEqual(said(`extendedKeyUsage=${wrong}`, ['client']), ['key usages differ'], wrong)
  extensions[2] = 'subjectAltName=DNS:w0,DNS:10.0.0.3'
  assert.deepEqual(said('extendedKeyUsage=serverAuth,clientAuth'), ['adds SAN 10.0.0.3; drops SAN DNS:10.0.0.3'])
})

test('naming the CA and its key identifier does not prove its signature', async () => {
  const forged = leafPem(leafProfile(), ca, await generatePrivateKey('ecdsa-p256'))
  assert.deepEqual(
    [forged, leafPem()].map((pem) => isIssuedBy(read(pem), ca)),
    [false, true],
  )
})

test('certificates name their CA by its bytes, and so does the CA certificate that is made again with them', (t) => {
  const auth = temporaryAuth(t)
  auth.write('key.pem', caKey.export({ type: 'sec1', format: 'pem' }), 0o600)
  const request = ['-key', join(auth.path, 'key.pem'), '-subj', '/C=PL/O=Kubernetes/CN=Kubernetes']
  const other = read(openssl('req', '-x509', '-new', ...request, '-addext', 'subjectKeyIdentifier=0102030405'))
  assert.notDeepEqual(other.subject, encodeSubject(caProfile.subject))
  const issued = read(leafPem(leafProfile(), other))
  const again = read(selfSign({ profile: caProfile, ...times, named: other }, caKey))
  assert.deepEqual([again.subject, again.issuer], [other.subject, other.subject])
  assert.deepEqual(again.subjectKeyId, Buffer.from('0102030405', 'hex'))
  assert.equal(isIssuedBy(issued, again), true)
  // Of the same key, with another identifier or other bytes in its name.
  assert.equal(isIssuedBy(read(leafPem()), again), false)
  assert.equal(isIssuedBy(issued, ca), false)
})

test('a CA may sign other CAs unless its path length is 0', (t) => {
  const auth = temporaryAuth(t)
  auth.write('key.pem', caKey.export({ type: 'sec1', format: 'pem' }), 0o600)
  const request = ['-x509', '-new', '-key', join(auth.path, 'key.pem'), '-subj', '/CN=CA']
  const maySign = (constraints: string) =>
    read(openssl('req', ...request, '-addext', `basicConstraints=critical,${constraints}`)).maySignCas
  assert.deepEqual(['CA:TRUE', 'CA:TRUE,pathlen:0', 'CA:TRUE,pathlen:1', 'CA:FALSE'].map(maySign), [
    true,
    false,
    true,
    false,
  ])
})

test('what is not a certificate is not read', () => {
  const [first = '', ...rest] = leafPem().split('\n')
  const cut = [first, ...rest.slice(2)].join('\n')
  for (const pem of ['', 'hello', first, cut, leafPem().slice(0, 200), leafPem().replace(/[A-Z]/g, 'A')])
    assert.equal(readCertificate(pem), undefined)
})
