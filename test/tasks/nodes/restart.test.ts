import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import type { Run } from '../../../lib/graph/target.ts'
import { formatKubeconfig } from '../../../lib/kubernetes/kubeconfig.ts'
import { proveClient } from '../../../tasks/nodes/restart.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { parsed } from '../../support/files.ts'

const cluster = parsed(`name: kubenet
api: { virtualIP: 10.0.0.1 }
certificates: { key: ecdsa-p256 }
install: true
nodes:
  - { name: c0, role: control, ip: 10.0.0.2 }
  - { name: w0, role: worker, ip: 10.0.0.3 }
`)
const file = 'kube-proxy.kubeconfig'

test('an API server that is busy is asked again whether it accepts a new client certificate; a refusal is final', async (t) => {
  const auth = temporaryAuth(t)
  await makeEverything(auth, cluster, new Date())
  const [ca, certificate, key] = ['ca.pem', 'kube-proxy.pem', 'kube-proxy-key.pem'].map((name) => auth.bytes(name))
  const [node] = cluster.nodes
  if (!ca || !certificate || !key || !node) return assert.fail()
  const access = {
    cluster: 'kubenet',
    context: 'kubenet',
    user: 'system:kube-proxy',
    server: 'https://10.0.0.2:6443',
    ca,
    certificate,
    key,
  }
  auth.write(file, formatKubeconfig(access), secretMode)

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
    const on = { run, node, signal: new AbortController().signal, tell: () => {} }
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
      `no API server accepts the client certificate in ${file}: c0 answers ${status}`,
    )
})
