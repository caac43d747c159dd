import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { after, describe, type TestContext, test } from 'node:test'
import * as v from 'valibot'
import { Failure } from '../../../lib/failure.ts'
import { Client } from '../../../lib/kubernetes/client.ts'
import { leafProfile, servingAuth } from '../../support/certificates.ts'

const secret = 'bXkgcGFzc3dvcmQ='

const auth = await servingAuth({ after }, leafProfile({ sans: ['127.0.0.1'] }), 'server')

describe('requests to a server on a node', () => {
  /** A client of a server that answers so. */
  const clientOf = async (t: TestContext, answer: Parameters<typeof createServer>[1]) => {
    const own = { cert: auth.bytes('server.pem'), key: auth.bytes('server-key.pem') }
    const server = createServer(own, answer).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const client = new Client({
      open: async () => connect(port, '127.0.0.1'),
      address: '127.0.0.1',
      trust: auth.bytes('ca.pem'),
      as: { certificate: auth.bytes('server.pem'), key: auth.bytes('server-key.pem') },
    })
    t.after(() => {
      client.close()
      server.closeAllConnections()
      server.close()
    })
    return client
  }
  const failure = (pattern: RegExp) => (error: unknown) =>
    error instanceof Failure &&
    pattern.test(error.message) &&
    !JSON.stringify([error.message, error.remedy]).includes(secret)

  test('give the object of the answer, over a connection that is kept', async (t) => {
    const ports = new Set<number | undefined>()
    const client = await clientOf(t, (request, response) => {
      ports.add(request.socket.remotePort)
      request.resume().on('end', () => response.end(JSON.stringify({ method: request.method, url: request.url })))
    })
    assert.deepEqual(await client.read(v.unknown(), 'GET', '/a'), { method: 'GET', url: '/a' })
    assert.deepEqual(await client.read(v.unknown(), 'POST', '/b', { c: 1 }), { method: 'POST', url: '/b' })
    assert.equal(ports.size, 1)
  })

  test('fail where the answer is no JSON, or of another form, and quote nothing of it', async (t) => {
    for (const body of [`{"data":{"password":"${secret}"`, `"${secret}"`, 'null', '['.repeat(1_000_000)]) {
      const client = await clientOf(t, (_, response) => response.end(body))
      await assert.rejects(client.read(v.object({}), 'GET', '/'), failure(/GET \/ answers in an unexpected form/))
    }
  })

  test('fail with the status of any other answer than 2xx, and quote nothing of it', async (t) => {
    const client = await clientOf(t, (_, response) => response.writeHead(403).end(secret))
    await assert.rejects(client.readText('GET', '/'), failure(/^GET \/ answers 403$/))
  })

  test('end where more comes than an answer can be, or it breaks off', async (t) => {
    const chunk = Buffer.alloc(1 << 20, 'x')
    const endless = await clientOf(t, (_, response) => {
      const more = (error?: Error | null) => error || response.write(chunk, more)
      more()
    })
    await assert.rejects(endless.readText('GET', '/'), failure(/answer is too long/))
    const broken = await clientOf(t, (_, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('{', () => response.destroy())
    })
    await assert.rejects(broken.readText('GET', '/'), Failure)
  })
})
