import assert from 'node:assert/strict'
import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { canonicalAddress, specialUse } from '../../../lib/address.ts'
import type { KeyKind } from '../../../lib/cluster/cluster.ts'
import { keyKinds } from '../../../lib/cluster/schema.ts'
import { compareWithProfile, isIssuedBy, readCertificate } from '../../../lib/pki/certificate.ts'
import { generatePrivateKey, issueCertificate, selfSign } from '../../../lib/pki/x509.ts'
import { certTable } from '../../../tasks/layouts/tables.ts'
import { now, temporaryAuth, verify, year } from '../../support/certificates.ts'
import { parsed } from '../../support/files.ts'
import { fc } from '../../support/properties.ts'

const times = { notBefore: now, notAfter: new Date(now.getTime() + 10 * year) }

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$/)
const dnsName = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
/** Labels alone could be all digits, as no name of a host is. */
const hostName = fc.tuple(dnsName, fc.constantFrom('org', 'x', 'a-b', 'xn--p1ai')).map((parts) => parts.join('.'))
const address = fc.oneof(fc.ipV4(), fc.ipV6()).filter((each) => [undefined, 'loopback'].includes(specialUse(each)))
const san = fc.oneof(
  hostName,
  address,
  hostName.map((name) => `*.${name}`),
)

/** Up to 64 characters of any script; no control characters, and no space at either end. */
const subjectText = fc
  .string({ minLength: 1, maxLength: 64, unit: 'binary' })
  .filter((text) => [...text].length <= 64 && !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(text) && text.trim() === text)
const printableText = fc.stringMatching(/^[A-Za-z0-9'()+,./:=?_*@&-]{1,64}$/)
const text = fc.oneof(printableText, subjectText)

const node = fc.record({
  name: fc
    .stringMatching(/^[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?$/)
    .filter((name) => !name.endsWith('-key') && name !== 'ca' && name !== 'admin'),
  role: fc.constantFrom('control', 'worker', 'gateway'),
  ips: fc.uniqueArray(address, { minLength: 1, maxLength: 2, selector: canonicalAddress }),
  sans: fc.array(san, { maxLength: 3 }),
})

const clusterFile = fc.record({
  name: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,40}$/),
  domain: hostName,
  subject: fc.record(
    {
      country: fc.stringMatching(/^[A-Z]{2}$/),
      state: text,
      locality: text,
      organization: text,
      organizationalUnit: text,
    },
    { requiredKeys: [] },
  ),
  certificates: fc.record({
    key: fc.oneof(
      { weight: 6, arbitrary: fc.constant('ecdsa-p256') },
      { weight: 4, arbitrary: fc.constantFrom(...keyKinds) },
    ),
  }),
  api: fc.record({ host: fc.oneof(hostName, address), virtualIP: address, extraSANs: fc.array(san, { maxLength: 5 }) }),
  network: fc.record({
    serviceCIDR: fc.constantFrom('10.32.0.0/16', 'fd00:32::/108', ['10.32.0.0/16', 'fd00:32::/108']),
    clusterDomain: dnsName,
  }),
  nodes: fc
    .uniqueArray(node, { minLength: 1, maxLength: 20, selector: ({ name }) => name, size: 'max' })
    .map(([first, ...others]) => [{ ...first, role: 'control' }, ...others])
    .filter((nodes) => {
      const all = nodes.flatMap(({ ips = [] }) => ips.map(canonicalAddress))
      return new Set(all).size === all.length
    }),
})

/** Every name and every address under which the certificate should be accepted is one to OpenSSL inside Node. */
function assertNames(certificate: X509Certificate, sans: readonly string[]): void {
  for (const name of sans) {
    if (isIP(name) !== 0) assert.ok(certificate.checkIP(name), name)
    else assert.ok(certificate.checkHost(name.replace('*', 'any')), name)
  }
}

test('openssl accepts every certificate of every cluster for what it is for', async (t) => {
  const { path } = temporaryAuth(t)
  /** RSA keys take their time: two of each kind serve all. */
  const keys = new Map<string, { ca: KeyObject; leaf: KeyObject }>()
  const generateTwo = async (kind: KeyKind) => {
    const [ca, leaf] = await Promise.all([generatePrivateKey(kind), generatePrivateKey(kind)])
    keys.set(kind, { ca, leaf })
  }
  await Promise.all(keyKinds.map(generateTwo))

  const judge = (file: unknown) => {
    const cluster = parsed(JSON.stringify(file))
    const [ca, ...leaves] = certTable(cluster)
    const pair = keys.get(cluster.certificates.key)
    assert.ok(ca && pair)
    const caPem = selfSign({ profile: ca.profile, ...times }, pair.ca)
    writeFileSync(join(path, 'ca.pem'), caPem)
    const issued = readCertificate(caPem) ?? assert.fail()
    assert.deepEqual(compareWithProfile(issued, ca.profile), [])
    const issuer = { certificate: issued, privateKey: pair.ca }
    const paths = leaves.map(({ name, profile }) => {
      const pem = issueCertificate({ profile, publicKey: createPublicKey(pair.leaf), ...times }, issuer)
      const x509 = new X509Certificate(pem)
      const found = readCertificate(pem) ?? assert.fail()
      assert.deepEqual(compareWithProfile(found, profile), [])
      assert.ok(isIssuedBy(found, issued))
      assertNames(x509, profile.sans)
      assert.deepEqual({ ...x509.toLegacyObject().subject }, { ...profile.subject })
      writeFileSync(join(path, `${name}.pem`), pem)
      return { file: join(path, `${name}.pem`), serves: profile.usages?.includes('server') ?? true }
    })
    const judgeAs = (purpose: string, certificates: typeof paths) =>
      verify(
        join(path, 'ca.pem'),
        certificates.map(({ file }) => file),
        '-purpose',
        purpose,
      )
    judgeAs('sslclient', paths)
    judgeAs(
      'sslserver',
      paths.filter(({ serves }) => serves),
    )
    assert.throws(
      () => judgeAs('sslserver', paths.filter(({ serves }) => !serves).slice(0, 1)),
      /unsuitable certificate purpose/,
    )
  }
  fc.assert(fc.property(clusterFile, judge), { numRuns: 50 })
})
