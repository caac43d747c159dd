/** A server is judged as Go does: by its usages, names, times and CA, and not by its Netscape certificate type. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { createServer } from 'node:tls'
import { dial } from '../../../lib/kubernetes/client.ts'
import { openssl } from '../../support/certificates.ts'
import { scratch } from '../../support/files.ts'
import { needs } from '../../support/programs.ts'

const skip = needs('openssl')
const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc']

const folder = scratch({ after })
const at = (name: string) => join(folder, name)
before(() => {
  if (skip) return
  for (const name of ['ca', 'other'])
    openssl('req', '-x509', ...ec, '-keyout', at(`${name}.key`), '-out', at(`${name}.crt`), '-subj', '/CN=CA')
  openssl('req', '-new', ...ec, '-keyout', at('x.key'), '-out', at('x.csr'), '-subj', '/CN=x')
})

/** Whether we connect to a server with a certificate of this content. */
async function reach(
  t: TestContext,
  { usages = 'serverAuth', san = 'IP:127.0.0.1', days = '2', ca = 'ca' } = {},
): Promise<string> {
  writeFileSync(at('x.cnf'), `nsCertType = client\nextendedKeyUsage = ${usages}\nsubjectAltName = ${san}\n`)
  const signer = ca === 'itself' ? ['-signkey', at('x.key')] : ['-CA', at(`${ca}.crt`), '-CAkey', at(`${ca}.key`)]
  const by = [...signer, '-extfile', at('x.cnf')]
  const times = days === 'over' ? ['-not_before', '20200101000000Z', '-not_after', '20200102000000Z'] : ['-days', days]
  openssl('x509', '-req', '-in', at('x.csr'), ...by, ...times, '-out', at('x.crt'))
  const own = { certificate: readFileSync(at('x.crt')), key: readFileSync(at('x.key')) }
  const server = createServer({ cert: own.certificate, key: own.key, requestCert: true, rejectUnauthorized: false })
  server.on('tlsClientError', () => {})
  server.on('secureConnection', (socket) => socket.end())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const peer = {
    open: () => connect(port, '127.0.0.1'),
    address: '127.0.0.1',
    trust: readFileSync(at('ca.crt')),
    as: own,
  }
  return dial(peer, 10_000).then(
    async (socket) => {
      await once(socket.resume(), 'close')
      return 'reached'
    },
    (error) => error.message,
  )
}

test('a server whose Netscape type says client is accepted', { skip }, async (t) =>
  assert.equal(await reach(t), 'reached'),
)

const refused: Readonly<Record<string, readonly [Parameters<typeof reach>[1], RegExp]>> = {
  'where its usages say so too': [{ usages: 'clientAuth' }, /invalid purpose/],
  'under another name': [{ san: 'IP:127.0.0.2' }, /invalid purpose/],
  'of another CA of the same name': [{ ca: 'other' }, /not issued by a trusted CA/],
  'of none but itself': [{ ca: 'itself' }, /not issued by a trusted CA/],
  'after its end': [{ days: 'over' }, /expired/],
}
for (const [what, [how, why]] of Object.entries(refused))
  test(`but not ${what}`, { skip }, async (t) => assert.match(await reach(t, how), why))
