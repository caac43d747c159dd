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
import { freePorts, needs } from '../../support/programs.ts'

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
  { usages = 'serverAuth', san = 'IP:127.0.0.1', days = '2', ca = 'ca', presentsCa = false } = {},
): Promise<string> {
  writeFileSync(at('x.cnf'), `nsCertType = client\nextendedKeyUsage = ${usages}\nsubjectAltName = ${san}\n`)
  const signer = ca === 'itself' ? ['-signkey', at('x.key')] : ['-CA', at(`${ca}.crt`), '-CAkey', at(`${ca}.key`)]
  const by = [...signer, '-extfile', at('x.cnf')]
  const times = days === 'over' ? ['-not_before', '20200101000000Z', '-not_after', '20200102000000Z'] : ['-days', days]
  openssl('x509', '-req', '-in', at('x.csr'), ...by, ...times, '-out', at('x.crt'))
  const chain = ['x.crt', ...(presentsCa ? [`${ca}.crt`] : [])].map((file) => readFileSync(at(file)))
  const own = { certificate: Buffer.concat(chain), key: readFileSync(at('x.key')) }
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
  'of another CA that it presents': [{ ca: 'other', presentsCa: true }, /not issued by a trusted CA/],
  'of none but itself': [{ ca: 'itself' }, /not issued by a trusted CA/],
  'after its end': [{ days: 'over' }, /expired/],
}
for (const [what, [how, why]] of Object.entries(refused))
  test(`but not ${what}`, { skip }, async (t) => assert.match(await reach(t, how), why))

test('a port that is closed is an error, once', async () => {
  const [port = 0] = await freePorts(1)
  const server = { address: '127.0.0.1', trust: 'anyone', open: () => connect(port, '127.0.0.1') } as const
  const dialed = dial(server, 10_000)
  await assert.rejects(dialed, { code: 'ECONNREFUSED' })
})

test('a server is named as its address is, unless that is no name', async (t) => {
  const names: string[] = []
  const server = createServer({
    SNICallback: (name, done) => {
      names.push(name)
      done(null)
    },
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  for (const address of ['127.0.0.1', 'worker0']) {
    const peer = { address, trust: 'anyone', open: () => connect(port, '127.0.0.1') } as const
    await assert.rejects(dial(peer, 10_000))
  }
  assert.deepEqual(names, ['worker0'])
})
