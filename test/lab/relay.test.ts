import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type RelayBehaviour, startRelay } from './relay.ts'

/** A client connected through a relay to a server that sends back what it gets. */
async function startEcho(t: TestContext, behaviour: RelayBehaviour) {
  const server = createServer((socket) => socket.pipe(socket).on('error', () => {})).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay = await startRelay({ ...behaviour, targetPort: (server.address() as AddressInfo).port })
  const client = connect({ port: relay.port, host: '127.0.0.1', noDelay: true })
  await once(client, 'connect')
  t.after(async () => {
    client.destroy()
    await relay.close()
    server.close()
  })
  return { client, relay }
}

async function readAll(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

test('a delayed relay keeps order and passes on the end', async (t) => {
  const { client, relay } = await startEcho(t, { delayMs: 200 })
  const started = performance.now()
  for (let i = 0; i < 50; i += 1) {
    client.write(`${i} `)
    await new Promise(setImmediate)
  }
  client.end()
  assert.equal(await readAll(client), Array.from({ length: 50 }, (_, i) => `${i} `).join(''))
  // Two directions; one chunk after the other would be 50 times that.
  const took = performance.now() - started
  assert.ok(took >= 399 && took < 10_000, `took ${took} ms`)
  assert.equal(relay.connections, 1)
})

test('a change of delay does not reorder what is on its way', async (t) => {
  const { client, relay } = await startEcho(t, { delayMs: 60 })
  client.write('first ')
  await new Promise(setImmediate)
  relay.behave({ delayMs: 5 })
  client.end('second')
  assert.equal(await readAll(client), 'first second')
})

test('a relay drops a connection after so many bytes', async (t) => {
  const { client } = await startEcho(t, { dropAfterBytes: 15 })
  client.on('error', () => {})
  client.write('0123456789')
  // Ten there, five of them back.
  const got = await readAll(client).catch(() => '')
  assert.ok('01234'.startsWith(got), got)
})

test('a relay that hangs accepts and stays silent, and can begin to in mid-connection', async (t) => {
  const { client, relay } = await startEcho(t, {})
  client.write('a')
  assert.equal(String((await once(client, 'data'))[0]), 'a')
  relay.behave({ hang: true })
  let heard = false
  client.on('data', () => {
    heard = true
  })
  client.write('b')
  const second = connect({ port: relay.port, host: '127.0.0.1' })
  await once(second, 'connect')
  await relay.close()
  await Promise.all([client, second].map((socket) => socket.closed || once(socket, 'close')))
  assert.equal(heard, false)
  assert.equal(relay.connections, 2)
})
