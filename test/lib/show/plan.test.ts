import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../../../lib/change.ts'
import type { Look, Reason } from '../../../lib/reason.ts'
import { countEntries, planEntries } from '../../../lib/show/plan.ts'
import { changed, fakeCluster, missing, onNode, planFakes } from '../../support/fake-plan.ts'
import { fakeTarget } from '../../support/fake-target.ts'

const openMode: Look = { reasons: [{ kind: 'wrong-mode', path: 'leaf.pem', was: 0o644, wanted: 0o600 }] }
const plan = async (verdicts: Readonly<Record<string, Look>>) => await planFakes(fakeCluster(verdicts))
/** The ids of an entry, its mark, what is copied, and what is left to its user to restart. */
const short = (entries: Awaited<ReturnType<typeof plan>>['entries']) =>
  entries.map(({ ids, mark, copied, yours }) => [ids.join(), mark, copied.join(), yours.join()])

test('without stale targets there are no entries', async () => {
  assert.deepEqual((await plan({})).entries, [])
})

test('what is made of a change has an entry of its own, and so have the nodes, with what is copied there', async () => {
  assert.deepEqual(short((await plan({ leaf: changed })).entries), [
    ['leaf', '~', '', ''],
    ['config/a', '~', '', ''],
    ['deploy/one,deploy/two', '~', 'leaf.pem,a.config', 'server,store,client'],
  ])
})

test('what has no reason of its own follows from the files that would be made', async () => {
  const { entries } = await plan({ leaf: changed })
  assert.deepEqual(
    entries.map(({ why }) => why),
    ['SAN added: 192.168.1.22', 'follows leaf.pem', ''],
  )
})

test('a mode alone has its file for a name, and nothing follows from it', async () => {
  const { entries } = await plan({ leaf: openMode })
  assert.deepEqual(
    entries.map(({ ids, names, mark, why }) => [ids, names, mark, why]),
    [[['leaf'], ['leaf.pem'], '~', 'mode 0600 (was 0644)']],
  )
})

test('what is not there is new, and needs no reason; half a pair is not new', async () => {
  const [first] = (await plan({ leaf: missing('leaf.pem', 'leaf-key.pem') })).entries
  assert.deepEqual([first?.mark, first?.why], ['+', ''])
})

test('every target that would be made is in the plan once', async () => {
  const { entries, outcomes } = await plan({ leaf: changed, 'deploy/one': onNode({ differ: ['a.config'] }) })
  const stale = [...outcomes].filter(([, { kind }]) => kind === 'stale').map(([id]) => id)
  assert.deepEqual(entries.flatMap(({ ids }) => ids).toSorted(), stale.toSorted())
})

test('a node with something else wrong has an entry of its own, with all that is copied there', async () => {
  const absent = onNode({ missing: ['a.config'] })
  assert.deepEqual(short((await plan({ leaf: changed, 'deploy/one': absent })).entries).slice(2), [
    ['deploy/one', '~', 'a.config,leaf.pem', 'server,store'],
    ['deploy/two', '~', 'leaf.pem,a.config', 'server,store,client'],
  ])
})

test('a node that has none of the files is new, and nothing there has them open', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  const { entries } = await plan({ leaf: changed, 'deploy/one': absent })
  assert.deepEqual(short(entries)[2], ['deploy/one', '+', 'leaf.pem,leaf-key.pem,a.config', ''])
})

test('nothing is to be restarted for a mode or an owner on a node, nor where a further target takes the files on', async () => {
  const [modes] = (await plan({ 'deploy/two': onNode({ wrongMode: ['a.config'] }) })).entries
  assert.deepEqual([modes?.yours, modes?.why], [[], 'a.config with a wrong mode'])
  const install = fakeTarget('install/one', { needs: ['deploy/one'], where: 'node', node: 'one' })
  const { entries } = await planFakes([...fakeCluster({ leaf: changed }), install])
  assert.deepEqual(
    entries.flatMap(({ ids, yours }) => (yours.length > 0 ? ids : [])),
    ['deploy/two'],
  )
})

test('files that are only removed from a node are marked so', async () => {
  const [entry] = (await plan({ 'deploy/one': onNode({ pruned: ['old.pem', 'old-key.pem'] }) })).entries
  assert.deepEqual([entry?.mark, entry?.removed], ['-', ['old.pem', 'old-key.pem']])
})

const facts = (key: string, expires: string, names: number) => ({ key, expires: new Date(expires), names })
for (const [is, was, text, files = ['leaf.pem']] of [
  [facts('rsa-2048', '2036-11-22', 0), undefined, 'rsa-2048, expires 2036-11-22'],
  [facts('rsa-2048', '2036-11-22', 19), facts('rsa-2048', '2036-11-22', 19), 'rsa-2048, expires 2036-11-22, 19 names'],
  [
    facts('ecdsa-p256', '2036-11-22', 2),
    facts('rsa-2048', '2027-03-20', 1),
    'ecdsa-p256 (was rsa-2048), expires 2036-11-22 (was 2027-03-20), 2 names (was 1)',
  ],
  [
    facts('rsa-2048', '2036-11-22', 1),
    facts('rsa-2048', '2036-11-22', 1),
    'new key, rsa-2048, expires 2036-11-22, 1 name',
    ['leaf.pem', 'leaf-key.pem'],
  ],
] as const)
  test(`a certificate is shown with what was, where that was another: ${text}`, async () => {
    const change: Change = { kind: 'made', files, isNew: was === undefined, is, was }
    const { entries } = await planFakes([fakeTarget('leaf', { check: () => changed, foresee: () => change })])
    assert.deepEqual(
      entries.map((entry) => entry.facts),
      [text],
    )
  })

test('units that are restarted are counted on every node, whatever is folded; and so is what is removed', async () => {
  const unit = (name: string): Reason => ({
    ...{ kind: 'unit', unit: name, places: [], notLoaded: ['/etc/a'], notServed: [], restarts: true, isDrained: false },
  })
  const change: Change = { kind: 'installed', paths: [], restarts: ['store', 'server'] }
  const node = (name: string) =>
    fakeTarget(`deploy/${name}`, {
      node: name,
      where: 'node',
      check: () => ({ reasons: [unit('store'), unit('server')] }),
      foresee: () => change,
    })
  const { views, outcomes, entries } = await planFakes([node('one'), node('two')])
  assert.deepEqual(
    entries.map(({ ids, restarts }) => [ids, restarts]),
    [
      [
        ['deploy/one', 'deploy/two'],
        ['store', 'server'],
      ],
    ],
  )
  assert.match(entries[0]?.why ?? '', /^store: a written but not loaded/)
  const counts = { added: 0, changed: 2, removed: 0, restarts: 4 }
  assert.deepEqual(countEntries(planEntries(views, outcomes)), counts)
  assert.deepEqual(countEntries(planEntries(views, outcomes, false)), counts)
})
