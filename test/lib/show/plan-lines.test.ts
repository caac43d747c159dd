import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Look } from '../../../lib/reason.ts'
import { changed, fakeCluster, missing, onNode, planFakes } from '../../support/fake-plan.ts'
import { fakeTarget, fresh } from '../../support/fake-target.ts'

/** Between the end of the progress and the counts. */
async function planOf(verdicts: Readonly<Record<string, Look>>): Promise<string[]> {
  return (await (await planFakes(fakeCluster(verdicts))).tell()).slice(1, -1)
}

test('the progress ends before the plan begins, and the counts come last', async () => {
  const { tell } = await planFakes(fakeCluster({ leaf: changed }))
  assert.deepEqual(await tell(), [
    'the progress ends',
    'The leafs',
    '  ~ leaf.pem  SAN added: 192.168.1.22',
    'The configs',
    '  ~ a.config  follows leaf.pem',
    'The deploys',
    '  ~ one, two  copy leaf.pem, a.config',
    '      ↻ yours to restart: server, store, client',
    '',
    'Plan: ~ 4 changed',
    '4 targets: 4 to make, 0 fresh, 0 failed in 0.3 s',
  ])
})

test('where it is to be quiet a plan is nothing, and a failure is reported', async () => {
  const { tell } = await planFakes(fakeCluster({ leaf: changed }))
  assert.deepEqual(await tell({ detail: 'quiet' }), ['the progress ends'])
  const failing = await planFakes([
    fakeTarget('leaf', {
      check: () => {
        throw new Failure('the disk is gone', { remedy: 'bring it back' })
      },
    }),
  ])
  assert.deepEqual((await failing.tell({ detail: 'quiet' })).slice(1), ['leaf: the disk is gone\n    bring it back'])
})

test('where nothing is stale the plan is the counts alone', async () => {
  const { tell } = await planFakes(fakeCluster({}))
  assert.deepEqual((await tell()).slice(1), ['Nothing to do.', '4 targets: 0 made, 4 fresh, 0 failed in 0.3 s'])
})

test('a first run is reported by phase, each target once', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  assert.deepEqual(
    await planOf({
      ...{ leaf: missing('leaf.pem', 'leaf-key.pem'), 'config/a': missing('a.config') },
      ...{ 'deploy/one': absent, 'deploy/two': absent },
    }),
    [
      'The leafs',
      '  + leaf.pem',
      'The configs',
      '  + a.config',
      'The deploys',
      '  + one, two  copy leaf.pem, leaf-key.pem, a.config',
      '',
      'Plan: + 4 new',
    ],
  )
})

test('targets with which the same is done share an entry, and others have their own', async () => {
  const both = await planOf({
    ...{ 'deploy/one': onNode({ missing: ['leaf.pem'] }), 'deploy/two': onNode({ missing: ['leaf.pem'] }) },
  })
  assert.deepEqual(both.slice(1, -2), ['  + one, two  copy leaf.pem'])
  const apart = await planOf({
    ...{ 'deploy/one': onNode({ missing: ['leaf.pem'] }), 'deploy/two': onNode({ pruned: ['old.pem'] }) },
  })
  assert.deepEqual(apart.slice(1), [
    '  + one  copy leaf.pem',
    '  - two  - remove old.pem',
    '',
    'Plan: + 1 new, - 1 file removed',
  ])
})

test('warnings of what is fresh are reported below the plan', async () => {
  const told = await planOf({ leaf: { ...fresh, warning: 'the CA expires soon' } })
  assert.deepEqual(told, ['leaf: the CA expires soon', 'Nothing to do.'])
})

const names = Array.from({ length: 30 }, (_, i) => `a-node-with-a-long-name-${i}`)
const manyNodes = [
  fakeTarget('leaf', { makes: ['leaf.pem'], check: () => changed, restarts: names }),
  ...names.map((name) => fakeTarget(`deploy/${name}`, { needs: ['leaf'], where: 'node', check: () => fresh })),
]

test('of many targets the first few are named', async () => {
  const { tell } = await planFakes(manyNodes)
  assert.match((await tell()).join('\n'), /~ a-node-with-a-long-name-0, .* and 27 more {2}follows leaf/)
})

test('with all detail every target has an entry of its own, and none is left out', async () => {
  const { tell } = await planFakes(manyNodes)
  const told = await tell({ detail: 'verbose' })
  for (const name of names) assert.ok(told.includes(`  ~ ${name}  follows leaf.pem`), name)
})

test('no control character of a file that is read is shown', async () => {
  const told = await planOf({ leaf: { reasons: [{ kind: 'san-changed', added: [], removed: ['\x1b[2J'] }] } })
  assert.doesNotMatch(told.join('\n'), /\x1b/)
  assert.match(told.join('\n'), /SAN removed: /)
})
