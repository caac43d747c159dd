/** Restarts take turns, however few nodes are worked on at once; what needs no restart does not wait. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterNode } from '../../../../lib/cluster/cluster.ts'
import { Failure } from '../../../../lib/failure.ts'
import type { Reason } from '../../../../lib/results.ts'
import { byTurn, installId, turnOf } from '../../../../tasks/day2/install/turns.ts'
import { fakeTarget, runFakes, settled } from '../../../support/fakes.ts'

const nodes = ['worker0', 'control0', 'worker1', 'control1', 'control2', 'gateway'].map(
  (name) => ({ name, role: name.replace(/\d/, '') }) as ClusterNode,
)

const reloads: Reason = {
  ...{
    kind: 'unit',
    unit: 'kubelet',
    places: [],
    notLoaded: [],
    notServed: [10250],
    restarts: false,
    isDrained: false,
  },
}

/** What begins and ends; `down`: it can't be looked at. `broken`: it does not become healthy. */
async function installAll(slots: number, { down = '', broken = '', restarts = true } = {}) {
  const told: string[] = []
  const looks = new Map<string, number>()
  const targets = byTurn(nodes).map((node) =>
    fakeTarget(installId(node), {
      where: 'node',
      check: () => {
        if (node.name === down) throw new Failure('connection refused')
        looks.set(node.name, (looks.get(node.name) ?? 0) + 1)
        return { reasons: [restarts ? { kind: 'left-drained', nodes: [node.name] } : reloads] }
      },
      waitForTurn: turnOf(node, nodes),
      build: async () => {
        told.push(node.name)
        await settled()
        if (node.name === broken) throw new Failure('not healthy')
        told.push(`${node.name} ended`)
        return undefined
      },
    }),
  )
  const { rows } = runFakes(targets, { node: slots })
  const kinds = [...(await rows)].map(([id, { kind }]) => [id.replace('install/', ''), kind])
  return { told, looks, kinds: Object.fromEntries(kinds) }
}

for (const slots of [1, 2, 10])
  test(`gateways, then control nodes one by one, then workers, with ${slots} at once`, async () => {
    const { told, looks } = await installAll(slots)
    const alone = ['gateway', 'control0', 'control1', 'control2'].flatMap((name) => [name, `${name} ended`])
    assert.deepEqual(told.slice(0, alone.length), alone)
    assert.deepEqual(told.slice(alone.length).toSorted(), ['worker0', 'worker0 ended', 'worker1', 'worker1 ended'])
    // Whoever waited for a change looks again.
    assert.deepEqual([...looks.values()].toSorted(), [1, 2, 2, 2, 2, 2])
  })

test('after a node that was not reached no later turn is given, and what restarts nothing goes on', async () => {
  const before = { gateway: 'built', control0: 'built', control1: 'failed' }
  const skipped = { control2: 'cancelled', worker0: 'cancelled', worker1: 'cancelled' }
  const built = { control2: 'built', worker0: 'built', worker1: 'built' }
  assert.deepEqual((await installAll(10, { down: 'control1' })).kinds, { ...before, ...skipped })
  assert.deepEqual((await installAll(10, { down: 'control1', restarts: false })).kinds, { ...before, ...built })
  // What does not work on one control node is not tried on the next.
  const kinds = { ...before, ...built, control2: 'cancelled' }
  assert.deepEqual((await installAll(10, { broken: 'control1', restarts: false })).kinds, kinds)
})
