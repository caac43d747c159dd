/** A plan that was reviewed: carried out as it is, on another machine too, or refused. */
import assert from 'node:assert/strict'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, type TestContext, test } from 'node:test'
import { scratch, stateOf } from '../support/files.ts'
import {
  assertStatus,
  copyPlace,
  type Edit,
  exits,
  harderway,
  idsOf,
  labEdits,
  madePlace,
  oneOfEach,
  type Ran,
  writeCluster,
} from '../support/harderway.ts'
import { localPlace } from '../support/labs.ts'
import { start } from '../support/process.ts'
import { needs } from '../support/programs.ts'

const local = ['certs', 'kubeconfigs', 'encryption-key'] as const
const day = 86_400_000
const hashIn = ({ events }: Ran) => String(events.find(({ type }) => type === 'plan')?.hash)
const sans = (...names: string[]): Edit => [['api', 'extraSANs'], names]

describe('--expect-plan', () => {
  const origin = madePlace(oneOfEach, ...local)

  const copied = (t: TestContext, ...edits: Edit[]) => copyPlace(t, origin, [...oneOfEach, ...edits])

  test('the hash is that of the last line, and of the same plan on another machine on another day', async (t) => {
    const [here, there] = [copied(t, sans('a.example.org')), copied(t, sans('a.example.org'))]
    const words = await harderway(here.place, ...local, '--dry-run')
    const env = { HOME: scratch(t), KUBECONFIG: join(there.place, 'other') }
    const now = new Date(Date.now() + 3 * day)
    const json = await harderway({ place: there.place, env, now }, ...local, '--dry-run', '--json')
    assert.match(words.stdout, new RegExp(`\nPlan hash: ${hashIn(json)}\n$`))
    const { type, hash, ...counts } = json.events.find(({ type }) => type === 'plan') ?? {}
    assert.deepEqual(counts, { added: 0, changed: 1, removed: 0, restarts: 0 })
  })

  test('carries out the plan; once it is done, or something else is needed, it is refused before anything is made', async (t) => {
    const { place, auth } = copied(t, sans('a.example.org'))
    const plan = await harderway(place, ...local, '--dry-run', '--json')
    const run = () => harderway(place, ...local, '--json', '--expect-plan', hashIn(plan))
    for (const names of [['b.example.org'], ['a.example.org', 'b.example.org'], []]) {
      writeCluster(place, [...oneOfEach, sans(...names)])
      const before = stateOf(auth)
      const refused = await run()
      assertStatus(refused, 3)
      assert.deepEqual(stateOf(auth), before)
      const { message, remedy, cause } = refused.events.find(({ type }) => type === 'refused') ?? {}
      assert.match(String(message), /^the plan has changed to [0-9a-f]{64}; nothing was done$/)
      assert.match(String(remedy), /:\s+npm run task -- certs .* --dry-run$/)
      assert.equal(cause, 'other-plan')
    }
    writeCluster(place, [...oneOfEach, sans('a.example.org')])
    const done = await run()
    assertStatus(done, 0)
    assert.deepEqual(idsOf(done, 'built'), idsOf(plan, 'stale'))
    assertStatus(await run(), 3)
    const nothing = await exits(0, place, ...local, '--dry-run', '--json')
    await exits(0, place, ...local, '--expect-plan', hashIn(nothing))
  })
})

describe('--expect-plan with nodes', { skip: needs('ssh') }, () => {
  const suite = localPlace('control0', 'worker0', 'gateway')
  const { place } = suite

  before(async () => {
    writeCluster(place, [...oneOfEach, ...labEdits(suite.lab)])
    await exits(0, place, 'bootstrap')
  })

  const onNode = (name: string, file: string) => join(suite.lab.node(name).home, file)
  const planned = async () => hashIn(await harderway(place, 'bootstrap', '--dry-run', '--json'))

  test('what a node lost while the run was under way is not in the plan: that node is refused, the others are done', async () => {
    writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), sans('b.example.org')])
    const go = join(place, 'go')
    const at = { event: 'rename kubernetes.pem#1', do: 'hold', go } as const
    const run = start(place, ['bootstrap', '--json', '--expect-plan', await planned()], { at })
    await run.told('"type":"building","id":"cluster-cert"')
    rmSync(onNode('control0', 'admin.kubeconfig'))
    writeFileSync(go, '')
    const ended = await run.ended
    assertStatus(ended, 3)
    assert.deepEqual(idsOf(ended, 'built'), ['cluster-cert'])
    const [{ id, refused, message }] = ended.events.filter(({ type }) => type === 'failed') as [Record<string, unknown>]
    assert.deepEqual([id, refused], ['deploy/control0', true])
    assert.match(String(message), /^not in the plan: admin\.kubeconfig missing; kubernetes\.pem differs$/)
    assert.ok(!existsSync(onNode('control0', 'admin.kubeconfig')))
  })

  test('a node that can not be looked at makes the plan unknown: refused, and nothing is made', async () => {
    writeCluster(place, [...oneOfEach, ...labEdits(suite.lab), sans('c.example.org')])
    const hash = await planned()
    await suite.lab.node('worker0').stop()
    const before = stateOf(join(place, 'auth'))
    const refused = await exits(3, place, 'bootstrap', '--expect-plan', hash)
    assert.match(refused.stderr, /the plan is incomplete, so nothing was done:/)
    assert.match(refused.stderr, /worker0: unreachable \(Connection refused\)/)
    assert.deepEqual(stateOf(join(place, 'auth')), before)
  })
})
