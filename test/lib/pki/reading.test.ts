/** A leaf is read from its DER; what is accepted of it is what OpenSSL reads there, too. */
import assert from 'node:assert/strict'
import { createPublicKey, sign, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { isIssuedBy, readCertificate, readDerCertificate } from '../../../lib/pki/certificate.ts'
import { oids } from '../../../lib/pki/der.ts'
import { generatePrivateKey, issueCertificate, selfSign } from '../../../lib/pki/x509.ts'
import { altered, attribute, bytes, element, instead, more, oid, type Parts, sequence } from '../../support/altered.ts'
import { caProfile, leafProfile, now, temporaryAuth, year } from '../../support/cluster-auth.ts'
import { elements } from '../../support/der.ts'
import { openssl } from '../../support/openssl.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + year) }
const [caKey, leafKey] = [await generatePrivateKey('ecdsa-p256'), await generatePrivateKey('ecdsa-p256')]
const ca = readCertificate(selfSign({ profile: caProfile, ...times }, caKey)) ?? assert.fail()
const issuer = { subject: ca.subject, keyId: ca.subjectKeyId, privateKey: caKey }
const request = { profile: leafProfile(), publicKey: createPublicKey(leafKey), ...times }
const leaf = new X509Certificate(issueCertificate(request, issuer)).raw

const both = `${oids.serverAuth},${oids.clientAuth}`

type Kind = 'accepted' | 'refused' | 'unreadable'

const changedLeaf = 'the leaf'

function kindOf(der: Buffer, what = changedLeaf): Kind {
  const found = readDerCertificate(der)
  if (!found) return 'unreadable'
  const shown = `${what}: ${der.toString('base64')}`
  const x509 = byOpenSsl(der) ?? assert.fail(`OpenSSL does not read ${shown}`)
  if (found.refusals.length > 0) return 'refused'
  assert.equal(found.attributes.join('\n'), x509.subject?.replace(/\\([^0-9A-F])/g, '$1') ?? '', shown)
  assert.equal(found.isCa, x509.ca, shown)
  assert.equal(
    found.extKeyUsages.join() === both,
    x509.keyUsage?.join() === '1.3.6.1.5.5.7.3.1,1.3.6.1.5.5.7.3.2',
    shown,
  )
  assert.ok(found.publicKey.equals(x509.publicKey), shown)
  const isSigned = found.issuer.equals(ca.subject) && x509.verify(ca.publicKey)
  const isOurs = isIssuedBy(found, ca)
  assert.ok(isOurs ? isSigned : !(isSigned && x509.checkIssued(ca.x509)), shown)
  // OpenSSL finds no issuer for a leaf that has a malformed extension, whichever.
  if (what !== changedLeaf) assert.equal(isOurs, isSigned && x509.checkIssued(ca.x509), shown)
  return 'accepted'
}

function byOpenSsl(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der)
  } catch {
    return undefined
  }
}

const [authorityKeyId, extKeyUsage, basicConstraints, subjectAltName] = ['551d23', '551d25', '551d13', '551d11']
const [organization, commonName, surname] = ['55040a', '550403', '550404'] as const
const [serverAuth, clientAuth, codeSigning] = ['01', '02', '03'].map((last) => oid(`2b060105050703${last}`))
const usages = (...ids: readonly (Buffer | undefined)[]) =>
  instead(extKeyUsage, () => sequence(...ids.map((id) => id ?? assert.fail())))
const keyId = element(0x80, ca.subjectKeyId ?? assert.fail())
const named =
  (...sets: readonly Buffer[]) =>
  () => ({ subject: sequence(...sets) })

const forms: Readonly<Record<string, (parts: Parts) => Partial<Parts>>> = {
  'as ours are': () => ({}),
  'that names another key of its CA': instead(authorityKeyId, () => sequence(element(0x80, 'another'))),
  'that names no key of its CA': instead(authorityKeyId, () => sequence()),
  'that names its CA by name and serial number too': instead(authorityKeyId, () =>
    sequence(keyId, element(0xa1, element(0xa4, ca.subject)), element(0x82, bytes('07'))),
  ),
  'for clients alone': usages(clientAuth),
  'for clients before servers': usages(clientAuth, serverAuth),
  'for code too': usages(serverAuth, clientAuth, codeSigning),
  'that is a CA': instead(basicConstraints, () => sequence(element(0x01, bytes('ff')))),
  'that says that it is no CA': instead(basicConstraints, () => sequence(element(0x01, bytes('00')))),
  'with a name of an e-mail': instead(subjectAltName, () => sequence(element(0x81, 'a@b'))),
  'with a further extension': more('2a0304', sequence()),
  'with a further extension that is no DER': more('2a0304', bytes('deadbeef')),
  'with a name in letters of any script': named(attribute(commonName, 0x0c, 'ключ')),
  'with characters that OpenSSL escapes': named(
    attribute(organization, 0x0c, ' a\\b, "c" <d>; #e+f=g '),
    attribute(commonName, 0x13, 'x'),
  ),
  'with a control character': named(attribute(commonName, 0x0c, 'a\nO=system:masters')),
  'with an attribute that is not ours': named(attribute(surname, 0x0c, 'x')),
  'with a string of another type': named(attribute(commonName, 0x16, 'x')),
  'with an empty attribute': named(attribute(commonName, 0x0c, '')),
  'with two attributes in one set': named(
    element(
      0x31,
      sequence(oid(commonName), element(0x0c, 'x')),
      sequence(oid(organization), element(0x0c, 'system:masters')),
    ),
  ),
  'with an empty subject': named(),
  'of another issuer': () => ({ issuer: sequence(attribute(commonName, 0x0c, 'Kubernetes')) }),
}

