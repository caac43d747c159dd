import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Check, Diff } from '../../../lib/results.ts'
import { countPlan, foldPlan } from '../../../lib/show/plan.ts'
import { notices } from '../../../lib/show/reporter.ts'
import { changed, fakeCluster, fakeTarget, fresh, missing, onNode, planFakes } from '../../support/fakes.ts'

const plan = async (looks: Readonly<Record<string, Check>>) => await planFakes(fakeCluster(looks))
type Planned = ReturnType<typeof foldPlan>[number]

const idsOf = ({ rows }: Planned) => rows.map(({ id }) => id).join()
/** The ids of an entry, its mark, and what is copied. */
const short = (entries: readonly Planned[]) => entries.map((entry) => [idsOf(entry), entry.mark, entry.copied.join()])

test('what is made of a change has an entry of its own, and so have the nodes, with what is copied there', async () => {
  const { entries, lines, rows } = await plan({ leaf: changed })
  assert.deepEqual(short(entries), [
    ['leaf', '~', ''],
    ['config/a', '~', ''],
    ['deploy/one,deploy/two', '~', 'leaf.pem,a.config'],
  ])
  assert.deepEqual(await lines(), [
    'The leafs',
    '  ~ leaf.pem  adds SAN 192.168.1.22',
    'The configs',
    '  ~ a.config  credentials changed',
    'The deploys',
    '  ~ one, two  copy leaf.pem, a.config',
    '',
    'Plan: ~ 4 changed; inspected auth/ and 2 nodes',
  ])
  assert.deepEqual(await lines('quiet'), [])
  const stale = [...rows].filter(([, { state }]) => state === 'stale').map(([id]) => id)
  assert.deepEqual(entries.flatMap(({ rows }) => rows.map(({ id }) => id)).toSorted(), stale.toSorted())
})

test('a first run is all new, and needs no reason', async () => {
  const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  const first = { leaf: missing('leaf.pem', 'leaf-key.pem'), 'config/a': missing('a.config') }
  const { lines } = await plan({ ...first, 'deploy/one': absent, 'deploy/two': absent })
  assert.deepEqual(await lines(), [
    'The leafs',
    '  + leaf.pem',
    'The configs',
    '  + a.config',
    'The deploys',
    '  + one, two  copy leaf.pem, leaf-key.pem, a.config',
    '',
    'Plan: + 4 new; inspected auth/ and 2 nodes',
  ])
})

test('a node with something else to do has an entry of its own, with all that is copied there', async () => {
  const entriesOf = async (one: Check) => short((await plan({ leaf: changed, 'deploy/one': one })).entries).slice(2)
  const two = ['deploy/two', '~', 'leaf.pem,a.config']
  assert.deepEqual(await entriesOf(onNode({ missing: ['a.config'] })), [['deploy/one', '~', 'a.config,leaf.pem'], two])
  const none = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  assert.deepEqual(await entriesOf(none), [['deploy/one', '+', 'leaf.pem,leaf-key.pem,a.config'], two])
})

test('what --force copies although it is there already is planned', async () => {
  const forced = fakeTarget('deploy/one', {
    ...{ needs: ['leaf'], where: 'node', node: 'one' },
    check: () => onNode({ differ: ['leaf.pem'] }),
  })
  const { entries } = await planFakes([...fakeCluster({}).filter(({ node }) => node === undefined), forced])
  assert.deepEqual(short(entries), [['deploy/one', '~', 'leaf.pem']])
})

test('files that are only removed from a node are marked so', async () => {
  const { entries, lines } = await plan({ 'deploy/one': onNode({ pruned: ['old.pem', 'old-key.pem'] }) })
  assert.deepEqual([entries[0]?.mark, entries[0]?.removed], ['-', ['old.pem', 'old-key.pem']])
  assert.deepEqual((await lines()).slice(1, 4), [
    '  - one  remove old.pem, old-key.pem',
    '',
    'Plan: - 2 files removed; inspected auth/ and 2 nodes',
  ])
})

test('nothing follows from a mode', async () => {
  const openMode: Check = { diffs: [{ what: 'leaf.pem has mode 0644', verb: 'chmod', names: ['leaf.pem'] }] }
  assert.deepEqual(short((await plan({ leaf: openMode })).entries), [['leaf', '~', '']])
  const [modes] = (await plan({ 'deploy/two': onNode({ wrongMode: ['a.config'] }) })).entries
  assert.deepEqual(modes?.lines, ['a.config with a wrong mode'])
})

