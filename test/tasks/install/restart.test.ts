import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import type { Run } from '../../../tasks/cluster-target.ts'
import { waitUntilServed } from '../../../tasks/install/restart.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { twoNodes as cluster, control, unitOf } from '../../support/fakes.ts'

test('a unit has to serve its new certificate in time, or it needs a restart', async (t) => {
  const auth = temporaryAuth(t)
  await makeEverything(auth, cluster, new Date())
  const pairOf = (name: string) => ({ cert: auth.bytes(`${name}.pem`), key: auth.bytes(`${name}-key.pem`) })
  const [old, renewed] = [pairOf('admin'), pairOf('kubernetes')]
  await using server = createServer(old).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const isServed = async (timeout: number) => {
    const install = { ...cluster.install, timeout }
    const run = {
      ...{ cluster: { ...cluster, install }, auth },
      connect: async () => ({ tunnel: () => connect(port, '127.0.0.1') }),
    } as unknown as Run
    const on = { run, node: control, signal: new AbortController().signal, tell: () => {} }
    return waitUntilServed(on, { ...unitOf('kube-apiserver'), serves: [{ port, name: 'kubernetes' }] })
  }
  assert.equal(await isServed(100), false)
  const waited = isServed(60_000)
  server.setSecureContext(renewed)
  assert.equal(await waited, true)
})
