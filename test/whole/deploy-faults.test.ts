import assert from 'node:assert/strict'
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

  test('says from which the connection was lost in the middle of the copy, and leaves nothing half there', async () => {
    const log = (name: string) => seven.lab.node(name).log()
    const copies = async () =>
      (await Promise.all(relayed.map(log))).map((text) => text.split("Starting session: subsystem 'sftp'").length)
    const before = await copies()
    // The handshake and the look take 26 kB, the copy 8 more.
    behave({ dropAfterBytes: 30_000 })
    const { status, stdout, stderr } = await seven.run('deploy')
    assert.equal(status, 1, stdout + stderr)
    for (const name of relayed) {
      const told = `^deploy/${name}: connection lost\\n(?: {2}.*\\n)*? {6}.*ssh .*-v \\S+@${name} true`
      assert.match(stdout + stderr, new RegExp(told, 'm'))
    }
    assert.deepEqual(
      seven.rightNodes(),
      sevenNames.filter((name) => !relayed.some((each) => each === name)),
    )
    assert.deepEqual(
      await copies(),
      before.map((count) => count + 1),
    )
    for (const name of relayed) assert.deepEqual(seven.filesOn(name), [])
    behave({})
    const mended = await seven.run('deploy')
    assert.equal(mended.status, 0, mended.stdout + mended.stderr)
    assert.deepEqual(seven.rightNodes(), sevenNames)
  })
})
