import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { createServer } from 'node:tls'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Run } from '../../../tasks/cluster-target.ts'
import { loadedConfigIn, readSelfMade } from '../../../tasks/inspect/component.ts'
import type { Unit } from '../../../tasks/layouts/layout.ts'
import { scratch } from '../../support/files.ts'
import { needs } from '../../support/programs.ts'

const id = 'apiserver_id_hash="sha256:4b86cfa719a83dd63a4dc6a9831edb2b59240d0f59cf215b2d51aacb3f5c395e"'

test('the digest of the encryption config that it has loaded is read, unless there are two', () => {
  const info = 'apiserver_encryption_config_controller_last_config_info'
  const [one, other] = ['a', 'b'].map((letter) => letter.repeat(64))
  const row = (hash: string | undefined) => `${info}{${id},hash="sha256:${hash}"} 1\n`
  assert.equal(loadedConfigIn(row(one)), one)
  assert.equal(loadedConfigIn(row(one).repeat(2)), one)
  for (const none of ['', row(one) + row(other), row('x'), `${info}{${id}} 1\n`, row(one).replace(info, `x${info}`)])
    assert.equal(loadedConfigIn(none), undefined, none)
})

test('what an API server made itself is dated, and is none where it has another name', {
  skip: needs('openssl'),
}, async (t) => {
  const folder = scratch(t)
  const name = 'apiserver-loopback-client'
  const make = (san: string) => {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    const made = [...curve, '-keyout', 'key.pem', '-out', 'x.pem']
    const args = ['req', '-x509', ...made, '-subj', '/CN=x', '-days', '2', '-addext', `subjectAltName=DNS:${san}`]
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
    const [cert = '', key = ''] = ['x.pem', 'key.pem'].map((file) => readFileSync(join(folder, file), 'latin1'))
    return { key, cert }
  }
  const lifeOf = async (pair: ReturnType<typeof make>) => {
    await using server = createServer(pair).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const tunnel = async () => connect(port, '127.0.0.1')
    const auth = { files: { names: {}, certificate: String, key: String }, tryBytes: () => undefined }
    const run = { auth, connect: async () => ({ tunnel }) } as unknown as Run
    const units = [{ serves: [{ port, name: 'x', selfMade: name }] }] as unknown as Unit[]
    return await readSelfMade({ run }, { ips: ['127.0.0.1'] } as ClusterNode, units)
  }
  const life = await lifeOf(make(name))
  assert.ok(life && Math.abs(life.notAfter.getTime() - Date.now() - 2 * 86_400_000) < 600_000)
  assert.equal(await lifeOf(make('kubernetes')), undefined)
})
