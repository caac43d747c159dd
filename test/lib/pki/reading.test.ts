/**
 * What is read from a certificate's DER beside OpenSSL is what OpenSSL reads there.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isIssuedBy, readCertificate } from '../../../lib/pki/certificate.ts'
import { openssl, temporaryAuth } from '../../support/certificates.ts'

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
