import assert from 'node:assert/strict'
import { createPublicKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { readFields, verifySignature } from '../../../lib/pki/fields.ts'
import { encodeSubject, generatePrivateKey, issueCertificate } from '../../../lib/pki/x509.ts'
import { caProfile, leafProfile, now, year } from '../../support/cluster-auth.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const publicKey = createPublicKey(await generatePrivateKey('ecdsa-p256'))
const subject = encodeSubject(caProfile.subject)
const otherKeys = await Promise.all((['rsa-2048', 'ecdsa-p256', 'ecdsa-p384'] as const).map(generatePrivateKey))

for (const kind of ['rsa-2048', 'rsa-3072', 'rsa-4096', 'ecdsa-p256', 'ecdsa-p384'] as const)
  test(`a signature by ${kind} is what node:crypto says of it, wherever the certificate was changed`, async () => {
    const privateKey = await generatePrivateKey(kind)
    const key = createPublicKey(privateKey)
    const issuer = { subject, keyId: undefined, privateKey }
    const { raw } = new X509Certificate(issueCertificate({ profile: leafProfile(), publicKey, ...times }, issuer))
    assert.equal(await verifySignature(parse(raw) ?? assert.fail(), key), true)
    for (const other of otherKeys)
      assert.equal(await verifySignature(parse(raw) ?? assert.fail(), createPublicKey(other)), false)
    for (const at of raw.keys()) {
      const changed = Buffer.from(raw)
      changed.writeUInt8(raw.readUInt8(at) ^ (1 << (at & 7)), at)
      const parsed = parse(changed)
      if (parsed) assert.equal(await verifySignature(parsed, key), parsed.x509.verify(key), `byte ${at}`)
    }
  })

test('of many at once, each is told of its own', async () => {
  const privateKey = await generatePrivateKey('ecdsa-p256')
  const [key, other] = [createPublicKey(privateKey), createPublicKey(await generatePrivateKey('ecdsa-p256'))]
  const issuer = { subject, keyId: undefined, privateKey }
  const { raw } = new X509Certificate(issueCertificate({ profile: leafProfile(), publicKey, ...times }, issuer))
  const signed = parse(raw) ?? assert.fail()
  const isRight = Array.from({ length: 200 }, (_, i) => i % 3 !== 0)
  assert.deepEqual(await Promise.all(isRight.map((each) => verifySignature(signed, each ? key : other))), isRight)
})

/** Undefined where it is no certificate any more. */
function parse(der: Buffer) {
  try {
    return { x509: new X509Certificate(der), fields: readFields(der) }
  } catch {
    return undefined
  }
}
