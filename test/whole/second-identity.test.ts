/** What auth/ has lost is never made a second time while a control node shows that a cluster is there. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { createServer } from 'node:tls'
import { exits, harderway, labEdits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { listen, needs } from '../support/programs.ts'

/** Addresses of this machine where nothing else listens. */
const addresses = { control0: '127.77.0.11', worker0: '127.77.0.14', gateway: '127.77.0.10' }

const visible = (folder: string) =>
  existsSync(folder) ? readdirSync(folder).filter((name) => !name.startsWith('.')) : []

describe('a second identity is not made', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  const suite = labPlace(...Object.keys(addresses))
  const { place } = suite

  before(async () => {
    const nodes = Object.entries(addresses).map(([name, ip]) => ({ name, ip, role: name.replace(/\d/, '') }))
    writeCluster(place, [...oneOfEach, [['nodes'], nodes], ...labEdits(suite.lab)])
    await exits(0, place, 'bootstrap')
  })

  test('where nothing but an API server on a control node shows it: a plan and a run say the same', async (t) => {
    const [cert, key] = ['.pem', '-key.pem'].map((ending) => readFileSync(join(place, `auth/kubernetes${ending}`)))
    rmSync(join(place, 'auth'), { recursive: true })
    for (const { home } of suite.lab.nodes)
      for (const name of visible(home)) rmSync(join(home, name), { recursive: true })
    await listen(t, createServer({ cert, key }), 6443, addresses.control0)
    const made = () => [join(place, 'auth'), ...suite.lab.nodes.map(({ home }) => home)].flatMap(visible)
    for (const args of [['--dry-run'], []]) {
      const ran = await harderway(place, 'bootstrap', '--json', ...args)
      assert.equal(ran.status, 3, JSON.stringify(ran.events))
      const said = JSON.stringify(ran.events)
      assert.match(said, /port 6443 serves a certificate on control0, but /)
      assert.match(said, /recover --node control0/)
      assert.deepEqual(made(), [])
    }
  })
})
