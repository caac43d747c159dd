/** What is made here beside what the guide's own commands make of the guide's own requests: the same, byte for byte. */
import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { ecdsa, genauth, genkubeconfigs } from '../guide/genauth.ts'
import { components, guideNodes, requests, rsa } from '../guide/requests.ts'
import { elementAt, elements, extensions } from '../support/certificates.ts'
import { type Edit, exits, makePlace, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

const phases = ['certs', 'kubeconfigs', 'encryption-key']
const nodes = guideNodes()
const leaves = [...requests(nodes).keys()]
/** They serve nothing. */
const clientsAlone = ['admin', 'kube-scheduler', 'kube-controller-manager', 'kube-proxy', 'service-account']
const clients = [...Object.keys(components), ...nodes.map(({ name }) => name)]
const kinds = { 'rsa-2048': rsa, 'ecdsa-p256': ecdsa }

// Under 2.5.29, as DER has it: RFC 5280, 4.2.1.
const [keyUsage, extKeyUsage, ski, aki] = ['551d0f', '551d25', '551d0e', '551d23'] as const

/** A folder made by the guide's commands beside one that is made here. */
interface Beside {
  readonly theirs: string
  readonly ours: string
}

/** A difference that is meant, and why; `show` throws where it is not there. */
interface Difference {
  readonly what: string
  readonly why: string
  readonly show: (at: Beside, kind: keyof typeof kinds) => void
}

const differences: readonly Difference[] = [
  {
    what: 'no certificate outlives its CA, as those of the guide outlive theirs by five years',
    why: 'ca-csr.json has no expiry, and cfssl then takes five years',
    show: ({ theirs, ours }) => {
      const yearsOf = ({ validFromDate, validToDate }: X509Certificate) =>
        (validToDate.getTime() - validFromDate.getTime()) / (365 * 86_400_000)
      assert.deepEqual([yearsOf(certificate(theirs, 'ca')), yearsOf(certificate(ours, 'ca'))], [5, 10])
      for (const name of leaves) {
        assert.ok(certificate(theirs, name).validToDate > certificate(theirs, 'ca').validToDate, name)
        assert.ok(certificate(ours, name).validToDate <= certificate(ours, 'ca').validToDate, name)
      }
    },
  },
  {
    what: 'the usage of an ECDSA key is to sign, and not to encipher keys too',
    why: 'RFC 8813, section 3: keyEncipherment is not for such keys',
    show: ({ theirs, ours }, kind) => {
      const usages = { 'rsa-2048': ['030205a0', '030205a0'], 'ecdsa-p256': ['030205a0', '03020780'] }[kind]
      for (const name of leaves.filter((each) => !clientsAlone.includes(each)))
        assert.deepEqual(
          [theirs, ours].map((auth) => partsOf(auth, name)[keyUsage]),
          usages.map((usage) => `critical ${usage}`),
          name,
        )
    },
  },
  {
    what: 'a client that serves nothing has the usages of a client alone, which only signs',
    why: "the profile of ca-config.json is for all, the API server's too; RFC 5280, 4.2.1.12",
    show: ({ theirs, ours }) => {
      const [server, client] = ['06082b06010505070301', '06082b06010505070302']
      for (const name of clientsAlone) {
        const [their, our] = [theirs, ours].map((auth) => partsOf(auth, name))
        assert.deepEqual([their?.[extKeyUsage], our?.[extKeyUsage]], [`3014${server}${client}`, `300a${client}`], name)
        assert.deepEqual([their?.[keyUsage], our?.[keyUsage]], ['critical 030205a0', 'critical 03020780'], name)
      }
    },
  },
  {
    what: 'a serial number always has twenty bytes',
    why: 'its second bit is set, so that it is never shorter, nor zero',
    show: ({ ours }) => {
      for (const name of ['ca', ...leaves]) assert.match(certificate(ours, name).serialNumber, /^[4-7][0-9A-F]{39}$/)
    },
  },
  {
    what: 'the encryption config has the present name of its kind',
    why: 'v1 EncryptionConfig is an alias that was never meant',
    show: ({ theirs, ours }) => {
      const [old, present] = [theirs, ours].map(encryptionConfig)
      assert.deepEqual([old?.apiVersion, old?.kind], ['v1', 'EncryptionConfig'])
      assert.deepEqual([present?.apiVersion, present?.kind], ['apiserver.config.k8s.io/v1', 'EncryptionConfiguration'])
      assert.deepEqual(withoutSecret(present), withoutSecret(old))
    },
  },
  {
    what: 'the encryption config and the folder are closed to others',
    why: 'the config holds a key, and a shell writes it with the umask of the user',
    show: ({ theirs, ours }) => {
      const open = 0o666 & ~process.umask()
      assert.equal(lstatSync(join(theirs, 'encryption-config.yaml')).mode & 0o777, open)
      assert.equal(lstatSync(join(ours, 'encryption-config.yaml')).mode & 0o777, 0o600)
      assert.equal(lstatSync(ours).mode & 0o777, 0o700)
    },
  },
  {
    what: 'requests are neither needed nor left behind',
    why: 'cluster.yaml is what is asked for',
    show: ({ theirs, ours }) => {
      const isRequest = (name: string) => /(-csr|-config)\.json$|\.csr$/.test(name)
      assert.deepEqual(
        readdirSync(theirs).filter((name) => !isRequest(name)),
        readdirSync(ours).filter((name) => name !== '.gitignore'),
      )
    },
  },
]

for (const kind of ['rsa-2048', 'ecdsa-p256'] as const)
  describe(`beside the guide's own commands, with ${kind}`, { skip: needs('cfssl', 'cfssljson', 'kubectl') }, () => {
    let place: string
    let at: Beside

    before(async () => {
      place = makePlace()
      at = { theirs: join(place, 'theirs'), ours: join(place, 'auth') }
      const edit: Edit = [['certificates', 'key'], kind]
      writeCluster(place, [edit])
      await exits(0, place, ...phases)
      await genauth(at.theirs, { key: kinds[kind] })
    })
    after(() => rmSync(place, { recursive: true, force: true }))

    for (const name of ['ca', ...leaves])
      test(`${name}.pem is what cfssl makes, byte for byte, but for what is each certificate's own`, () => {
        const [theirs, ours] = [partsOf(at.theirs, name), partsOf(at.ours, name)]
        const isMeant = kind === 'ecdsa-p256' && name !== 'ca'
        // The table below tells of these.
        const meant = [...(isMeant ? [keyUsage] : []), ...(clientsAlone.includes(name) ? [keyUsage, extKeyUsage] : [])]
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

    for (const name of ['ca', 'admin', 'worker0'])
      test(`${name}-key.pem is a key in the form of cfssl's`, () => {
        const [theirs, ours] = [at.theirs, at.ours].map((auth) => ({
          armour: read(auth, `${name}-key.pem`).match(/^-----.*$/gm),
          ending: read(auth, `${name}-key.pem`).slice(-2),
          mode: statSync(join(auth, `${name}-key.pem`)).mode,
        }))
        assert.deepEqual(ours, theirs)
      })

    // Which keys are in it makes no difference to kubectl.
    if (kind === 'rsa-2048')
      test('each kubeconfig is what kubectl writes, byte for byte, but for preferences', async () => {
        const into = join(place, 'kubeconfigs')
        mkdirSync(into)
        await genkubeconfigs(at.ours, nodes, into)
        for (const name of clients) {
          const theirs = read(into, `${name}.kubeconfig`)
          // The old kubectl writes it, the new one does not, and neither reads it.
          assert.equal(read(at.ours, `${name}.kubeconfig`), theirs.replace('preferences: {}\n', ''), name)
        }
        assert.equal(readdirSync(into).length, clients.length)
      })

    for (const { what, why, show } of differences) test(`meant to differ: ${what} (${why})`, () => show(at, kind))
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

interface EncryptionConfig {
  readonly apiVersion: string
  readonly kind: string
  readonly resources: readonly { readonly resources: unknown; readonly providers: readonly unknown[] }[]
}

function encryptionConfig(auth: string): EncryptionConfig {
  return parse(read(auth, 'encryption-config.yaml'))
}

function withoutSecret(config: EncryptionConfig | undefined): string {
  return JSON.stringify(config?.resources).replace(/"secret":"[^"]{44}"/, '"secret":""')
}

function hex(bytes: Buffer | undefined): string {
  assert.ok(bytes)
  return bytes.toString('hex')
}
