import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { asFindings, type Change, type CheckResult, type Reason } from '../../../lib/results.ts'
import { countPlan, foldPlan } from '../../../lib/show/plan.ts'
import { changed, fakeCluster, fakeTarget, fresh, missing, onNode, planFakes } from '../../support/fakes.ts'

const plan = async (looks: Readonly<Record<string, CheckResult>>) => await planFakes(fakeCluster(looks))
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
  const stale = [...rows].filter(([, { kind }]) => kind === 'stale').map(([id]) => id)
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
  const entriesOf = async (one: CheckResult) =>
    short((await plan({ leaf: changed, 'deploy/one': one })).entries).slice(2)
  const two = ['deploy/two', '~', 'leaf.pem,a.config']
  assert.deepEqual(await entriesOf(onNode({ missing: ['a.config'] })), [['deploy/one', '~', 'a.config,leaf.pem'], two])
  const none = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
  assert.deepEqual(await entriesOf(none), [['deploy/one', '+', 'leaf.pem,leaf-key.pem,a.config'], two])
})

test('what --force copies although it is there already is planned', async () => {
  const forced = fakeTarget('deploy/one', {
    ...{ needs: ['leaf'], where: 'node', node: 'one' },
    check: () => ({
      reasons: [{ kind: 'forced' }],
      change: { kind: 'deployed', files: ['leaf.pem'], removed: [] },
    }),
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
  const openMode: CheckResult = { reasons: [{ kind: 'wrong-mode', path: 'leaf.pem', was: 0o644, wanted: 0o600 }] }
  assert.deepEqual(short((await plan({ leaf: openMode })).entries), [['leaf', '~', '']])
  const [modes] = (await plan({ 'deploy/two': onNode({ wrongMode: ['a.config'] }) })).entries
  assert.equal(modes?.why, 'a.config with a wrong mode')
})

const facts = (key: string, expires: string, names: number) => ({ key, expires: new Date(expires), names })
for (const [is, was, text, files = ['leaf.pem']] of [
  [facts('rsa-2048', '2036-11-22', 0), undefined, 'rsa-2048, expires 2036-11-22'],
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
    const { entries } = await planFakes([fakeTarget('leaf', { check: () => changed, build: async () => ({ change }) })])
    assert.deepEqual([entries.length, entries[0]?.facts], [1, text])
  })

test('units that are restarted are counted on every node, whatever is folded, with why where nothing is installed', async () => {
  const reasons = ['store', 'server'].map((unit): Reason => {
    const none = { places: [], notServed: [], isDrained: false }
    return { kind: 'unit', unit, ...none, notLoaded: ['/etc/a'], restarts: true }
  })
  const change: Change = { kind: 'installed', paths: [], removed: [], restarts: ['store', 'server'] }
  const nodes = ['one', 'two'].map((node) =>
    fakeTarget(`deploy/${node}`, { node, where: 'node', check: () => ({ reasons, change }) }),
  )
  const { phases, rows, entries } = await planFakes(nodes)
  assert.deepEqual([entries.length, entries[0]?.restarts], [1, ['store', 'server']])
  assert.match(entries[0]?.why ?? '', /^restart store: a installed but not loaded/)
  const counts = { added: 0, changed: 2, removed: 0, restarts: 4 }
  assert.deepEqual(countPlan(entries), counts)
  assert.deepEqual(countPlan(foldPlan(phases, rows, false)), counts)
})

test('with nothing stale the plan is the counts alone, with warnings, failures and what is left to do', async () => {
  const { entries, lines } = await plan({ leaf: { ...fresh, findings: asFindings(['it is odd']) } })
  assert.deepEqual(entries, [])
  const findings = asFindings(['The CA expires'], { owner: 'user', remedy: 'renew it' })
  const planHash = 'abc'
  assert.deepEqual(await lines('normal', { planHash }), [
    'leaf: it is odd',
    'Nothing to do; inspected auth/ and 2 nodes',
    'Plan hash: abc',
  ])
  const [warning, toDo, ...rest] = await lines('normal', { findings, planHash })
  assert.deepEqual(
    [warning, rest],
    ['leaf: it is odd', ['Nothing to change; inspected auth/ and 2 nodes', 'Plan hash: abc']],
  )
  assert.match(String(toDo), /^To do {6}The CA .* renew it$/)
  const check = () => {
    throw new Failure('the disk is gone', { remedy: 'bring it back' })
  }
  const failing = await planFakes([fakeTarget('leaf', { check })])
  assert.deepEqual(await failing.lines('quiet'), ['leaf: the disk is gone\n    bring it back'])
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
  const { lines } = await plan({ leaf: { reasons: [{ kind: 'san-changed', added, removed: ['10.32.0.1'] }] } })
  const shown = (await lines('normal', { columns: 80 })).join('\n').split('\n')
  const whole = (await lines()).join(' ')
  assert.ok(whole.includes(`adds SAN ${added.join(', ')}; drops SAN 10.32.0.1`))
  for (const line of shown) assert.ok(line.length <= 80, line)
  assert.equal(shown.join(' ').replaceAll(/ +/g, ' '), whole.replaceAll(/ +/g, ' '))
})

test('no control character of a file that is read is shown', async () => {
  const odd: CheckResult = { reasons: [{ kind: 'san-changed', added: [], removed: ['\x1b[2J'] }] }
  const text = (await (await plan({ leaf: odd })).lines()).join('\n')
  assert.doesNotMatch(text, /\x1b|\[2J(?<!\uFFFD\[2J)/)
  assert.match(text, /drops SAN /)
})
