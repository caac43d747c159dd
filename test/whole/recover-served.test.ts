/** recover compares the files of a control node with what its API server and etcd serve, where they run. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createServer as createPlain, type Server } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { createServer } from 'node:tls'
import { type Lab, startLab } from '../lab/lab.ts'
import { type Edit, harderway, labEdits, makePlace, type Ran, writeCluster } from '../support/harderway.ts'
import { needs } from '../support/programs.ts'

/** Of this process alone: what other tests listen on is elsewhere. */
const address = `127.${10 + (process.pid % 200)}.${(process.pid >> 8) % 256}.11`
const node = { name: 'control0', role: 'control', ip: address }
const told = ({ stdout, stderr }: Ran) => stdout + stderr

// What listens is read from /proc; and other systems have one address of 127.0.0.0/8.
const skip = process.platform === 'linux' ? needs('sshd', 'ssh', 'scp') : 'needs Linux'

describe('the files of a control node and what runs there', { skip }, () => {
  let place: string
  let lab: Lab
  let made: string
  let running: Server[]

  before(async () => {
    place = makePlace()
    made = join(place, 'made')
    lab = await startLab({ dir: join(place, 'lab'), nodes: [{ name: 'control0' }] })
    const edits: Edit[] = [...labEdits(lab), [['certificates', 'key'], 'ecdsa-p256'], [['nodes'], [node]]]
    writeCluster(place, edits)
    const first = await harderway(place, 'bootstrap')
    assert.equal(first.status, 0, told(first))
    renameSync(join(place, 'auth'), made)
    mkdirSync(join(place, 'other/home'), { recursive: true })
    writeCluster(join(place, 'other'), edits)
    assert.equal((await harderway(join(place, 'other'), 'cluster-cert')).status, 0)
  })
  beforeEach(() => {
    running = []
  })
  afterEach(async () => {
    for (const server of running) server.close()
    rmSync(join(place, 'auth'), { recursive: true, force: true })
  })
  after(async () => {
    await lab.stop()
    rmSync(place, { recursive: true, force: true })
  })

  async function listen(server: Server, port: number): Promise<void> {
    running.push(server.listen(port, address))
    await once(server, 'listening')
  }
  const serve = (auth: string, name: string, port: number, options: object = {}) => {
    const [cert, key] = ['.pem', '-key.pem'].map((ending) => readFileSync(join(auth, name + ending)))
    return listen(createServer({ cert, key, ...options }), port)
  }
  const recover = () => harderway(place, 'recover', '--node', 'control0')

  test('are taken where their CA signed what is served, by etcd to its own clients alone', async () => {
    await serve(made, 'kubernetes', 6443)
    const ca = readFileSync(join(made, 'ca.pem'))
    await serve(made, 'kubernetes', 2379, { ca, requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' })
    const ran = await recover()
    assert.equal(ran.status, 0, told(ran))
    assert.doesNotMatch(told(ran), /did not sign|port (2379|6443)/)
  })

  test('are not taken where another CA signed what is served: they are not what the cluster runs with', async () => {
    await serve(join(place, 'other/auth'), 'kubernetes', 6443)
    const ran = await recover()
    assert.equal(ran.status, 3, told(ran))
    assert.match(
      told(ran),
      /^nothing was taken from control0: .* on port 6443 serves a certificate that its CA did not sign$/m,
    )
    assert.match(told(ran), /recover --from DIR/)
    assert.equal(existsSync(join(place, 'auth/ca.pem')), false)
  })

  test('are taken where what listens serves none', async () => {
    await listen(
      createPlain((socket) => socket.end('no TLS')),
      2380,
    )
    const ran = await recover()
    assert.equal(ran.status, 0, told(ran))
  })
})
