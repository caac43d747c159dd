import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { test } from 'node:test'
import { readPrivateKey } from '../../../lib/pki/pair.ts'
import { generatePrivateKey, privateKeyPem, selfSign } from '../../../lib/pki/x509.ts'
import { caProfile, now, year } from '../../support/certificates.ts'

const leafKey = await generatePrivateKey('ecdsa-p256')
const caKey = await generatePrivateKey('ecdsa-p256')
const caPem = selfSign({ profile: caProfile, notBefore: now, notAfter: new Date(now.getTime() + year) }, caKey)

test('of a file with two keys none is read: one that reads it may take the other', () => {
  const sec1 = privateKeyPem(leafKey)
  assert.ok(readPrivateKey(sec1))
  assert.equal(readPrivateKey(sec1 + privateKeyPem(caKey)), undefined)
})

test('a key is read without a passphrase or not at all', () => {
  const sec1 = leafKey.export({ type: 'sec1', format: 'pem' })
  const encrypted = leafKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  assert.ok(readPrivateKey(sec1)?.equals(leafKey))
  assert.ok(readPrivateKey(leafKey.export({ type: 'pkcs8', format: 'pem' }))?.equals(leafKey))
  for (const pem of ['', 'hello', encrypted, caPem, sec1.slice(0, 100)]) assert.equal(readPrivateKey(pem), undefined)
})

test('a key with the parameters of its curve is not read, as Go does not', () => {
  const parameters = { namedCurve: 'P-256', paramEncoding: 'explicit' } as const
  const pem = generateKeyPairSync('ec', parameters).privateKey.export({ type: 'sec1', format: 'pem' })
  assert.equal(readPrivateKey(pem.toString()), undefined)
})

test('a key is read by its label: Kubernetes takes what stands under it for that, and for nothing else', () => {
  const sec1 = leafKey.export({ type: 'sec1', format: 'pem' }).toString()
  for (const label of ['PRIVATE KEY', 'RSA PRIVATE KEY', 'ENCRYPTED PRIVATE KEY'])
    assert.equal(readPrivateKey(sec1.replaceAll('EC PRIVATE KEY', label)), undefined, label)
  assert.ok(readPrivateKey(sec1.replaceAll('\n', '\r\n'))?.equals(leafKey))
  assert.ok(readPrivateKey(`words\n${sec1}more words\n`)?.equals(leafKey))
})

test('a secret that is none of the curve is not read, whatever stands beside it', () => {
  const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'
  const der = leafKey.export({ type: 'sec1', format: 'der' }).toString('hex')
  const secret = der.slice(14, 78)
  for (const other of ['0'.repeat(64), order, 'f'.repeat(64)]) {
    const base64 = Buffer.from(der.replace(secret, other), 'hex').toString('base64')
    assert.equal(readPrivateKey(`-----BEGIN EC PRIVATE KEY-----\n${base64}\n-----END EC PRIVATE KEY-----\n`), undefined)
  }
})

for (const kind of ['ecdsa-p256', 'ecdsa-p384', 'rsa-2048'] as const)
  test(`a key of ${kind} of which a bit was changed is not read, or signs what its public half verifies`, async () => {
    const pem = privateKeyPem(await generatePrivateKey(kind))
    const [, label = ''] = /BEGIN (.*)-----/.exec(pem) ?? []
    const der = Buffer.from(pem.replace(/-----.*-----/g, ''), 'base64')
    const changed = Array.from({ length: der.length }, (_, at) => {
      const other = Buffer.from(der)
      other.writeUInt8(der.readUInt8(at) ^ (1 << (at & 7)), at)
      return readPrivateKey(`-----BEGIN ${label}-----\n${other.toString('base64')}\n-----END ${label}-----\n`)
    })
    const read = changed.filter((key) => key !== undefined)
    for (const key of read) assert.ok(verify('sha256', der, createPublicKey(key), sign('sha256', der, key)))
    assert.ok(read.length < 20, `${read.length} of ${der.length} are read`)
  })
