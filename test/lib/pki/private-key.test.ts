import assert from 'node:assert/strict'
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

test('a key is read by its label: Kubernetes takes what stands under it for that, and for nothing else', () => {
  const sec1 = leafKey.export({ type: 'sec1', format: 'pem' }).toString()
  for (const label of ['PRIVATE KEY', 'RSA PRIVATE KEY', 'ENCRYPTED PRIVATE KEY'])
    assert.equal(readPrivateKey(sec1.replaceAll('EC PRIVATE KEY', label)), undefined, label)
  assert.ok(readPrivateKey(sec1.replaceAll('\n', '\r\n'))?.equals(leafKey))
  assert.ok(readPrivateKey(`words\n${sec1}more words\n`)?.equals(leafKey))
})
