import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Verdict } from '../../../lib/reason.ts'
import { changed, fakeCluster, missing, onNode, planFakes } from '../../support/fake-plan.ts'
import { fakeTarget } from '../../support/fake-target.ts'

const openMode: Verdict = { reasons: [{ kind: 'wrong-mode', path: 'leaf.pem', was: 0o644, asked: 0o600 }] }
const plan = async (verdicts: Readonly<Record<string, Verdict>>) => await planFakes(fakeCluster(verdicts))

test('without stale targets there are no steps', async () => {
  assert.deepEqual((await plan({})).steps, [])
})

test('a step has what follows from a change, through all that stands between, and what has the files open', async () => {
  const { steps } = await plan({ leaf: changed })
  assert.deepEqual(steps, [
    {
      ids: ['leaf'],
      why: 'SAN added: 192.168.1.22',
      follows: ['config/a', 'deploy/one', 'deploy/two'],
      restart: ['server', 'store', 'client'],
    },
  ])
})

test('nothing follows from a mode alone', async () => {
  const { steps } = await plan({ leaf: openMode })
  assert.deepEqual(steps, [{ ids: ['leaf'], why: 'leaf.pem has mode 0644, not 0600', follows: [], restart: [] }])
})

test('half a pair is not new', async () => {
  const { steps } = await plan({ leaf: missing('leaf-key.pem') })
  assert.equal(steps[0]?.why, 'leaf-key.pem missing')
})

test('what follows from several new things is reported once, with the last of them', async () => {
  const [leaf, config, ...nodes] = fakeCluster({ leaf: missing('leaf.pem', 'leaf-key.pem') })
  assert.ok(leaf && config)
  const other = fakeTarget('config/b', { makes: ['b.config'], check: () => missing('b.config') })
  const { steps } = await planFakes([
    ...[leaf, config, other],
    ...nodes.map((node) => ({ ...node, needs: [...node.needs, other.id] })),
  ])
  assert.deepEqual(
    steps.map(({ ids, why, follows }) => [ids, why, follows]),
    [
      [['leaf'], 'new', ['config/a']],
      [['config/b'], 'new', ['deploy/one', 'deploy/two']],
    ],
  )
})

test('every target that would be made is in the plan, as what is stale or as what follows', async () => {
  const { steps, outcomes } = await plan({ leaf: changed, 'deploy/one': onNode({ differ: ['a.config'] }) })
  const told = new Set(steps.flatMap(({ ids, follows }) => [...ids, ...follows]))
  const stale = [...outcomes].filter(([, { kind }]) => kind === 'stale').map(([id]) => id)
  assert.deepEqual([...told].toSorted(), stale.toSorted())
})

test('a change is deployed, and has its components restarted, also on a node that has something else wrong', async () => {
  const [leaf, config, one] = fakeCluster({ leaf: changed, 'deploy/one': onNode({ missing: ['a.config'] }) })
  assert.ok(leaf && config && one)
  const { steps } = await planFakes([leaf, config, one])
  const [first] = steps
  assert.deepEqual(first?.follows, ['config/a', 'deploy/one'])
  assert.deepEqual(first.restart, ['server', 'store'])
})

test('what has a file open on one node is restarted, though another node is new', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  const { steps } = await plan({ leaf: changed, 'deploy/one': absent })
  assert.deepEqual(steps[0]?.restart, ['server', 'store', 'client'])
})

test('nothing is restarted in a first run', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  const { steps } = await plan({
    ...{ leaf: missing('leaf.pem', 'leaf-key.pem'), 'config/a': missing('a.config') },
    ...{ 'deploy/one': absent, 'deploy/two': absent },
  })
  assert.deepEqual(
    steps.map(({ ids, restart }) => [ids.join(), restart]),
    [
      ['leaf', []],
      ['config/a', []],
      ['deploy/one,deploy/two', []],
    ],
  )
})

test('nothing is restarted in a first run for a file that does not belong on every node', async () => {
  const [leaf, config, one, two] = fakeCluster({
    ...{ leaf: missing('leaf.pem', 'leaf-key.pem'), 'config/a': missing('a.config') },
    ...{ 'deploy/one': onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] }) },
    'deploy/two': onNode({ missing: ['a.config'] }),
  })
  assert.ok(leaf && config && one && two)
  const { steps } = await planFakes([leaf, config, one, { ...two, needs: ['config/a'] }])
  assert.deepEqual(
    steps.map(({ restart }) => restart),
    [[], [], [], []],
  )
})

test('what has a file open that differs on a node is restarted', async () => {
  const { steps } = await plan({ 'deploy/two': onNode({ differ: ['a.config'] }) })
  assert.deepEqual(
    steps.map(({ ids, restart }) => [ids, restart]),
    [[['deploy/two'], ['client']]],
  )
})

test('nothing is restarted for a mode or an owner on a node', async () => {
  const { steps } = await plan({ 'deploy/two': onNode({ wrongMode: ['a.config'], wrongOwner: ['leaf.pem'] }) })
  assert.deepEqual(
    steps.map(({ restart }) => restart),
    [[]],
  )
})

test('nothing is restarted where nothing is deployed', async () => {
  const { steps } = await planFakes(fakeCluster({ leaf: changed }).slice(0, 2))
  assert.deepEqual(steps, [{ ids: ['leaf'], why: 'SAN added: 192.168.1.22', follows: ['config/a'], restart: [] }])
})
