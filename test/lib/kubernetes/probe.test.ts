import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, connect, createServer as createTcp, type Server, type Socket } from 'node:net'
import { after, describe, type TestContext, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { ask, readServed } from '../../../lib/kubernetes/client.ts'
import type { Credentials } from '../../../lib/pki/handshake.ts'
import { leafProfile, servingAuth } from '../../support/certificates.ts'

const auth = await servingAuth({ after }, leafProfile({ sans: ['127.0.0.1'] }), 'server', 'client')

describe('a question to a component, through a stream of its own', () => {
  const pairOf = (name: string): Credentials => ({
    certificate: auth.bytes(`${name}.pem`),
    key: auth.bytes(`${name}-key.pem`),
  })

  const listen = async (t: TestContext, server: Server): Promise<number> => {
    const open = new Set<Socket>()
    server.on('connection', (socket) => open.add(socket.on('error', () => {})))
    server.listen(0, '127.0.0.1')
    t.after(() => {
      for (const socket of open) socket.destroy()
      server.close()
    })
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const tunnel = (port: number): Socket => connect(port, '127.0.0.1')
  const question = (port: number, more: object = {}) => ({
    open: () => tunnel(port),
    address: '127.0.0.1',
    trust: auth.bytes('ca.pem'),
    as: pairOf('client'),
    signal: AbortSignal.timeout(30_000),
    path: '/healthz',
    ...more,
  })
  const options = () => ({
    cert: auth.bytes('server.pem'),
    key: auth.bytes('server-key.pem'),
    ca: auth.bytes('ca.pem'),
  })
  const refused = (pattern: RegExp) => (error: unknown) => error instanceof Failure && pattern.test(error.message)

  test('gets the answer and the certificate, whether the server then closes or not', async (t) => {
    const served = new X509Certificate(auth.bytes('server.pem')).raw
    for (const connection of ['close', 'keep-alive']) {
      const server = createServer({ ...options(), requestCert: true }, (request, response) => {
        response.writeHead(request.url === '/healthz' ? 200 : 404, { connection }).end('ok')
      })
      const port = await listen(t, server)
      for (let i = 0; i < 5; i++) {
        const { date: _, ...reply } = await ask(question(port))
        assert.deepEqual(reply, { status: 200, body: 'ok', served }, connection)
      }
    }
  })

  test('gets it without TLS', async (t) => {
    const port = await listen(
      t,
      createPlain((_, response) => response.end('ok')),
    )
    const { date: _, ...reply } = await ask(question(port, { isPlain: true }))
    assert.deepEqual(reply, { status: 200, body: 'ok', served: undefined })
  })

  test('refuses a server of another CA or address, and tells what one refuses', async (t) => {
    const port = await listen(
      t,
      createServer(options(), (_, response) => response.end('ok')),
    )
    await assert.rejects(ask(question(port, { trust: pairOf('client').certificate })), refused(/not issued by/))
    await assert.rejects(ask(question(port, { address: '127.0.0.2' })), refused(/127\.0\.0\.2/))
    const strict = await listen(t, createServer({ ...options(), requestCert: true, rejectUnauthorized: true }))
    await assert.rejects(
      ask(question(strict, { as: undefined })),
      refused(/certificate required|closed|ECONNRESET|hang up/i),
    )
    // With TLS 1.3 that client has seen the server's certificate by then.
    assert.deepEqual(
      await readServed(question(strict, { as: undefined })),
      new X509Certificate(auth.bytes('server.pem')).raw,
    )
    assert.equal((await ask(question(port, { trust: 'anyone', address: '127.0.0.2' }))).status, 200)
  })

  test('is no answer where none comes, junk comes, or nothing listens', async (t) => {
    const silent = await listen(
      t,
      createTcp(() => {}),
    )
    const soon = () => AbortSignal.timeout(200)
    await assert.rejects(ask(question(silent, { signal: soon() })), Failure)
    await assert.rejects(readServed(question(silent, { signal: soon() })), refused(/did not answer in time/))
    const junk = await listen(
      t,
      createTcp((socket) => socket.end('SSH-2.0-junk\r\n'.repeat(1000))),
    )
    await assert.rejects(ask(question(junk)), Failure)
    await assert.rejects(readServed(question(junk)), Failure)
    await assert.rejects(readServed(question(1)), Failure)
  })
})
