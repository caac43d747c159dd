import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { AuthDir } from '../../../lib/files/auth-dir.ts'
import type { CertSpec, Subject } from '../../../lib/pki/certificate.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import { generatePrivateKey, issueCertificate } from '../../../lib/pki/x509.ts'
import {
  caProfile,
  describe,
  leafProfile,
  makeCa,
  now,
  openssl,
  temporaryAuth,
  verify,
  year,
} from '../../support/certificates.ts'

const certificatePath = (auth: AuthDir, name: string) => join(auth.path, `${name}.pem`)

/** Paths of a CA and of a leaf that it signed. */
async function issue(t: TestContext, leaf: CertSpec, ca = caProfile) {
  const auth = temporaryAuth(t)
  await makeCa(auth, ca, 10 * year)
  await makePair(auth, 'w0', { profile: leaf, issuer: readIssuer(auth), now, validity: 10 * year })
  return { ca: certificatePath(auth, 'ca'), leaf: certificatePath(auth, 'w0'), key: certificatePath(auth, 'w0-key') }
}

const kinds = [
  ['rsa-2048', 'sha256WithRSAEncryption', 'RSA PRIVATE KEY', /Private-Key: \(2048 bit/],
  ['rsa-3072', 'sha384WithRSAEncryption', 'RSA PRIVATE KEY', /Private-Key: \(3072 bit/],
  ['rsa-4096', 'sha512WithRSAEncryption', 'RSA PRIVATE KEY', /Private-Key: \(4096 bit/],
  ['ecdsa-p256', 'ecdsa-with-SHA256', 'EC PRIVATE KEY', /NIST CURVE: P-256/],
  ['ecdsa-p384', 'ecdsa-with-SHA384', 'EC PRIVATE KEY', /NIST CURVE: P-384/],
] as const

for (const [key, algorithm, label, keyText] of kinds) {
  test(`an ${key} key is written as ${label}, belongs to its certificate and signs with ${algorithm}`, async (t) => {
    const made = await issue(t, leafProfile({ key }), { ...caProfile, key })
    verify(made.ca, [made.leaf], '-purpose', 'sslserver', '-verify_hostname', 'w0')
    assert.ok(describe(made.leaf).includes(`Signature Algorithm: ${algorithm}`))
    const pem = readFileSync(made.key, 'utf8')
    assert.ok(pem.startsWith(`-----BEGIN ${label}-----\n`) && pem.endsWith(`-----END ${label}-----\n`))
    assert.match(openssl('pkey', '-in', made.key, '-noout', '-text'), keyText)
    assert.equal(openssl('pkey', '-in', made.key, '-pubout'), openssl('x509', '-in', made.leaf, '-noout', '-pubkey'))
    // Encrypting a key to an elliptic curve is nothing that TLS does.
    const usages = key.startsWith('rsa') ? 'Digital Signature, Key Encipherment' : 'Digital Signature'
    assert.ok(describe(made.leaf).join().includes(`X509v3 Key Usage: critical,${usages},`))
  })
}

test("the hash is that of the signer's key, whatever the key that is certified", async (t) => {
  const made = await issue(t, leafProfile({ key: 'rsa-2048' }), { ...caProfile, key: 'ecdsa-p384' })
  verify(made.ca, [made.leaf], '-purpose', 'sslclient')
  assert.ok(describe(made.leaf).includes('Signature Algorithm: ecdsa-with-SHA384'))
})

test('a time is UTCTime to the last second of 2049 and GeneralizedTime from then on', async (t) => {
  const auth = temporaryAuth(t)
  await makeCa(auth, caProfile, 100 * year)
  const publicKey = createPublicKey(await generatePrivateKey('ecdsa-p256'))
  const notBefore = new Date('2049-12-31T23:59:59.999Z')
  for (const [notAfter, encoded] of [
    ['2049-12-31T23:59:59Z', 'UTCTIME           :491231235959Z'],
    ['2050-01-01T00:00:00Z', 'GENERALIZEDTIME   :20500101000000Z'],
    ['2126-10-31T11:55:00Z', 'GENERALIZEDTIME   :21261031115500Z'],
  ] as const) {
    const request = { profile: leafProfile(), publicKey, notBefore, notAfter: new Date(notAfter) }
    auth.write('w0.pem', issueCertificate(request, readIssuer(auth)), 0o644)
    const der = openssl('asn1parse', '-in', certificatePath(auth, 'w0'))
    assert.deepEqual(der.match(/(UTCTIME|GENERALIZEDTIME) +:\w+/g), ['UTCTIME           :491231235959Z', encoded])
  }
})

test('what PrintableString can not hold is UTF8String', async (t) => {
  const subject: Subject = {
    C: 'PL',
    ST: 'Lesser Poland',
    L: 'Kraków',
    O: 'a_b',
    OU: "x*y@z & 'w'",
    CN: "A-Z (0:9)/,.'+=?",
  }
  const made = await issue(t, leafProfile({ subject }))
  const strings = openssl('asn1parse', '-in', made.leaf).match(/(PRINTABLESTRING|UTF8STRING) +:.*/g) ?? []
  // The issuer's three come first.
  assert.deepEqual(
    strings.slice(3).map((line) => line.replace(/ +:/, ' ')),
    [
      'PRINTABLESTRING PL',
      'PRINTABLESTRING Lesser Poland',
      'UTF8STRING Kraków',
      'UTF8STRING a_b',
      "UTF8STRING x*y@z & 'w'",
      "PRINTABLESTRING A-Z (0:9)/,.'+=?",
    ],
  )
})
