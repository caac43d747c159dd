import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { Failure } from '../../../../lib/failure.ts'
import { secretMode } from '../../../../lib/files/plain-file.ts'
import { proveClient, waitUntilServed } from '../../../../tasks/day2/install/restart.ts'
import type { Run } from '../../../../tasks/target.ts'
import { kubeconfigOf, makeEverything, temporaryAuth } from '../../../support/certificates.ts'
import { twoNodes as cluster, control, unitOf } from '../../../support/fakes.ts'

const file = 'kube-proxy.kubeconfig'

test('an API server that is busy is asked again whether it accepts a new client certificate; a refusal is final', async (t) => {
  const auth = temporaryAuth(t)
  await makeEverything(auth, cluster, new Date())
  auth.write(file, kubeconfigOf(auth, 'kube-proxy'), secretMode)

  /** Undefined if one is accepted by an API server that answers so, one after the other, or closes the connection. */
  const prove = async (...answers: (number | 'closed')[]) => {
    const served = { cert: auth.bytes('kubernetes.pem'), key: auth.bytes('kubernetes-key.pem') }
    await using server = createServer(served, (_, response) => {
      const answer = answers.shift() ?? assert.fail('it was asked again')
      if (answer === 'closed') response.destroy()
      else response.writeHead(answer).end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const run = { cluster, auth, connect: async () => ({ tunnel: () => connect(port, '127.0.0.1') }) } as unknown as Run
    const on = { run, node: control, signal: new AbortController().signal, tell: () => {} }
    const error = await proveClient(on, file).then(
      () => undefined,
      (reason) => reason,
    )
    assert.deepEqual(answers, [])
    return error instanceof Failure ? error.what : error
  }
  assert.equal(await prove(200), undefined)
  assert.equal(await prove(500, 'closed', 503, 200), undefined)
  for (const status of [401, 403])
    assert.equal(
      await prove(500, status),
      `no API server accepts the client certificate in ${file} (c0 answers ${status})`,
    )
})

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
