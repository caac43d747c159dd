import assert from 'node:assert/strict'
import { createPublicKey, type KeyObject } from 'node:crypto'
import { test } from 'node:test'
import { type Certificate, isIssuedBy, readCertificate } from '../../../lib/pki/certificate.ts'
import { encodeSubject, generatePrivateKey, issueCertificate, issuerNameOf, selfSign } from '../../../lib/pki/x509.ts'
import { attribute, caProfile, leafProfile, now, sequence, year } from '../../support/certificates.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const [key, leafKey] = await Promise.all([1, 2].map(() => generatePrivateKey('ecdsa-p256')))
assert.ok(key && leafKey)
/** C=PL, O=Kubernetes, CN=Kubernetes, as openssl writes it. */
const utf8 = sequence(
  attribute('550406', 0x13, 'PL'),
  attribute('55040a', 0x0c, 'Kubernetes'),
  attribute('550403', 0x0c, 'Kubernetes'),
)
const keyId = Buffer.from('an identifier of its own')

function read(pem: string): Certificate {
  const certificate = readCertificate(pem)
  assert.ok(certificate)
  return certificate
}

function leaf(name: ReturnType<typeof issuerNameOf>): Certificate {
  const request = { profile: leafProfile(), publicKey: createPublicKey(leafKey as KeyObject), ...times }
  return read(issueCertificate(request, { ...name, privateKey: key as KeyObject }))
}

test('certificates name their CA by its bytes, and so does the CA certificate that is made again with them', () => {
  const issued = leaf({ subject: utf8, keyId })
  const anew = read(selfSign({ profile: caProfile, ...times, name: { subject: utf8, keyId } }, key))
  assert.deepEqual([anew.subject, anew.issuer, anew.subjectKeyId], [utf8, utf8, keyId])
  assert.deepEqual(issuerNameOf(anew), { subject: utf8, keyId })
  assert.equal(isIssuedBy(issued, anew), true)
  assert.equal(isIssuedBy(leaf({ subject: utf8, keyId: Buffer.from('another') }), anew), false)
  const printable = { subject: encodeSubject(caProfile.subject), keyId }
  assert.equal(isIssuedBy(issued, read(selfSign({ profile: caProfile, ...times, name: printable }, key))), false)
})
