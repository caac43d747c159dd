import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { after, before, beforeEach, describe, test } from 'node:test'
import type { RelayBehaviour } from '../lab/relay.ts'
import { assertTwoFail, makeSevenNodes, type SevenNodes, sevenNames } from '../support/labs.ts'
import { needs } from '../support/programs.ts'

describe('deploy onto seven nodes of which two fail', { skip: needs('sshd', 'ssh', 'scp') }, () => {
  let seven: SevenNodes
  const direct = ['control1', 'worker0'] as const
  const relayed = ['worker1', 'worker2'] as const
  const nodes = () => direct.map((name) => seven.lab.node(name))
  const behave = (behaviour: RelayBehaviour) => {
    for (const name of relayed) seven.lab.relay(name).behave(behaviour)
  }
  const knownHosts = () => readFileSync(seven.lab.knownHosts, 'utf8')
  const isOfNode = (line: string) => nodes().some(({ port }) => line.startsWith(`[127.0.0.1]:${port} `))
  const forget = () =>
    writeFileSync(
      seven.lab.knownHosts,
      knownHosts()
        .split('\n')
        .filter((line) => !isOfNode(line))
        .join('\n'),
    )
  const learn = async () => {
    forget()
    const lines = await Promise.all(nodes().map(async (node) => `[127.0.0.1]:${node.port} ${await node.hostKey()}\n`))
    writeFileSync(seven.lab.knownHosts, knownHosts() + lines.join(''))
  }

  before(async () => {
    seven = await makeSevenNodes(relayed.map((name) => ({ name, relay: {} })))
  })
  beforeEach(() => {
    seven.write()
    seven.empty()
  })
  after(() => seven[Symbol.asyncDispose]())

  test('says which refuse the connection', async () => {
    await Promise.all(nodes().map((node) => node.stop()))
    await assertTwoFail(seven, {
      two: direct,
      words: 'connection refused',
      remedy: /check that sshd runs there/,
      mend: () => Promise.all(nodes().map((node) => node.start())),
    })
  })

  test('says of which the host key is not known', async () => {
    forget()
    await assertTwoFail(seven, {
      two: direct,
      words: 'host key unknown',
      remedy: /for node in \S+@control1 \S+@worker0; do \(cd .* -o StrictHostKeyChecking=ask "\$node" true\); done/,
      mend: learn,
    })
  })

  test('says from which the connection was lost in the middle of the copy, and leaves nothing half there', async () => {
    const copies = () =>
      Promise.all(
        relayed.map(
          async (name) => (await seven.lab.node(name).log()).split("Starting session: subsystem 'sftp'").length,
        ),
      )
    const before = await copies()
    // The handshake and the look take 18 kB, the copy 10 more.
    behave({ dropAfterBytes: 25_000 })
    await assertTwoFail(seven, {
      two: relayed,
      words: 'connection lost',
      remedy: /run the same command again/,
      meanwhile: async () => {
        assert.deepEqual(
          await copies(),
          before.map((count) => count + 1),
        )
        for (const name of relayed) assert.deepEqual(seven.filesOn(name), [])
      },
      mend: () => behave({}),
    })
  })

  test('says which do not answer in time', async () => {
    // So long that the other five are never too slow.
    seven.write([['ssh', 'options'], { ConnectTimeout: 5 }])
    behave({ hang: true })
    await assertTwoFail(seven, {
      two: relayed,
      words: 'timed out',
      remedy: /check that the machine is up and reachable/,
      mend: () => {
        behave({})
        seven.write()
      },
    })
  })

  test('with --wait-nodes waits for those that are still booting', async () => {
    const attempts = await Promise.all(
      nodes().map(async (node) => {
        await node.stop()
        const server = createServer().listen(node.port, '127.0.0.1')
        await once(server, 'listening')
        const tried = once(server, 'connection').then(async ([socket]) => {
          const closed = once(server, 'close')
          server.close()
          socket.resume().end()
          await closed
          await node.start()
        })
        return { server, tried }
      }),
    )
    const ran = await seven.run('deploy', '--wait-nodes', '30s')
    for (const { server } of attempts) server.close()
    assert.equal(ran.status, 0, ran.stdout + ran.stderr)
    await Promise.all(attempts.map(({ tried }) => tried))
    assert.deepEqual(seven.rightNodes(), sevenNames)
  })
})
