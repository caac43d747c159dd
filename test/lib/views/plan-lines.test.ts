import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Verdict } from '../../../lib/reason.ts'
import { changed, fakeCluster, missing, onNode, planFakes } from '../../support/fake-plan.ts'
import { fakeTarget, fresh } from '../../support/fake-target.ts'

/** Between the end of the progress and the counts. */
async function planOf(verdicts: Readonly<Record<string, Verdict>>, width = 80): Promise<string[]> {
  return (await (await planFakes(fakeCluster(verdicts))).tell({ width })).slice(1, -1)
}

test('the progress ends before the plan begins, and the counts come last', async () => {
  const { tell } = await planFakes(fakeCluster({ leaf: changed }))
  assert.deepEqual(await tell(), [
    'the progress ends',
    'The leafs',
    '  leaf.pem: SAN added: 192.168.1.22',
    '    → config a → deploy one, two → then restart server, store, client',
    '',
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
  assert.deepEqual((await tell()).slice(1), ['4 targets: 0 made, 4 fresh, 0 failed in 0.3 s'])
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
      '  leaf.pem: new',
      'The configs',
      '  a.config: new',
      'The deploys',
      '  one, two: leaf.pem, leaf-key.pem, a.config missing',
      '',
    ],
  )
})

test('a reason that begins with a file of the target says no other name', async () => {
  assert.deepEqual((await planOf({ leaf: missing('leaf-key.pem') }))[1], '  leaf-key.pem missing')
})

test('targets with one reason share a line, and those with another have their own', async () => {
  const both = await planOf({
    ...{ 'deploy/one': onNode({ missing: ['leaf.pem'] }), 'deploy/two': onNode({ missing: ['leaf.pem'] }) },
  })
  assert.deepEqual(both, ['The deploys', '  one, two: leaf.pem missing', ''])
  const apart = await planOf({
    ...{ 'deploy/one': onNode({ missing: ['leaf.pem'] }), 'deploy/two': onNode({ missing: ['a.config'] }) },
  })
  assert.deepEqual(apart, ['The deploys', '  one: leaf.pem missing', '  two: a.config missing', ''])
})

test('a restart that follows from nothing else is reported without a "then"', async () => {
  assert.deepEqual(await planOf({ 'deploy/two': onNode({ differ: ['a.config'] }) }), [
    'The deploys',
    '  two: a.config differs',
    '    → restart client',
    '',
  ])
})

test('warnings of what is fresh are reported below the plan, broken to fit', async () => {
  const warning = `the CA expires soon, ${'and all that it issued with it, '.repeat(4)}`.trim()
  const told = await planOf({ leaf: { ...fresh, warning } }, 60)
  assert.ok(told.length > 2)
  for (const line of told) assert.ok(line.length <= 60, line)
  assert.equal(told.map((line) => line.trim()).join(' '), `leaf: ${warning}`)
})

test('no line is wider than the terminal, however much there is to tell', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `a-node-with-a-long-name-${i}`)
  const { tell } = await planFakes([
    fakeTarget('leaf', { makes: ['leaf.pem'], check: () => changed, restarts: names }),
    ...names.map((name) => fakeTarget(`deploy/${name}`, { needs: ['leaf'], where: 'node', check: () => fresh })),
  ])
  for (const width of [50, 80, 200])
    for (const line of await tell({ width })) assert.ok(line.length <= width, `${line.length} > ${width}: ${line}`)
  assert.match(
    (await tell({ width: 1000 })).join('\n'),
    /→ deploy a-node-with-a-long-name-0, .* and 27 more → then restart/,
  )
})

test('with all detail every name is reported', async () => {
  const names = Array.from({ length: 9 }, (_, i) => `node${i}`)
  const { tell } = await planFakes([
    fakeTarget('leaf', { makes: ['leaf.pem'], check: () => changed }),
    ...names.map((name) => fakeTarget(`deploy/${name}`, { needs: ['leaf'], where: 'node', check: () => fresh })),
  ])
  assert.ok((await tell({ detail: 'verbose', width: 200 })).includes(`    → deploy ${names.join(', ')}`))
  assert.ok((await tell()).includes('    → deploy node0, node1, node2 and 6 more'))
})

test('no control character of a file that is read is shown', async () => {
  const told = await planOf({ leaf: { reasons: [{ kind: 'san-changed', added: [], removed: ['\x1b[2J'] }] } })
  assert.doesNotMatch(told.join('\n'), /\x1b/)
  assert.match(told.join('\n'), /SAN removed: /)
})
