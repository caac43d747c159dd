/**
 * What is read from a certificate's DER beside OpenSSL is what OpenSSL reads there.
 */
import assert from 'node:assert/strict'
import { createPublicKey, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isIssuedBy, readCertificate, readDerCertificate } from '../../../lib/pki/certificate.ts'
import { encodeSubject, generatePrivateKey, issueCertificate } from '../../../lib/pki/x509.ts'
import { caProfile, leafProfile, now, openssl, temporaryAuth, year } from '../../support/certificates.ts'

/** Lines of an extension file, as guides have them; the first is of OpenSSL's own openssl.cnf. */
const extensionFiles: readonly string[] = [
  `basicConstraints=CA:FALSE
   nsCertType=client,server
   nsComment=OpenSSL Generated Certificate
   subjectKeyIdentifier=hash
   authorityKeyIdentifier=keyid,issuer`,
  'authorityKeyIdentifier=keyid:always,issuer:always',
  'extendedKeyUsage=clientAuth',
  'basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none',
  'keyUsage=critical,digitalSignature,keyEncipherment\nsubjectAltName=DNS:w0,IP:10.0.0.3,email:copy',
]

test('what openssl issues for those who follow a guide is read', (t) => {
  const { path } = temporaryAuth(t)
  const file = (name: string) => join(path, name)
  const newKey = (name: string) => ['-newkey', 'rsa:2048', '-noenc', '-keyout', file(`${name}.key`), '-utf8']
  openssl('req', '-x509', ...newKey('ca'), '-out', file('ca.crt'), '-subj', '/C=PL/L=Kraków/CN=KUBERNETES_CA')
  const subject = '/O=system:nodes/OU=Zażółć/CN=system:node:w0'
  openssl('req', '-new', ...newKey('w0'), '-out', file('w0.csr'), '-subj', subject)
  const madeBy = readCertificate(readFileSync(file('ca.crt'))) ?? assert.fail()
  for (const text of extensionFiles) {
    writeFileSync(file('extensions'), text)
    const ca = ['-CA', file('ca.crt'), '-CAkey', file('ca.key')]
    const found = readCertificate(openssl('x509', '-req', '-in', file('w0.csr'), ...ca, '-extfile', file('extensions')))
    assert.deepEqual(found?.attributes, ['O=system:nodes', 'OU=Zażółć', 'CN=system:node:w0'])
    assert.ok(isIssuedBy(found, madeBy), text)
  }
})

test('of a leaf with one byte changed nothing is read as another than OpenSSL reads, and no harm is done', async () => {
  const privateKey = await generatePrivateKey('ecdsa-p256')
  const issuer = { subject: encodeSubject(caProfile.subject), keyId: undefined, privateKey }
  const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
  const request = { profile: leafProfile(), publicKey: createPublicKey(privateKey), ...times }
  const leaf = new X509Certificate(issueCertificate(request, issuer)).raw
  const count = { read: 0, unreadable: 0 }
  for (const at of leaf.keys())
    for (const bit of [0x01, 0x04, 0x20, 0x80]) {
      const changed = Buffer.from(leaf)
      changed.writeUInt8(leaf.readUInt8(at) ^ bit, at)
      const found = readDerCertificate(changed)
      count[found ? 'read' : 'unreadable']++
      if (!found) continue
      const { subjectAltName = '' } = new X509Certificate(changed)
      const isOurs = subjectAltName === 'DNS:w0, IP Address:10.0.0.3'
      assert.equal(found.sans.join() === 'w0,10.0.0.3', isOurs, `byte ${at}: ${subjectAltName}`)
    }
  for (const each of Object.values(count)) assert.ok(each > 20, JSON.stringify(count))
})
