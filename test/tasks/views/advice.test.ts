import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome, Target } from '../../../lib/graph/target.ts'
import type { Diff } from '../../../lib/results.ts'
import { adviseAfter } from '../../../tasks/views/observe.ts'
import { fakeCluster, fresh as found, onNode, twoNodes } from '../../support/fakes.ts'
import { minimal, parsed } from '../../support/files.ts'

const targets = fakeCluster({})
const cluster = parsed(minimal)
const fresh: Outcome = { state: 'fresh', ...found }
const built = (diffs: readonly Diff[]): Outcome => ({ state: 'built', diffs })
const rowOf = <Of extends Target>(target: Of, outcome: Outcome) => ({ diffs: [], ...outcome, id: target.id, target })
const differ = (...files: string[]) => built(onNode({ differ: files }).diffs)
const rowsOf = (outcomes: Readonly<Record<string, Outcome>>) =>
  new Map(targets.map((target) => [target.id, rowOf(target, outcomes[target.id] ?? fresh)]))
const nodesOf = (outcomes: Readonly<Record<string, Outcome>>) =>
  adviseAfter({ cluster }, rowsOf(outcomes)).map(({ text }) => /^on (.*), one node at a time, copy /.exec(text)?.[1])

test('nodes where files were replaced are one advice', () => {
  assert.deepEqual(nodesOf({ 'deploy/one': differ('leaf.pem'), 'deploy/two': differ('a.config') }), ['one, two'])
})

test('no advice for what nobody has read, for a mode, and for what was not replaced by this run', () => {
  for (const outcome of [
    built(onNode({ missing: ['leaf.pem', 'a.config'] }).diffs),
    built(onNode({ wrongMode: ['leaf.pem'] }).diffs),
    { state: 'stale', diffs: onNode({ differ: ['leaf.pem'] }).diffs },
    { state: 'skipped', because: ['leaf'] },
  ] as const satisfies readonly Outcome[])
    assert.deepEqual(nodesOf({ 'deploy/one': outcome }), [])
})

test('no advice where install takes the files on from there', () => {
  const rows = rowsOf({ 'deploy/one': differ('leaf.pem') })
  assert.equal(adviseAfter({ cluster }, rows).length, 1)
  assert.deepEqual(adviseAfter({ cluster: twoNodes }, rows), [])
})
