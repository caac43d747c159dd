/** What status prints of the rights of whom the user's kubectl acts as. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import type { Run } from '../../../lib/graph/target.ts'
import { notesOnRights } from '../../../tasks/chapter/local-kubeconfig.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { twoNodes } from '../../support/fakes.ts'
import { parsed } from '../../support/files.ts'

test('how to give all rights is said until the API server says that they are given', async (t) => {
  const auth = temporaryAuth(t)
  const cluster = parsed(`name: kubenet
api: { virtualIP: 192.168.1.21 }
certificates: { key: ecdsa-p256 }
users: [{ name: jane, groups: [devs] }]
localKubeconfig: { as: jane }
nodes: [{ name: c0, role: control, ip: 192.168.1.11 }]
`)
  await makeEverything(auth, cluster, new Date())
  const served = { cert: auth.bytes('kubernetes.pem'), key: auth.bytes('kubernetes-key.pem') }
  const say = async (answer: object | undefined, of = cluster) => {
    const asked: unknown[] = []
    await using server = createServer(served, async (request, response) => {
      asked.push(JSON.parse(Buffer.concat(await Array.fromAsync(request)).toString()).spec)
      if (answer) response.writeHead(201).end(JSON.stringify({ status: answer }))
      else response.destroy()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const run = { cluster: of, auth, connect: async () => ({ tunnel: () => connect(port, '127.0.0.1') }) }
    const notes = await notesOnRights(run as unknown as Run)
    return { asked, said: notes.map(({ text }) => /name: jane-cluster-admin/.test(text)) }
  }
  const { asked, said } = await say({ allowed: false })
  assert.deepEqual(said, [true])
  assert.deepEqual(asked, [
    {
      ...{ user: 'jane', groups: ['devs', 'system:authenticated'] },
      resourceAttributes: { group: '*', resource: '*', verb: '*' },
    },
  ])
  assert.deepEqual((await say(undefined)).said, [true])
  assert.deepEqual((await say({ allowed: true })).said, [])
  assert.deepEqual(await say({ allowed: false }, twoNodes), { asked: [], said: [] })
})
