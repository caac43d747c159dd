/** Restarts take turns, however few nodes are worked on at once; what needs no restart does not wait. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { Failure } from '../../../lib/failure.ts'
import type { Diff } from '../../../lib/results.ts'
import { byTurn, installId, turnOf } from '../../../tasks/install/install.ts'
import { fakeTarget, runFakes, settled } from '../../support/fakes.ts'

const nodes = ['worker0', 'control0', 'worker1', 'control1', 'control2', 'gateway'].map(
  (name) => ({ name, role: name.replace(/\d/, '') }) as ClusterNode,
)

const restart: Diff = { what: 'restart kubelet', verb: 'restart', names: ['kubelet'] }
const reload: Diff = { what: 'reload kubelet', verb: 'reload', names: ['kubelet'] }

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
        return { diffs: [restarts ? restart : reload] }
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
  const states = [...(await rows)].map(([id, { state }]) => [id.replace('install/', ''), state])
  return { told, looks, states: Object.fromEntries(states) }
}

for (const slots of [1, 10])
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
  const skipped = { control2: 'skipped', worker0: 'skipped', worker1: 'skipped' }
  const built = { control2: 'built', worker0: 'built', worker1: 'built' }
  assert.deepEqual((await installAll(10, { down: 'control1' })).states, { ...before, ...skipped })
  assert.deepEqual((await installAll(10, { down: 'control1', restarts: false })).states, { ...before, ...built })
  // What does not work on one control node is not tried on the next.
  const states = { ...before, ...built, control2: 'skipped' }
  assert.deepEqual((await installAll(10, { broken: 'control1', restarts: false })).states, states)
})
