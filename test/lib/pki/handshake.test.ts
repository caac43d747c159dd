/** What the environment says of TLS changes no judgement. Each variable is tried in a process of its own. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import type { shakeHands } from '../../../lib/pki/handshake.ts'
import { leafProfile, servingAuth } from '../../support/certificates.ts'

const run = promisify(execFile)
const module = new URL('../../../lib/pki/handshake.ts', import.meta.url)
const seen = { seen: { user: 'system:node:w0', groups: ['system:nodes'] }, why: '' }
const makePlace = async () => (await servingAuth({ after }, leafProfile(), 'w0')).path
/** Of two CAs of the same name, each with a w0. */
const [ours, theirs] = [await makePlace(), await makePlace()]

interface Meeting {
  readonly server: string
  readonly client: string
  readonly dialled?: string
  readonly strict?: boolean
}

/**
 * One after the other in one process. Both sides trust the CA of the first folder, and show what is in the folders
 * given.
 */
async function meet(meetings: readonly Meeting[], env = {}): Promise<Awaited<ReturnType<typeof shakeHands>>[]> {
  const code = `
    const { readFileSync } = await import('node:fs')
    const { shakeHands } = await import(${JSON.stringify(module)})
    const party = (folder) => ({
      ca: readFileSync(${JSON.stringify(join(ours, 'ca.pem'))}),
      certificate: readFileSync(folder + '/w0.pem'),
      key: readFileSync(folder + '/w0-key.pem'),
    })
    const met = []
    for (const { server, client, dialled = 'w0', strict = false } of ${JSON.stringify(meetings)})
      met.push(await shakeHands({ server: party(server), client: party(client), dialled, strict }))
    console.log(JSON.stringify(met))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', code], {
    env: { PATH: process.env.PATH, ...env },
  })
  return JSON.parse(stdout)
}

const opensslConf = join(ours, 'openssl.cnf')
writeFileSync(
  opensslConf,
  `nodejs_conf = all\nopenssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nVerifyCAFile = ${theirs}/ca.pem\nMaxProtocol = TLSv1.2\n`,
)
const theirCa = join(theirs, 'ca.pem')

const environments: Readonly<Record<string, Record<string, string>>> = {
  'nothing set': {},
  'NODE_TLS_REJECT_UNAUTHORIZED=0': { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
  NODE_EXTRA_CA_CERTS: { NODE_EXTRA_CA_CERTS: theirCa },
  '--use-system-ca': { SSL_CERT_FILE: theirCa, NODE_OPTIONS: '--use-system-ca' },
  'OPENSSL_CONF with --openssl-shared-config': {
    OPENSSL_CONF: opensslConf,
    NODE_OPTIONS: '--openssl-shared-config',
  },
}

for (const [what, env] of Object.entries(environments))
  test(`with ${what}, who is right is seen, and who is not is refused`, async () => {
    const meetings = [
      { server: ours, client: ours },
      { server: theirs, client: ours },
      { server: ours, client: theirs },
      { server: ours, client: theirs, strict: true },
      { server: ours, client: ours, dialled: 'elsewhere' },
    ]
    const [right, server, lax, strict, name] = await meet(meetings, env)
    assert.deepEqual(right, seen)
    assert.deepEqual(server, { refused: 'not issued by a trusted CA' })
    assert.ok(lax && 'why' in lax && !lax.seen, JSON.stringify(lax))
    assert.ok(strict && 'refused' in strict, JSON.stringify(strict))
    assert.deepEqual(name, { refused: 'the server certificate has no SAN elsewhere' })
  })
