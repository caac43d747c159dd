import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { Client } from '../../../lib/kubernetes/client.ts'
import { rewrite } from '../../../tasks/rotations/encryption-key-rotation.ts'
import { leafProfile, servingAuth } from '../../support/certificates.ts'

test('an object goes back as the bytes that came, with numbers that JavaScript would round', async (t) => {
  const stored =
    '{"kind":"Widget", "spec":{"serial":9007199254740993,"ratio":1.0},"metadata":{"resourceVersion":"7"}}\n'
  const written: string[] = []
  const auth = await servingAuth(t, leafProfile({ sans: ['127.0.0.1'] }), 'server')
  const [cert, key] = [auth.bytes('server.pem'), auth.bytes('server-key.pem')]
  const server = createServer({ cert, key }, async (request, response) => {
    const sent = await text(request)
    if (request.method === 'PUT') written.push(`${request.headers['content-type']} ${sent}`)
    response.end(stored)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const open = () => connect(port, '127.0.0.1')
  const api = new Client({ open, address: '127.0.0.1', trust: auth.bytes('ca.pem') })
  t.after(() => {
    api.close()
    server.close()
  })
  await rewrite(api, '/apis/example.org/v1/widgets/a')
  assert.deepEqual(written, [`application/json ${stored}`])
})
