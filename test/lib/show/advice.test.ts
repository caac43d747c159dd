import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import type { Reason } from '../../../lib/reason.ts'
import { adviseAfter, findHeld, formatAdvice, formatHeld } from '../../../lib/show/advice.ts'
import { fakeCluster, onNode } from '../../support/fake-plan.ts'
import { fakeTarget } from '../../support/fake-target.ts'

const targets = fakeCluster({})
const built = (reasons: readonly Reason[]): Outcome => ({ kind: 'built', reasons })
const differ = (...files: string[]) => built(onNode({ differ: files }).reasons)
const advise = (outcomes: Readonly<Record<string, Outcome>>, all = targets) =>
  adviseAfter(all, new Map(Object.entries(outcomes)))

test('for nodes with the same files replaced there is one advice, with the units of all of them once', () => {
  const replaced = differ('leaf.pem', 'leaf-key.pem', 'a.config')
  assert.deepEqual(advise({ 'deploy/one': replaced, 'deploy/two': replaced }), [
    {
      nodes: ['one', 'two'],
      files: ['leaf.pem', 'leaf-key.pem', 'a.config'],
      restart: ['server', 'store', 'client'],
    },
  ])
})

test('nodes with other files replaced have an advice of their own', () => {
  assert.deepEqual(advise({ 'deploy/one': differ('a.config'), 'deploy/two': differ('leaf.pem') }), [
    { nodes: ['one'], files: ['a.config'], restart: ['client'] },
    { nodes: ['two'], files: ['leaf.pem'], restart: ['server', 'store'] },
  ])
})

const own = (name: string) =>
  fakeTarget(`own/${name}`, { makes: [`${name}.pem`, `${name}-key.pem`], restarts: ['agent'] })

test('files that bear the name of their node are one advice for many nodes, and have their names on a single one', () => {
  const all = [...targets, own('one'), own('two')]
  const one = differ('one.pem', 'one-key.pem')
  assert.deepEqual(advise({ 'deploy/one': one, 'deploy/two': differ('two.pem', 'two-key.pem') }, all), [
    { nodes: ['one', 'two'], files: ['<name>.pem', '<name>-key.pem'], restart: ['agent'] },
  ])
  assert.deepEqual(advise({ 'deploy/one': one }, all)[0]?.files, ['one.pem', 'one-key.pem'])
})

test('a node is told of its own units alone', () => {
  const all = targets.map((target) => (target.id === 'deploy/one' ? { ...target, units: ['store', 'agent'] } : target))
  const replaced = differ('leaf.pem')
  assert.deepEqual(
    advise({ 'deploy/one': replaced, 'deploy/two': replaced }, all).map(({ nodes, restart }) => [nodes, restart]),
    [
      [['one'], ['store']],
      [['two'], ['server', 'store']],
    ],
  )
})

for (const [what, outcome] of [
  ['what was not there before has been read by nobody', built(onNode({ missing: ['leaf.pem', 'a.config'] }).reasons)],
  ['a mode is nothing to restart for', built(onNode({ wrongMode: ['leaf.pem'] }).reasons)],
  ['a fresh node has nothing new', { kind: 'fresh', reasons: [] }],
  ['what a dry run would replace is the plan’s', { kind: 'stale', reasons: onNode({ differ: ['leaf.pem'] }).reasons }],
  ['what was not reached is as it was', { kind: 'cancelled', because: ['leaf'] }],
] as const satisfies readonly (readonly [string, Outcome])[])
  test(`no advice: ${what}`, () => {
    assert.deepEqual(advise({ 'deploy/one': outcome }), [])
  })

test('no advice where a further target takes the files on from there', () => {
  const install = fakeTarget('install/one', { needs: ['deploy/one'], where: 'node', node: 'one' })
  const replaced = differ('leaf.pem')
  assert.deepEqual(
    advise({ 'deploy/one': replaced, 'deploy/two': replaced }, [...targets, install]).map(({ nodes }) => nodes),
    [['two']],
  )
})

test('an advice is one line: the nodes, the files, what to do with them', () => {
  const files = ['a.pem', 'b.pem']
  assert.equal(
    formatAdvice({ nodes: ['one', 'two'], files, restart: ['server', 'store'] }),
    'one, two: a.pem, b.pem replaced: copy them to where the units read them, then restart server, store, one node at a time',
  )
  assert.equal(
    formatAdvice({ nodes: ['one'], files: ['a.pem'], restart: [] }),
    'one: a.pem replaced: copy it to where the units read it',
  )
})

describe('what waits for nodes that could not be reached', () => {
  const all = [...targets, fakeTarget('install/two', { needs: ['deploy/two'], where: 'node', node: 'two' })]
  const held = (outcomes: Readonly<Record<string, Outcome>>) => findHeld(all, new Map(Object.entries(outcomes)))
  const failed = (code: string): Outcome => ({ kind: 'failed', failure: new Failure('a failure', { code }) })
  const waits: Outcome = { kind: 'cancelled', because: ['deploy/one'] }

  test('can be done without them', () => {
    assert.deepEqual(held({ 'deploy/one': failed('timed-out'), 'install/two': waits }), { nodes: ['two'], by: ['one'] })
  })

  for (const [title, outcomes] of [
    [
      'a node could be reached, and something else went wrong',
      { 'deploy/one': failed('no-space'), 'install/two': waits },
    ],
    ['a file could not be made', { leaf: failed('damaged'), 'deploy/one': failed('timed-out'), 'install/two': waits }],
    ['it could not be reached itself', { 'deploy/two': failed('timed-out'), 'install/two': waits }],
    ['nothing failed', { 'deploy/one': { kind: 'fresh', reasons: [] }, 'install/two': waits }],
    ['nothing was begun', {}],
  ] as const satisfies readonly (readonly [string, Readonly<Record<string, Outcome>>])[])
    test(`is not told where ${title}`, () => {
      assert.deepEqual(held(outcomes).nodes, [])
    })

  test('is one line, with what to type: all nodes of it, or the first of many', () => {
    const command = (options: string) => `npm run task -- install ${options}`
    assert.equal(
      formatHeld({ nodes: ['two', 'three'], by: ['one'] }, command),
      'two, three wait for one; without it: npm run task -- install --node two --node three',
    )
    assert.equal(
      formatHeld({ nodes: ['c', 'd', 'e', 'f'], by: ['a', 'b'] }, command),
      'c, d, e, f wait for a, b; without them: npm run task -- install --node c, and so on',
    )
  })
})
