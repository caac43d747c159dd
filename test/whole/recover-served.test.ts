/** recover and verify --from compare files with what a control node's API server and etcd serve, where they run. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createServer as createPlain, type Server } from 'node:net'
import { join } from 'node:path'
import { afterEach, before, beforeEach, describe, test } from 'node:test'
import { createServer } from 'node:tls'
import { type Edit, exits, harderway, labEdits, type Ran, withStatus, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

/** Of this process alone: what other tests listen on is elsewhere. */
const address = `127.${10 + (process.pid % 200)}.${(process.pid >> 8) % 256}.11`
const node = { name: 'control0', role: 'control', ip: address }
const told = ({ stdout, stderr }: Ran) => stdout + stderr

// What listens is read from /proc; and other systems have one address of 127.0.0.0/8.
const skip = process.platform === 'linux' ? needs('sshd', 'ssh', 'scp') : 'needs Linux'

describe('the files of a control node and what runs there', { skip }, () => {
  const suite = labPlace('control0')
  const { place } = suite
  let made: string
  let running: Server[]

  before(async () => {
    made = join(place, 'made')
    const edits: Edit[] = [...labEdits(suite.lab), [['certificates', 'key'], 'ecdsa-p256'], [['nodes'], [node]]]
    writeCluster(place, edits)
    await exits(0, place, 'bootstrap')
    renameSync(join(place, 'auth'), made)
    mkdirSync(join(place, 'other/home'), { recursive: true })
    writeCluster(join(place, 'other'), edits)
    await exits(0, join(place, 'other'), 'cluster-cert')
  })
  beforeEach(() => {
    running = []
  })
  afterEach(async () => {
    for (const server of running) server.close()
    rmSync(join(place, 'auth'), { recursive: true, force: true })
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
    const ran = await withStatus(0, recover())
    assert.doesNotMatch(told(ran), /did not sign|port (2379|6443)/)
  })

  test('are not taken where another CA signed what is served: they are not what the cluster runs with', async () => {
    await serve(join(place, 'other/auth'), 'kubernetes', 6443)
    const ran = await withStatus(3, recover())
    assert.match(
      told(ran),
      /^nothing was taken from control0: .* on port 6443 serves a certificate that the CA of control0 did not sign$/m,
    )
    assert.match(told(ran), /recover --from DIR/)
    assert.equal(existsSync(join(place, 'auth/ca.pem')), false)
  })

  test('are no proof for a backup that fits them, where what is served is of another CA', async () => {
    const verify = () => harderway(place, 'verify', '--from', made)
    await serve(made, 'kubernetes', 2379)
    await withStatus(0, verify())
    await serve(join(place, 'other/auth'), 'kubernetes', 6443)
    const ran = await withStatus(3, verify())
    assert.match(told(ran), /control0: .* on port 6443 serves a certificate that the CA of \S+made did not sign/)
  })

  test('are taken where what listens serves none', async () => {
    await listen(
      createPlain((socket) => socket.end('no TLS')),
      2380,
    )
    await withStatus(0, recover())
  })
})
