import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Check, Diff } from '../../../lib/results.ts'
import { countPlan } from '../../../lib/show/lines.ts'
import { notices } from '../../../lib/show/rows.ts'
import { changed, fakeCluster, fakeTarget, fresh, missing, onNode, planFakes } from '../../support/fakes.ts'

const plan = (looks: Readonly<Record<string, Check>>) => planFakes(fakeCluster(looks))

test('what would change has a line with why, nodes with the same to do have one', async () => {
  const { lines } = await plan({ leaf: changed })
  assert.deepEqual(await lines(), [
    'The leafs',
    '  ~ leaf.pem  adds SAN 192.168.1.22',
    'The configs',
    '  ~ a.config  credentials changed',
    'The deploys',
    '  ~ one, two  leaf.pem, a.config differ',
    '',
    'Plan: ~ 4 changed',
  ])
  assert.deepEqual(await lines('quiet'), [])
})

test('a first run is all new: what is new in auth/ needs no reason', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  const first = { leaf: missing('leaf.pem', 'leaf-key.pem'), 'config/a': missing('a.config') }
  const { lines } = await plan({ ...first, 'deploy/one': absent, 'deploy/two': absent })
  assert.deepEqual(await lines(), [
    'The leafs',
    '  + leaf.pem',
    'The configs',
    '  + a.config',
    'The deploys',
    '  + one, two  leaf.pem, leaf-key.pem, a.config missing',
    '',
    'Plan: + 4 new',
  ])
})

test('units that are restarted are counted on every node, whatever is folded', async () => {
  const diffs = ['store', 'server'].flatMap((unit): Diff[] => [
    { what: `${unit} has not loaded a` },
    { what: `restart ${unit}`, verb: 'restart', names: [unit] },
  ])
  const nodes = ['one', 'two'].map((node) =>
    fakeTarget(`deploy/${node}`, { node, where: 'node', check: () => ({ diffs }) }),
  )
  const { rows, lines } = await planFakes(nodes)
  assert.deepEqual((await lines()).slice(1), [
    '  ~ one, two  store has not loaded a; restart store; server has not loaded a; restart server',
    '',
    'Plan: ~ 2 changed, ↻ 4 restarts',
  ])
  assert.deepEqual(countPlan(rows), { added: 0, changed: 2, removed: 0, restarts: 4 })
})

test('with nothing stale the plan is its last line, with warnings, failures and what is left to do', async () => {
  const { lines } = await plan({ leaf: { ...fresh, warn: ['it is odd'] } })
  const planHash = 'abc'
  assert.deepEqual(await lines('normal', { planHash }), ['warning leaf: it is odd', 'Nothing to do', 'Plan hash: abc'])
  assert.deepEqual((await lines('normal', { notices: notices('todo', 'renew it') })).slice(-1), ['Nothing to change'])
  const check = () => {
    throw new Failure('the disk is gone', { remedy: 'bring it back' })
  }
  const failing = await planFakes([fakeTarget('leaf', { check })])
  assert.deepEqual(await failing.lines('quiet'), ['leaf: the disk is gone', '  bring it back'])
  assert.equal((await failing.lines()).at(-1), 'Incomplete plan')
})

test('of many targets the first few are named; with all detail each has an entry of its own', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `node-${i}`)
  const { lines } = await planFakes(names.map((name) => fakeTarget(`deploy/${name}`, { check: () => changed })))
  const why = 'adds SAN 192.168.1.22'
  assert.ok((await lines()).includes(`  ~ node-0, node-1, node-2 and 27 more  ${why}`))
  const all = await lines('verbose')
  for (const name of names) assert.ok(all.includes(`  ~ ${name}  ${why}`), name)
})
