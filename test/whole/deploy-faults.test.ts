import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import type { RelayBehaviour } from '../lab/relay.ts'
import { sshEdit } from '../support/harderway.ts'
import { makeSevenNodes, type SevenNodes, sevenNames } from '../support/labs.ts'
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

  before(async () => {
    seven = await makeSevenNodes(relayed.map((name) => ({ name, relay: {} })))
  })
  beforeEach(() => {
    seven.write()
    seven.empty()
  })
  after(() => seven[Symbol.asyncDispose]())

  /** The other five are right, and the two are told together, once. */
  const assertTwoFail = async (two: readonly string[], words: string, remedy: RegExp) => {
    const { status, stdout, stderr } = await seven.run('deploy')
    const [, end = '', ...more] = (stdout + stderr).split(new RegExp(`^${two.join(', ')}: ${words}\\n`, 'm'))
    assert.deepEqual([status, more], [1, []], stdout + stderr)
    assert.match(end, remedy)
    assert.equal(end.match(new RegExp(remedy, 'g'))?.length, 1, end)
    assert.deepEqual(
      seven.rightNodes(),
      sevenNames.filter((name) => !two.includes(name)),
    )
  }
  /** As they are, but each is told with a command of its own, which has the option. */
  const assertEachFails = async (two: readonly string[], words: string, option: string) => {
    const { status, stdout, stderr } = await seven.run('deploy')
    assert.equal(status, 1, stdout + stderr)
    for (const name of two) {
      const told = new RegExp(`^deploy/${name}: ${words}\\n(?: {2}.*\\n)*? {6}.*ssh .*${option} \\S+@${name} true`, 'm')
      assert.match(stdout + stderr, told)
    }
    const others = sevenNames.filter((name) => !two.includes(name))
    assert.deepEqual(seven.rightNodes(), others)
  }
  const assertMended = async () => {
    const { status, stdout, stderr } = await seven.run('deploy')
    assert.equal(status, 0, stdout + stderr)
    assert.deepEqual(seven.rightNodes(), sevenNames)
  }

  // What else ssh may say: test/lib/node/ssh-failure.test.ts.
  test('says which refuse the connection', async () => {
    await Promise.all(nodes().map((node) => node.stop()))
    await assertTwoFail(direct, String.raw`unreachable \(Connection refused\)`, /check host and port in cluster\.yaml/)
    const { events } = await seven.run('deploy', '--json')
    assert.deepEqual(
      events.flatMap(({ type, id, cause }) => (type === 'failed' ? [`${id} ${cause}`] : [])).toSorted(),
      direct.map((name) => `deploy/${name} unreachable`),
    )
    await Promise.all(nodes().map((node) => node.start()))
  })

  test('says which do not answer in time', async () => {
    // So long that the other five are never too slow.
    seven.write(sshEdit(seven.path, ['ConnectTimeout 5'], seven.lab.sshConfig))
    behave({ hang: true })
    await assertTwoFail(relayed, String.raw`unreachable \(.*timed out\)`, /that the machine is up/)
    behave({})
  })

  test('says of which the host key is not known', async () => {
    const known = knownHosts()
    const isOfNode = (line: string) => nodes().some(({ port }) => line.startsWith(`[127.0.0.1]:${port} `))
    const others = known.split('\n').filter((line) => !isOfNode(line))
    writeFileSync(seven.lab.knownHosts, others.join('\n'))
    await assertEachFails(direct, String.raw`host key refused \(.*\)`, 'StrictHostKeyChecking=ask')
    writeFileSync(seven.lab.knownHosts, known)
  })

  test('says from which the connection was lost in the middle of the copy, and leaves nothing half there', async () => {
    const log = (name: string) => seven.lab.node(name).log()
    const copies = async () =>
      (await Promise.all(relayed.map(log))).map((text) => text.split("Starting session: subsystem 'sftp'").length)
    const before = await copies()
    // The handshake and the look take 26 kB, the copy 8 more.
    behave({ dropAfterBytes: 30_000 })
    await assertEachFails(relayed, 'connection lost', '-v')
    assert.deepEqual(
      await copies(),
      before.map((count) => count + 1),
    )
    for (const name of relayed) assert.deepEqual(seven.filesOn(name), [])
    behave({})
    await assertMended()
  })

  /** The first line of what the shells of two nodes read at their start. */
  const shellsBegin = async (line: string, work: () => Promise<void>) => {
    const files = nodes().map(({ home }) => join(home, '.bashrc'))
    const texts = files.map((file) => readFileSync(file, 'utf8'))
    for (const [i, file] of files.entries()) writeFileSync(file, `${line}\n${texts[i]}`)
    try {
      await work()
    } finally {
      for (const [i, file] of files.entries()) writeFileSync(file, texts[i] ?? '')
    }
  }
  test('says, in a plan too, whose login shell runs nothing', async () => {
    await shellsBegin('echo no shell for you >&2; exit 3', async () => {
      const { status, stdout, stderr } = await seven.run('deploy', '--dry-run')
      assert.equal(status, 1)
      const words = 'control1, worker0: could not be inspected; no shell for you\n'
      assert.ok((stdout + stderr).includes(words), stdout + stderr)
      assert.match(stdout + stderr, /find the cause on the node \(its login shell/)
    })
    await assertMended()
  })
})
