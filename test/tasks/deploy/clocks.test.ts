/** Clocks that differ, by the times of all nodes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import pLimit from 'p-limit'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import { buildGraph } from '../../../lib/graph/target.ts'
import { refuseApart, refuseEarlyClock, refuseWrongClock, refuseWrongClocks } from '../../../tasks/deploy/clocks.ts'
import { checkFolder } from '../../../tasks/deploy/deploy-node.ts'
import type { Run } from '../../../tasks/target.ts'
import { makeEverything, temporaryAuth } from '../../support/certificates.ts'
import { failureOf, fakeTarget } from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

const now = new Date('2026-11-28T12:00:00Z')
type Offsets = Parameters<typeof refuseApart>[0]
const offsets = (ahead: readonly number[]): Offsets =>
  ahead.map((each, i) => ({ node: `n${i}`, role: 'worker', ahead: each }))
const said = (...ahead: number[]) => saidOf(offsets(ahead))
const saidOf = (all: Offsets) => {
  const failure = failureOf(() => refuseApart(all, now))
  if (failure) assert.deepEqual([failure.kind, failure.code], ['failed', 'clock'])
  return failure?.message
}

test('four minutes are no difference, nor is no answer', () => {
  assert.equal(said(), undefined)
  assert.equal(said(0, 240, -240), undefined)
})

test('all times are named', () => {
  const times = '2026-11-28T12:00:00Z here, 2024-11-28T12:00:00Z on n0, 2024-11-28T12:00:03Z on n1'
  const day = 86_400
  assert.equal(said(-730 * day, -730 * day + 3), `clocks differ (${times})`)
  assert.match(String(said(0, 3, 241)), /^clocks differ \(.* here, 2026-11-28T12:04:01Z on n2\)$/)
})

test('where control nodes agree with this machine, a clock that differs is left to the deploy of its node', () => {
  const control = (ahead: number) => ({ node: 'c', role: 'control' as const, ahead })
  assert.equal(saidOf([control(3), control(-240), ...offsets([300, -86_400])]), undefined)
  assert.match(String(saidOf([control(3), control(300), ...offsets([0])])), / on c\)$/)
})

test('no file goes to a node of another time: how long its answer took is no difference', () => {
  const copyAt = (seconds: number, took = 0) => {
    const run = { clock: () => now } as unknown as Run
    const asked = new Date(now.getTime() - took * 1000)
    refuseWrongClock(run, { name: 'w0' } as ClusterNode, now.getTime() / 1000 + seconds, asked)
  }
  for (const [seconds, took] of [[0], [240], [-241], [-600, 360]] as const) copyAt(seconds, took)
  for (const [seconds, took] of [[241], [-242], [-602, 360]] as const)
    assert.throws(() => copyAt(seconds, took), { code: 'clock', node: 'w0' })
})

test('a node by whose clock a certificate is not valid yet is given none', async (t) => {
  const [auth, cluster] = [temporaryAuth(t), parsed(minimal)]
  await makeEverything(auth, cluster, now)
  const [node] = cluster.nodes as [ClusterNode]
  // Certificates are dated back by five minutes.
  const give = (ahead: number) =>
    refuseEarlyClock({ auth, cluster, now } as unknown as Run, node, now.getTime() / 1000 + ahead)
  give(-300)
  const what = `clocks differ (2026-11-28T12:00:00Z here, 2026-11-28T11:54:59Z on ${node.name})`
  assert.throws(() => give(-301), { code: 'clock', node: node.name, what })
})

for (const code of ['timed-out', 'hung'])
  test(`a node that fails with ${code} is waited for once: its deploy fails with what the look at the clocks has found`, async () => {
    const cluster = parsed(minimal)
    const [node] = cluster.nodes as [ClusterNode]
    const down = new Failure(code, { node: node.name, code })
    let tries = 0
    const connect = async () => {
      tries++
      throw down
    }
    const limits = { node: pLimit(1) }
    const run = { cluster, clock: () => now, connect, limits, unreached: new Map() } as unknown as Run
    const graph = buildGraph([fakeTarget(`deploy/${node.name}`, { where: 'node', node: node.name })])
    await refuseWrongClocks(run, graph)
    await assert.rejects(
      checkFolder({ run, node, known: new Set() }, async () => ({})),
      down,
    )
    assert.equal(tries, 1)
  })
