/** What is made here beside what the guide's own commands make of the guide's own requests: the same, byte for byte. */
import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { genauth } from '../guide/genauth.ts'
import { guideNodes, requests } from '../guide/requests.ts'
import { elementAt, elements, extensions } from '../support/certificates.ts'
import { exits, makePlace, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const nodes = guideNodes()
const leaves = [...requests(nodes).keys()]
/** They serve nothing. */
const clientsAlone = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'service-account']

// Under 2.5.29, as DER has it: RFC 5280, 4.2.1.
const [keyUsage, extKeyUsage, ski, aki] = ['551d0f', '551d25', '551d0e', '551d23'] as const

/** A folder made by the guide's commands beside one that is made here. */
interface Beside {
  readonly theirs: string
  readonly ours: string
}

describe("beside the guide's own commands", { skip: needs('cfssl', 'cfssljson', 'kubectl') }, () => {
  let place: string
  let at: Beside

  before(async () => {
    place = makePlace()
    at = { theirs: join(place, 'theirs'), ours: join(place, 'auth') }
    writeCluster(place, [[['certificates', 'key'], 'rsa-2048']])
    await exits(0, place, 'certs', 'kubeconfigs')
    await genauth(at.theirs)
  })
  after(() => rmSync(place, { recursive: true, force: true }))

  for (const name of ['ca', ...leaves])
    test(`${name}.pem is what cfssl makes, byte for byte, but for what is each certificate's own`, () => {
      const [theirs, ours] = [partsOf(at.theirs, name), partsOf(at.ours, name)]
      // The guide's profile is for all, the API server's too; a client that serves nothing has the usages of a client.
      const meant = clientsAlone.includes(name) ? [keyUsage, extKeyUsage] : []
      for (const parts of [theirs, ours]) for (const each of meant) delete parts[each]
      assert.deepEqual(ours, theirs)
      assert.deepEqual(Object.keys(ours), Object.keys(theirs), 'in the same order')
    })

  test('the key identifiers are made of the keys as cfssl makes them', () => {
    for (const auth of [at.theirs, at.ours])
      for (const name of leaves) {
        const key = certificate(auth, name).publicKey.export({ type: 'spki', format: 'der' })
        const bits = elementAt(key, 0, 1).content.subarray(1)
        assert.equal(keyId(auth, name, ski), createHash('sha1').update(bits).digest('hex'), name)
        assert.equal(keyId(auth, name, aki), keyId(auth, 'ca', ski), name)
      }
  })
})

/** The parts of a certificate that its key, its number and its moment do not decide, as hexadecimal DER. */
function partsOf(auth: string, name: string): Record<string, string> {
  const { raw } = certificate(auth, name)
  const [version, , signature, issuer, validity, subject, , ...optional] = elements(elementAt(raw, 0, 0).content)
  const fields = { version, signature, issuer, subject, 'key kind': elementAt(raw, 0, 0, 6, 0) }
  const tags = (parts: readonly { tag: number }[]) => parts.map(({ tag }) => tag.toString(16)).join(' ')
  return {
    ...Object.fromEntries(Object.entries(fields).map(([field, element]) => [field, hex(element?.whole)])),
    'outer signature': hex(elementAt(raw, 0, 1).whole),
    'forms of time': tags(elements(validity?.content ?? Buffer.alloc(0))),
    'optional fields': tags(optional),
    ...Object.fromEntries(
      extensions(raw).map(({ id, isCritical, value }) => [
        id,
        `${isCritical ? 'critical ' : ''}${id === ski || id === aki ? withoutKeyId(value) : hex(value)}`,
      ]),
    ),
  }
}

/** Twenty bytes, at the end of the extension. */
function keyId(auth: string, name: string, id: string): string {
  const extension = extensions(certificate(auth, name).raw).find((each) => each.id === id)
  return hex(extension?.value.subarray(-20))
}

function withoutKeyId(value: Buffer): string {
  return `${hex(value.subarray(0, -20))} and ${Math.min(20, value.length)} bytes`
}

function certificate(auth: string, name: string): X509Certificate {
  return new X509Certificate(read(auth, `${name}.pem`))
}

function read(auth: string, name: string): string {
  return readFileSync(join(auth, name), 'utf8')
}

function hex(bytes: Buffer | undefined): string {
  assert.ok(bytes)
  return bytes.toString('hex')
}
