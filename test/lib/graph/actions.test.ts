import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildGraph } from '../../../lib/graph/target.ts'
import type { Check } from '../../../lib/results.ts'
import { keepTo, planOf } from '../../../tasks/commands/plan.ts'
import type { ClusterTarget } from '../../../tasks/target.ts'
import { fakeCluster, fakeTarget, fresh, missing, nowhere, onNode, runFakes } from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

const cluster = parsed(minimal)

async function plan(targets: readonly ClusterTarget[], name = 'kubenet') {
  const rows = await runFakes(targets, { mode: 'plan' }).rows
  return planOf(rows, { cluster: { ...cluster, name } })
}

const hashOf = async (...given: Parameters<typeof plan>) => (await plan(...given))?.hash
const wide: Check = { diffs: [{ what: 'leaf-key.pem has mode 0644', verb: 'chmod', names: ['leaf-key.pem'] }] }

test('a plan has one hash, whatever the order of its targets', async () => {
  const targets = fakeCluster({ leaf: missing('leaf.pem'), 'deploy/two': onNode({ wrongMode: ['a.config'] }) })
  const hash = await hashOf(targets)
  assert.match(String(hash), /^[0-9a-f]{64}$/)
  assert.equal(await hashOf(targets.toReversed()), hash)
})

test('another cluster, target, file, place or desired value is another plan', async () => {
  const target = (told: Partial<ClusterTarget>, id = 'deploy/one') => [fakeTarget(id, { where: 'node', ...told })]
  const installed = (restarts: readonly string[]): Partial<ClusterTarget> => ({
    check: () => ({
      diffs: [
        { what: 'differs', verb: 'install', names: ['/etc/a'] },
        { what: 'restart', verb: 'restart', names: restarts },
      ],
    }),
  })
  const hashes = await Promise.all([
    hashOf([]),
    hashOf([], 'other'),
    hashOf(fakeCluster({ leaf: missing('leaf.pem') })),
    hashOf(fakeCluster({ leaf: wide })),
    hashOf(fakeCluster({ 'config/a': missing('a.config') })),
    hashOf(fakeCluster({ 'deploy/one': onNode({ missing: ['leaf.pem'] }) })),
    hashOf(fakeCluster({ 'deploy/one': onNode({ missing: ['a.config'] }) })),
    hashOf(fakeCluster({ 'deploy/two': onNode({ missing: ['a.config'] }) })),
    hashOf(fakeCluster({ 'deploy/two': onNode({ wrongMode: ['a.config'] }) })),
    hashOf(target({})),
    hashOf(target({ desired: { host: 'one' } })),
    hashOf(target({ desired: { host: 'other' } })),
    hashOf(target(installed([]))),
    hashOf(target(installed(['server']))),
  ])
  assert.equal(new Set(hashes).size, hashes.length)
})

test("what is only looked at in the user's own kubeconfig is in no plan, and what could not be looked at has none", async () => {
  const own = fakeTarget('local-kubeconfig', { where: 'kubeconfig' })
  assert.equal(await hashOf([own]), await hashOf([]))
  const failing = fakeTarget('a', {
    check: () => {
      throw new Error('no')
    },
  })
  assert.equal(await hashOf([failing, fakeTarget('b')]), undefined)
})

test('a run that keeps to a plan does all of it, and refuses what became stale since', async () => {
  let later = fresh
  const targets = (): ClusterTarget[] => [
    fakeTarget('a'),
    fakeTarget('b', { check: () => later }),
    fakeTarget('c', {
      where: 'node',
      check: () => {
        const files = later === fresh ? ['x'] : ['x', 'y']
        return onNode({ differ: files })
      },
    }),
  ]
  const planned = await plan(targets())
  assert.ok(planned)
  const run = async () => {
    const kept = [...keepTo(planned, buildGraph(targets()), 'bootstrap').values()]
    const command = (task: string) => task
    Object.assign(nowhere, { command })
    return [...(await runFakes(kept).rows).values()]
  }
  assert.deepEqual(
    (await run()).map(({ state }) => state),
    ['built', 'fresh', 'built'],
  )
  later = missing('b.pem')
  const [a, ...others] = await run()
  assert.equal(a?.state, 'built')
  for (const [i, why] of [/b\.pem missing/, /x, y differ/].entries()) {
    const outcome = others[i]
    assert.deepEqual([outcome?.failure?.kind, outcome?.failure?.code], ['refused', 'other-plan'])
    assert.match(outcome?.failure?.message ?? '', why)
  }
})
