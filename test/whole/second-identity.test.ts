/** What auth/ has lost is never made a second time while a control node shows that a cluster is there. */
import assert from 'node:assert/strict'
import { cpSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { stateOf } from '../support/files.ts'
import { exits, harderway, labEdits, oneOfEach, writeCluster } from '../support/harderway.ts'
import { labPlace } from '../support/labs.ts'
import { listen, needs } from '../support/programs.ts'

/** Addresses of this machine where nothing else listens. */
const addresses = { control0: '127.77.0.11', worker0: '127.77.0.14', gateway: '127.77.0.10' }

describe('a second identity is not made', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  const suite = labPlace(...Object.keys(addresses))
  const { place } = suite
  let saved: string
  const at = (name: string) => join(place, 'auth', name)
  const made = () => readdirSync(join(place, 'auth')).filter((name) => !name.startsWith('.'))
  const tidy = (...nodes: string[]) => {
    for (const node of nodes)
      for (const name of readdirSync(suite.lab.node(node).home))
        if (!name.startsWith('.')) rmSync(join(suite.lab.node(node).home, name), { recursive: true })
  }
  /** Something listens there: it may show a certificate to its own clients alone. */
  const serve = (t: TestContext, address: string, port: number) =>
    listen(
      t,
      createServer((socket) => socket.destroy()),
      port,
      address,
    )
  /** A plan and a run say the same: refused, with the command that takes the cluster over. */
  const assertRefused = async (lost: readonly string[], found: RegExp, ...more: readonly string[][]) => {
    for (const name of lost) rmSync(at(name), { recursive: true, force: true })
    const state = () => [
      made(),
      ...[join(place, 'home'), ...suite.lab.nodes.map(({ home }) => home)].map((folder) => stateOf(folder)),
    ]
    const before = state()
    for (const args of [['--dry-run'], [], ...more]) {
      const ran = await harderway(place, 'bootstrap', '--json', ...args)
      assert.equal(ran.status, 3, JSON.stringify(ran.events))
      const said = JSON.stringify(ran.events)
      assert.match(said, found)
      assert.match(said, /recover --node control0/)
      assert.deepEqual(state(), before)
    }
  }

  before(async () => {
    const nodes = Object.entries(addresses).map(([name, ip]) => ({
      ...{ name, ip },
      role: name.replace(/\d/, ''),
    }))
    writeCluster(place, [...oneOfEach, [['nodes'], nodes], ...labEdits(suite.lab)])
    await exits(0, place, 'bootstrap')
    saved = join(place, 'saved')
    cpSync(join(place, 'auth'), saved, { recursive: true })
  })
  const restore = (t: TestContext) => {
    t.after(async () => {
      rmSync(join(place, 'auth'), { recursive: true, force: true })
      cpSync(saved, join(place, 'auth'), { recursive: true, preserveTimestamps: true })
      await exits(0, place, 'deploy')
    })
  }

  test('where nothing but a component that listens on a control node shows it', async (t) => {
    restore(t)
    tidy('control0', 'worker0', 'gateway')
    await serve(t, addresses.control0, 2379)
    await assertRefused(made(), /"control0 listens on 2379, but /, ['--node', 'worker0'])
  })

  test('nor an encryption key for an API server that runs', async (t) => {
    restore(t)
    tidy('control0')
    await serve(t, addresses.control0, 6443)
    await assertRefused(['encryption-config.yaml'], /control0 listens on 6443, but /)
  })
})
