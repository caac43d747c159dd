/** recover, and with --dry-run what it has of a backup, compare files with what a control node's API server and etcd serve, where they run. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { createServer as createPlain } from 'node:net'
import { join } from 'node:path'
import { afterEach, before, describe, type TestContext, test } from 'node:test'
import { createServer } from 'node:tls'
import { type Edit, exits, harderway, labEdits, type Ran, withStatus, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { listen, needs } from '../support/programs.ts'

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
  let edits: readonly Edit[]

  before(async () => {
    made = join(place, 'made')
    edits = [...labEdits(suite.lab), [['nodes'], [node]]]
    writeCluster(place, edits)
    await exits(0, place, 'bootstrap')
    renameSync(join(place, 'auth'), made)
    mkdirSync(join(place, 'other/home'), { recursive: true })
    writeCluster(join(place, 'other'), edits)
    await exits(0, join(place, 'other'), 'cluster-cert')
  })
  afterEach(() => rmSync(join(place, 'auth'), { recursive: true, force: true }))

  const serve = (t: TestContext, auth: string, port: number, options: object = {}) => {
    const [cert, key] = ['.pem', '-key.pem'].map((ending) => readFileSync(join(auth, `kubernetes${ending}`)))
    return listen(t, createServer({ cert, key, ...options }), port, address)
  }
  const recover = () => harderway(place, 'recover', '--node', 'control0')

  test('are taken where their CA signed what is served, by etcd to its own clients alone', async (t) => {
    await serve(t, made, 6443)
    const ca = readFileSync(join(made, 'ca.pem'))
    await serve(t, made, 2379, { ca, requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' })
    const ran = await withStatus(0, recover())
    assert.doesNotMatch(told(ran), /did not sign|port (2379|6443)/)
  })

  test('are not taken where another CA signed what is served: they are not what the cluster runs with', async (t) => {
    await serve(t, join(place, 'other/auth'), 6443)
    const ran = await withStatus(3, recover())
    assert.match(
      told(ran),
      /^restored nothing from control0: .* serves a certificate not signed by the CA of control0 \(port 6443\)$/m,
    )
    assert.match(told(ran), /recover --from DIR/)
    assert.equal(existsSync(join(place, 'auth/ca.pem')), false)
  })

  test('are no proof for a backup that fits them, where what is served is of another CA', async (t) => {
    const tryOut = () => harderway(place, 'recover', '--from', made, '--dry-run')
    await serve(t, made, 2379)
    await withStatus(0, tryOut())
    await serve(t, join(place, 'other/auth'), 6443)
    const ran = await withStatus(3, tryOut())
    assert.match(told(ran), /control0 serves a certificate not signed by the CA of \S+made \(port 6443\)/)
  })

  test('are taken where what listens serves none', async (t) => {
    const server = createPlain((socket) => socket.end('no TLS'))
    await listen(t, server, 2380, address)
    await withStatus(0, recover())
  })
})
