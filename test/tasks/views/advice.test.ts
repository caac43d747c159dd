import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome, Target } from '../../../lib/graph/target.ts'
import type { Diff } from '../../../lib/results.ts'
import { adviseAfter } from '../../../tasks/views/notices.ts'
import { fakeCluster, fakeTarget, fresh as found, onNode, twoNodes } from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

const targets = fakeCluster({})
const cluster = parsed(minimal)
const fresh: Outcome = { state: 'fresh', ...found }
const built = (diffs: readonly Diff[]): Outcome => ({ state: 'built', diffs })
const rowOf = <Of extends Target>(target: Of, outcome: Outcome) => ({ diffs: [], ...outcome, id: target.id, target })
const differ = (...files: string[]) => built(onNode({ differ: files }).diffs)
const rowsOf = (outcomes: Readonly<Record<string, Outcome>>, all = targets) =>
  new Map(all.map((target) => [target.id, rowOf(target, outcomes[target.id] ?? fresh)]))
/** The nodes, and what is copied there; the others are fresh. */
const advise = (outcomes: Readonly<Record<string, Outcome>>, all = targets) =>
  adviseAfter({ cluster }, rowsOf(outcomes, all)).map(({ text }) => {
    const [, nodes, files] = /^on (.*), copy the new (.*) to where/.exec(text) ?? []
    return { nodes: nodes?.split(', '), files: files?.split(', ') }
  })

test('for nodes with the same files replaced there is one advice', () => {
  const replaced = differ('leaf.pem', 'leaf-key.pem', 'a.config')
  assert.deepEqual(advise({ 'deploy/one': replaced, 'deploy/two': replaced }), [
    { nodes: ['one', 'two'], files: ['leaf.pem', 'leaf-key.pem', 'a.config'] },
  ])
})

test('nodes with other files replaced have an advice of their own', () => {
  assert.deepEqual(advise({ 'deploy/one': differ('a.config'), 'deploy/two': differ('leaf.pem') }), [
    { nodes: ['one'], files: ['a.config'] },
    { nodes: ['two'], files: ['leaf.pem'] },
  ])
})

const own = (name: string) => fakeTarget(`own/${name}`, { makes: [`${name}.pem`, `${name}-key.pem`] })

test('files that bear the name of their node are one advice for many nodes, and have their names on a single one', () => {
  const all = [...targets, own('one'), own('two')]
  const one = differ('one.pem', 'one-key.pem')
  assert.deepEqual(advise({ 'deploy/one': one, 'deploy/two': differ('two.pem', 'two-key.pem') }, all), [
    { nodes: ['one', 'two'], files: ['<name>.pem', '<name>-key.pem'] },
  ])
  assert.deepEqual(advise({ 'deploy/one': one }, all)[0]?.files, ['one.pem', 'one-key.pem'])
})

test('no advice for what nobody has read, for a mode, and for what was not replaced by this run', () => {
  for (const outcome of [
    built(onNode({ missing: ['leaf.pem', 'a.config'] }).diffs),
    built(onNode({ wrongMode: ['leaf.pem'] }).diffs),
    { state: 'stale', diffs: onNode({ differ: ['leaf.pem'] }).diffs },
    { state: 'skipped', because: ['leaf'] },
  ] as const satisfies readonly Outcome[])
    assert.deepEqual(advise({ 'deploy/one': outcome }), [])
})

test('no advice where install takes the files on from there', () => {
  const rows = rowsOf({ 'deploy/one': differ('leaf.pem') })
  assert.equal(adviseAfter({ cluster }, rows).length, 1)
  assert.deepEqual(adviseAfter({ cluster: twoNodes }, rows), [])
})

test('an advice says for which nodes what is to be copied and restarted, one node at a time', () => {
  const rows = targets.map(
    (target) => [target.id, rowOf(target, target.node ? differ('leaf.pem', 'a.config') : fresh)] as const,
  )
  const texts = adviseAfter({ cluster }, new Map(rows)).map(({ text }) => text)
  assert.deepEqual(texts, [
    'on one, two, copy the new leaf.pem, a.config to where the units read them, then restart what reads them, one node at a time (docs/install.md, "What a unit reads")',
  ])
})
