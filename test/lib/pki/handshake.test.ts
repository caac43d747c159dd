/** What the environment says of TLS changes no judgement. Each variable is tried in a process of its own. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { certificatePem } from '../../../lib/pki/encoding.ts'
import type { shakeHands } from '../../../lib/pki/handshake.ts'
import { makePair, readIssuer } from '../../../lib/pki/pair.ts'
import {
  altered,
  bytes,
  caProfile,
  element,
  leafProfile,
  makeCa,
  temporaryAuth,
  year,
} from '../../support/certificates.ts'

const run = promisify(execFile)
const module = new URL('../../../lib/pki/handshake.ts', import.meta.url)
const seen = { seen: { user: 'system:node:w0', groups: ['system:nodes'] }, why: '' }

/** Of two CAs of the same name, each with a w0. */
interface Places {
  readonly ours: string
  readonly theirs: string
}

async function places(t: TestContext): Promise<Places> {
  const make = async () => {
    const auth = temporaryAuth(t)
    const now = new Date()
    await makeCa(auth, caProfile, 10 * year, now)
    await makePair(auth, 'w0', { profile: leafProfile(), issuer: readIssuer(auth), now, validity: year })
    return auth.path
  }
  return { ours: await make(), theirs: await make() }
}

interface Meeting {
  readonly server: string
  readonly client: string
  readonly dialled?: string
  readonly strict?: boolean
}

/** Both sides trust the CA of the first folder, and show what is in the folders given. */
async function meet(
  ours: string,
  { server, client, dialled = 'w0', strict = false }: Meeting,
  env = {},
): ReturnType<typeof shakeHands> {
  const code = `
    const { readFileSync } = await import('node:fs')
    const { shakeHands } = await import(${JSON.stringify(module)})
    const party = (folder) => ({
      ca: readFileSync(${JSON.stringify(join(ours, 'ca.pem'))}),
      certificate: readFileSync(folder + '/w0.pem'),
      key: readFileSync(folder + '/w0-key.pem'),
    })
    const { server, client, ...how } = ${JSON.stringify({ server, client, dialled, strict })}
    console.log(JSON.stringify(await shakeHands({ server: party(server), client: party(client), ...how })))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
    env: { PATH: process.env.PATH, ...env },
  })
  return JSON.parse(stdout)
}

const opensslConfig = ({ ours, theirs }: Places): string => {
  const file = join(ours, 'openssl.cnf')
  writeFileSync(
    file,
    `nodejs_conf = all\nopenssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nVerifyCAFile = ${theirs}/ca.pem\nMaxProtocol = TLSv1.2\n`,
  )
  return file
}

const environments: Readonly<Record<string, (places: Places) => Record<string, string>>> = {
  'nothing set': () => ({}),
  'NODE_TLS_REJECT_UNAUTHORIZED=0': () => ({ NODE_TLS_REJECT_UNAUTHORIZED: '0' }),
  NODE_EXTRA_CA_CERTS: ({ theirs }) => ({ NODE_EXTRA_CA_CERTS: join(theirs, 'ca.pem') }),
  'SSL_CERT_FILE with --use-openssl-ca': ({ theirs }) => ({
    SSL_CERT_FILE: join(theirs, 'ca.pem'),
    NODE_OPTIONS: '--use-openssl-ca',
  }),
  '--use-system-ca': ({ theirs }) => ({ SSL_CERT_FILE: join(theirs, 'ca.pem'), NODE_OPTIONS: '--use-system-ca' }),
  OPENSSL_CONF: (all) => ({ OPENSSL_CONF: opensslConfig(all) }),
  'OPENSSL_CONF with --openssl-shared-config': (all) => ({
    OPENSSL_CONF: opensslConfig(all),
    NODE_OPTIONS: '--openssl-shared-config',
  }),
  '--tls-max-v1.2': () => ({ NODE_OPTIONS: '--tls-max-v1.2' }),
  '--tls-cipher-list': () => ({ NODE_OPTIONS: '--tls-cipher-list=DEFAULT@SECLEVEL=5' }),
}

for (const [what, environment] of Object.entries(environments))
  test(`with ${what}, who is right is seen, and who is not is refused`, async (t) => {
    const all = await places(t)
    const { ours, theirs } = all
    const env = environment(all)
    const [right, server, lax, strict, name] = await Promise.all([
      meet(ours, { server: ours, client: ours }, env),
      meet(ours, { server: theirs, client: ours }, env),
      meet(ours, { server: ours, client: theirs }, env),
      meet(ours, { server: ours, client: theirs, strict: true }, env),
      meet(ours, { server: ours, client: ours, dialled: 'elsewhere' }, env),
    ])
    assert.deepEqual(right, seen)
    assert.deepEqual(server, { refused: 'not issued by the current CA' })
    assert.ok('why' in lax && !lax.seen, JSON.stringify(lax))
    assert.ok('refused' in strict, JSON.stringify(strict))
    assert.deepEqual(name, { refused: "elsewhere is not in the server certificate's SANs" })
  })

test('what Go refuses is refused on both sides, though OpenSSL lets it pass', async (t) => {
  const { ours, theirs } = await places(t)
  const [key, file] = [createPrivateKey(readFileSync(join(ours, 'ca-key.pem'))), join(theirs, 'w0.pem')]
  const { raw } = new X509Certificate(readFileSync(join(ours, 'w0.pem')))
  writeFileSync(file, certificatePem(altered(raw, () => ({ serialNumber: element(0x02, bytes('ff01')) }), { key })))
  writeFileSync(join(theirs, 'w0-key.pem'), readFileSync(join(ours, 'w0-key.pem')))
  const why = 'Kubernetes would refuse it: its serial number is negative'
  assert.deepEqual(await meet(ours, { server: theirs, client: ours }), { refused: why })
  assert.deepEqual(await meet(ours, { server: ours, client: theirs, strict: true }), { refused: why })
  assert.deepEqual(await meet(ours, { server: ours, client: theirs }), { why })
})