test('a certificate is shown with what there would be', async () => {
  const build = async () => ({ note: 'new key, expires 2036-11-22 (was 2027-03-20)' })
  const { entries } = await planFakes([fakeTarget('leaf', { check: () => changed, build })])
  const lines = ['adds SAN 192.168.1.22', 'new key, expires 2036-11-22 (was 2027-03-20)']
  assert.deepEqual([entries.length, entries[0]?.lines], [1, lines])
})

test('units that are restarted are counted on every node, whatever is folded, with why where nothing is installed', async () => {
  const diffs = ['store', 'server'].flatMap((unit): Diff[] => [
    { what: `${unit} has not loaded a` },
    { what: `restart ${unit}`, verb: 'restart', names: [unit] },
  ])
  const nodes = ['one', 'two'].map((node) =>
    fakeTarget(`deploy/${node}`, { node, where: 'node', check: () => ({ diffs }) }),
  )
  const { phases, rows, entries } = await planFakes(nodes)
  assert.deepEqual([entries.length, entries[0]?.restarts], [1, ['store', 'server']])
  assert.deepEqual(entries[0]?.lines, ['store has not loaded a; server has not loaded a'])
  const counts = { added: 0, changed: 2, removed: 0, restarts: 4 }
  assert.deepEqual(countPlan(entries), counts)
  assert.deepEqual(countPlan(foldPlan(phases, rows, false)), counts)
})

test('with nothing stale the plan is the counts alone, with warnings, failures and what is left to do', async () => {
  const { entries, lines } = await plan({ leaf: { ...fresh, warn: ['it is odd'] } })
  assert.deepEqual(entries, [])
  const beside = notices('todo', 'The CA expires; renew it')
  const planHash = 'abc'
  assert.deepEqual(await lines('normal', { planHash }), [
    'leaf: it is odd',
    'Nothing to do; inspected auth/ and 2 nodes',
    'Plan hash: abc',
  ])
  const [warning, toDo, ...rest] = await lines('normal', { notices: beside, planHash })
  assert.deepEqual(
    [warning, rest],
    ['leaf: it is odd', ['Nothing to change; inspected auth/ and 2 nodes', 'Plan hash: abc']],
  )
  assert.match(String(toDo), /^To do {6}The CA .* renew it$/)
  const check = () => {
    throw new Failure('the disk is gone', { remedy: 'bring it back' })
  }
  const failing = await planFakes([fakeTarget('leaf', { check })])
  assert.deepEqual(await failing.lines('quiet'), ['leaf: the disk is gone\n  bring it back'])
})

test('of many targets the first few are named; with all detail each has an entry of its own', async () => {
  const names = Array.from({ length: 30 }, (_, i) => `node-${i}`)
  const { lines } = await planFakes(names.map((name) => fakeTarget(`deploy/${name}`, { check: () => changed })))
  const why = 'adds SAN 192.168.1.22'
  assert.ok((await lines()).includes(`  ~ node-0, node-1, node-2 and 27 more  ${why}`))
  const all = await lines('verbose')
  for (const name of names) assert.ok(all.includes(`  ~ ${name}  ${why}`), name)
})

test('on a terminal no entry of a plan is broken inside a word', async () => {
  const added = Array.from({ length: 4 }, (_, i) => `name-${i}.of.a.long.domain.example.org`)
  const { lines } = await plan({
    leaf: { diffs: [{ what: `adds SAN ${added.join(', ')}; drops SAN 10.32.0.1`, verb: 'change' }] },
  })
  const shown = (await lines('normal', { columns: 80 })).join('\n').split('\n')
  const whole = (await lines()).join(' ')
  assert.ok(whole.includes(`adds SAN ${added.join(', ')}; drops SAN 10.32.0.1`))
  for (const line of shown) assert.ok(line.length <= 80, line)
  assert.equal(shown.join(' ').replaceAll(/ +/g, ' '), whole.replaceAll(/ +/g, ' '))
})

test('no control character of a file that is read is shown', async () => {
  const odd: Check = { diffs: [{ what: 'drops SAN \x1b[2J', verb: 'change' }] }
  const text = (await (await plan({ leaf: odd })).lines()).join('\n')
  assert.doesNotMatch(text, /\x1b|\[2J(?<!\uFFFD\[2J)/)
  assert.match(text, /drops SAN /)
})