for (const [what, alter] of Object.entries(forms))
  test(`a leaf ${what} is accepted, and read as OpenSSL reads it`, () => {
    assert.equal(kindOf(altered(leaf, alter, { key: caKey }), what), 'accepted')
  })

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

test('what openssl issues for those who follow a guide is accepted, its CA too', (t) => {
  const { path } = temporaryAuth(t)
  const file = (name: string) => join(path, name)
  const newKey = (name: string) => ['-newkey', 'rsa:2048', '-noenc', '-keyout', file(`${name}.key`), '-utf8']
  openssl('req', '-x509', ...newKey('ca'), '-out', file('ca.crt'), '-subj', '/C=PL/L=Kraków/CN=KUBERNETES_CA')
  openssl(
    'req',
    '-new',
    ...newKey('w0'),
    '-out',
    file('w0.csr'),
    '-subj',
    '/O=system:nodes/OU=Zażółć/CN=system:node:w0',
  )
  const madeBy = readCertificate(readFileSync(file('ca.crt'))) ?? assert.fail()
  assert.deepEqual(madeBy.refusals, [])
  for (const text of extensionFiles) {
    writeFileSync(file('extensions'), text)
    const ca = ['-CA', file('ca.crt'), '-CAkey', file('ca.key')]
    const found = readCertificate(openssl('x509', '-req', '-in', file('w0.csr'), ...ca, '-extfile', file('extensions')))
    assert.deepEqual(found?.refusals, [], text)
    assert.deepEqual(found.attributes, ['O=system:nodes', 'OU=Zażółć', 'CN=system:node:w0'])
    assert.ok(isIssuedBy(found, madeBy), text)
  }
})

/** DER as a tree, with what stands in octet strings. */
interface Node {
  readonly tag: number
  readonly content: Buffer | readonly Node[]
}

function parse({ tag, content }: { tag: number; content: Buffer }): Node {
  // A key identifier has 20 bytes, whichever.
  const nested = (tag & 0x20) !== 0 || (tag === 0x04 && content.length !== 20 && [0x04, 0x30].includes(content[0] ?? 0))
  return { tag, content: nested ? elements(content).map(parse) : content }
}

function format({ tag, content }: Node): Buffer {
  return Buffer.isBuffer(content) ? element(tag, content) : element(tag, ...content.map(format))
}

const strange: readonly Node[] = ['0500', '040178', '3000', '3100', '020101', '0101ff', 'a000', 'a200', '810100'].map(
  (text) => parse(elements(bytes(text))[0] ?? assert.fail()),
)

/** With one thing changed, anywhere in it. */
function* variants(node: Node): Generator<Node> {
  const { tag, content } = node
  for (const other of [
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1e, 0x30, 0x31, 0x80, 0x81, 0x82, 0x87,
    0xa0, 0xa3,
  ])
    yield { tag: other, content }
  if (Buffer.isBuffer(content)) {
    const [zero, none] = [Buffer.alloc(1), Buffer.alloc(0)]
    const others = [
      [],
      [content, content],
      [zero, content],
      [content, zero],
      [content.subarray(1)],
      [content.subarray(0, -1)],
    ]
    for (const parts of others) yield { tag, content: Buffer.concat([...parts, none]) }
    return
  }
  for (const i of [...content.keys(), content.length])
    for (const each of strange) yield { tag, content: content.toSpliced(i, 0, each) }
  for (const [i, each] of content.entries()) {
    yield { tag, content: content.toSpliced(i, 1) }
    yield { tag, content: content.toSpliced(i, 0, each) }
    if (i > 0) yield { tag, content: content.toSpliced(i - 1, 2, each, content[i - 1] ?? each) }
    for (const changed of variants(each)) yield { tag, content: content.with(i, changed) }
  }
}

test('whatever element of a leaf is changed, if it is accepted, it is read as OpenSSL reads it', () => {
  const whole = parse(elements(leaf)[0] ?? assert.fail())
  const count = { accepted: 0, refused: 0, unreadable: 0 }
  for (const changed of variants(whole)) {
    const der = format(changed)
    count[kindOf(der)]++
    const [tbs, algorithm, , ...others] = Buffer.isBuffer(changed.content) ? [] : changed.content
    if (!tbs || !algorithm) continue
    const signature = Buffer.concat([Buffer.alloc(1), sign('sha256', format(tbs), caKey)])
    const signed = format({ tag: changed.tag, content: [tbs, algorithm, { tag: 0x03, content: signature }, ...others] })
    count[kindOf(signed)]++
  }
  for (const each of Object.values(count)) assert.ok(each > 50, JSON.stringify(count))
})
