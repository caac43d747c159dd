import assert from 'node:assert/strict'
import { createPublicKey, X509Certificate } from 'node:crypto'
import { test } from 'node:test'
import { isIssuedBy, readCertificate, readDerCertificate } from '../../../lib/pki/certificate.ts'
import { generatePrivateKey, issueCertificate, selfSign } from '../../../lib/pki/x509.ts'
import { altered, attribute, bytes, element, extension, oid, type Parts, sequence } from '../../support/altered.ts'
import { caProfile, leafProfile, now, year } from '../../support/cluster-auth.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const [caKey, leafKey] = [await generatePrivateKey('ecdsa-p256'), await generatePrivateKey('ecdsa-p256')]
const ca = readCertificate(selfSign({ profile: caProfile, ...times }, caKey)) ?? assert.fail()
const issuer = { subject: ca.subject, keyId: ca.subjectKeyId, privateKey: caKey }
const leaf = new X509Certificate(
  issueCertificate({ profile: leafProfile(), publicKey: createPublicKey(leafKey), ...times }, issuer),
).raw

test('a leaf of ours is read without OpenSSL, and as OpenSSL reads it', () => {
  assert.equal(agreeOn(leaf, 'ours'), 'plain')
})

test('whatever bit of a leaf is changed, nothing is said of it that OpenSSL does not say', () => {
  const said = [...leaf.keys()].flatMap((at) =>
    Array.from({ length: 8 }, (_, bit) => {
      const changed = Buffer.from(leaf)
      changed.writeUInt8(leaf.readUInt8(at) ^ (1 << bit), at)
      return agreeOn(changed, `byte ${at}, bit ${bit}`)
    }),
  )
  // The signature, the times, the serial number and the names, of which most are still plain.
  for (const kind of ['plain', 'unusual', 'unreadable']) assert.ok(said.filter((each) => each === kind).length > 100)
})

const instead = (id: string, value: Buffer, critical?: string) => ({
  extensions: (old: readonly Buffer[]) =>
    old.map((each) => (each.includes(oid(id)) ? extension(id, value, critical) : each)),
})
const [authorityKeyId, extKeyUsage, basicConstraints] = ['551d23', '551d25', '551d13']
const keyId = element(0x80, ca.subjectKeyId ?? assert.fail())
const [serverAuth, clientAuth, codeSigning] = ['01', '02', '03'].map((last) => oid(`2b060105050703${last}`)) as [
  Buffer,
  Buffer,
  Buffer,
]
const [organization, commonName, surname] = ['55040a', '550403', '550404'] as const
const named = (subject: Buffer) => ({ subject })

const forms: Readonly<Record<string, Partial<Parts> | ReturnType<typeof instead>>> = {
  'names another key of its CA': instead(authorityKeyId, sequence(element(0x80, Buffer.alloc(20, 7)))),
  'names no key of its CA': instead(authorityKeyId, sequence()),
  'names its CA by name and serial number too': instead(
    authorityKeyId,
    sequence(keyId, element(0xa1, element(0xa4, ca.subject)), element(0x82, bytes('07'))),
  ),
  'is for clients alone': instead(extKeyUsage, sequence(clientAuth)),
  'is for clients before servers': instead(extKeyUsage, sequence(clientAuth, serverAuth)),
  'is for code too': instead(extKeyUsage, sequence(serverAuth, clientAuth, codeSigning)),
  'is a CA': instead(basicConstraints, sequence(element(0x01, bytes('ff'))), 'ff'),
  'says that it is no CA': instead(basicConstraints, sequence(element(0x01, bytes('00'))), 'ff'),
  'has letters of any script': named(sequence(attribute(commonName, 0x0c, 'ключ'))),
  'has characters that OpenSSL escapes': named(
    sequence(attribute(organization, 0x0c, ' a\\b, "c" <d>; #e+f=g '), attribute(commonName, 0x13, 'x')),
  ),
  'has a control character': named(sequence(attribute(commonName, 0x0c, 'a\nO=system:masters'))),
  'has an attribute that is not ours': named(sequence(attribute(surname, 0x0c, 'x'))),
  'has a string of another type': named(sequence(attribute(commonName, 0x16, 'x'))),
  'has an empty attribute': named(sequence(attribute(commonName, 0x0c, ''))),
  'has two attributes in one set': named(
    sequence(
      element(
        0x31,
        sequence(oid(commonName), element(0x0c, 'x')),
        sequence(oid(organization), element(0x0c, 'system:masters')),
      ),
    ),
  ),
  'has an empty subject': named(sequence()),
  'has another issuer': { issuer: sequence(attribute(commonName, 0x0c, 'Kubernetes')) },
  'has an issuer that is no name': { issuer: sequence(element(0x02, bytes('01'))) },
}

for (const [what, change] of Object.entries(forms))
  test(`of a leaf that ${what} nothing is said that OpenSSL does not say`, () => {
    const alter = ({ extensions }: Parts): Partial<Parts> =>
      typeof change.extensions === 'function'
        ? { extensions: change.extensions(extensions) }
        : (change as Partial<Parts>)
    agreeOn(altered(leaf, alter, { key: caKey }), what)
  })

/** Asserts that all is as OpenSSL says, whichever way it was read. */
function agreeOn(der: Buffer, what: string): 'plain' | 'unusual' | 'unreadable' {
  const found = readDerCertificate(der)
  const x509 = byOpenSsl(der)
  if (!found) return 'unreadable'
  assert.ok(x509, `${what}: OpenSSL does not read it`)
  const names = (found.attributes as string[]).join('\n')
  assert.equal(names, x509.subject?.replace(/\\([^0-9A-F])/g, '$1') ?? '', what)
  assert.equal(found.isCa, x509.ca, what)
  assert.deepEqual(found.extKeyUsages, x509.keyUsage ?? [], what)
  assert.ok(found.publicKey.equals(x509.publicKey), what)
  const isOurs = found.issuer.equals(ca.subject) && x509.checkIssued(ca.x509) && x509.verify(ca.publicKey)
  assert.equal(isIssuedBy(found, ca), isOurs, what)
  // It is asked for last: what is read lazily must be readable.
  assert.ok(found.x509.raw.equals(x509.raw), what)
  return found.isPlain ? 'plain' : 'unusual'
}

function byOpenSsl(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der)
  } catch {
    return undefined
  }
}
