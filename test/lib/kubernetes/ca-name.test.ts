import assert from 'node:assert/strict'
import { createPublicKey, type KeyObject } from 'node:crypto'
import { test } from 'node:test'
import { type Certificate, isIssuedBy, readCertificate } from '../../../lib/pki/certificate.ts'
import {
  encodeSubject,
  generatePrivateKey,
  type IssuerName,
  issueCertificate,
  issuerNameIn,
  issuerNameOf,
  selfSign,
} from '../../../lib/pki/x509.ts'
import { attribute, sequence } from '../../support/altered.ts'
import { caProfile, leafProfile, now, year } from '../../support/cluster-auth.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const [key, otherKey, leafKey] = await Promise.all([1, 2, 3].map(() => generatePrivateKey('ecdsa-p256')))
assert.ok(key && otherKey && leafKey)
const publicKey = createPublicKey(key)
/** C=PL, O=Kubernetes, CN=Kubernetes, as openssl writes it. */
const utf8 = nameOf(0x0c, 'Kubernetes')
const keyId = Buffer.from('an identifier of its own')

function nameOf(tag: number, commonName: string): Buffer {
  return sequence(
    attribute('550406', 0x13, 'PL'),
    attribute('55040a', 0x0c, 'Kubernetes'),
    attribute('550403', tag, commonName),
  )
}

function read(pem: string): Certificate {
  const certificate = readCertificate(pem)
  assert.ok(certificate)
  return certificate
}

function leaf(name: IssuerName, privateKey: KeyObject = key as KeyObject): Certificate {
  const request = { profile: leafProfile(), publicKey: createPublicKey(leafKey as KeyObject), ...times }
  return read(issueCertificate(request, { ...name, privateKey }))
}

function made(...leaves: readonly Certificate[]): IssuerName | undefined {
  return issuerNameIn(leaves, publicKey, caProfile.subject)
}

test('certificates name their CA by its bytes, and so does the CA certificate that is made again from them', () => {
  const issued = leaf({ subject: utf8, keyId })
  const name = made(issued, issued)
  assert.deepEqual(name, { subject: utf8, keyId })
  const anew = read(selfSign({ profile: caProfile, ...times, name }, key))
  assert.deepEqual([anew.subject, anew.issuer, anew.subjectKeyId], [utf8, utf8, keyId])
  assert.equal(isIssuedBy(issued, anew), true)
  assert.equal(isIssuedBy(issued, read(selfSign({ profile: caProfile, ...times }, key))), false)
})

test('what another key signed says nothing of the CA', () => {
  assert.equal(made(leaf({ subject: utf8, keyId }, otherKey)), undefined)
  assert.deepEqual(
    made(leaf({ subject: encodeSubject(caProfile.subject), keyId }, otherKey), leaf({ subject: utf8, keyId })),
    {
      subject: utf8,
      keyId,
    },
  )
})

test('certificates that do not agree leave the name to cluster.yaml', () => {
  const printable = encodeSubject(caProfile.subject)
  assert.equal(made(), undefined)
  assert.equal(made(leaf({ subject: utf8, keyId }), leaf({ subject: printable, keyId })), undefined)
  assert.equal(made(leaf({ subject: utf8, keyId }), leaf({ subject: utf8, keyId: Buffer.from('other') })), undefined)
})

test('a name that is not wanted is not kept', () => {
  assert.equal(made(leaf({ subject: nameOf(0x0c, 'Other'), keyId })), undefined)
})

test('a name that Go would not read is not kept, neither of a certificate nor of what it issued', () => {
  const subject = { ...caProfile.subject, CN: 'kube_ca' }
  const refused = nameOf(0x13, 'kube_ca')
  assert.equal(issuerNameIn([leaf({ subject: refused, keyId })], publicKey, subject), undefined)
  const ca = (name: Buffer) => read(selfSign({ profile: caProfile, ...times, name: { subject: name, keyId } }, key))
  assert.equal(issuerNameOf(ca(refused)), undefined)
  assert.deepEqual(issuerNameOf(ca(utf8)), { subject: utf8, keyId })
})
