import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { buildGraph, type Target, type Verdict } from '../../lib/graph.ts'
import { createPlan, formatPlan, planSteps } from '../../lib/plan.ts'
import type { Reason } from '../../lib/reason.ts'
import { type Reporter, summarise, viewPhases } from '../../lib/reporter.ts'
import { fakeTarget, fresh, runFakes } from './fake-target.ts'

const changed: Verdict = { reasons: [{ kind: 'san-changed', added: ['192.168.1.22'], removed: [] }] }
const openMode: Verdict = { reasons: [{ kind: 'wrong-mode', path: 'leaf.pem', was: 0o644, asked: 0o600 }] }
const missing = (...paths: string[]): Verdict => ({ reasons: paths.map((path) => ({ kind: 'missing', path })) })
const onNode = (told: Partial<Reason & { kind: 'on-node' }>): Verdict => ({
  reasons: [
    { kind: 'on-node', missing: [], differ: [], wrongMode: [], wrongOwner: [], pruned: [], leftovers: [], ...told },
  ],
})

const phases = ['leaf', 'config', 'deploy'].map((name) => ({ name, title: `The ${name}s` }))

/** A leaf, the config made of it, and two nodes that get both; all of them fresh unless told otherwise. */
function targets(verdicts: Readonly<Record<string, Verdict>>): Target[] {
  const target = (id: string, told: Partial<Target>) => fakeTarget(id, { check: () => verdicts[id] ?? fresh, ...told })
  const needs = ['leaf', 'config/a']
  return [
    target('leaf', { makes: ['leaf.pem', 'leaf-key.pem'], usedBy: ['server', 'store'] }),
    target('config/a', { needs: ['leaf'], makes: ['a.config'], usedBy: ['client'] }),
    target('deploy/one', { needs, lane: 'ssh', node: 'one' }),
    target('deploy/two', { needs, lane: 'ssh', node: 'two' }),
  ]
}

async function plan(all: readonly Target[]) {
  const views = viewPhases(phases, buildGraph(all))
  const outcomes = await runFakes(all, { dryRun: true }).outcomes
  const steps = planSteps(views, outcomes).map(({ phase, follows, targets: own, ...rest }) => ({
    ids: own.map(({ id }) => id),
    follows: follows.map(({ id }) => id),
    ...rest,
  }))
  const lines = (width = 80) => formatPlan(views, summarise(outcomes, 0, 4), width).map(stripVTControlCharacters)
  return { views, outcomes, steps, lines }
}

describe('the plan of a dry run', () => {
  test('where nothing is stale is empty', async () => {
    const { steps, lines } = await plan(targets({}))
    assert.deepEqual([steps, lines()], [[], []])
  })

  test('tells what follows from a change, through all that stands between, and what has the files open', async () => {
    const { steps, lines } = await plan(targets({ leaf: changed }))
    assert.deepEqual(steps, [
      {
        ids: ['leaf'],
        why: 'SAN added: 192.168.1.22',
        follows: ['config/a', 'deploy/one', 'deploy/two'],
        restart: ['server', 'store', 'client'],
      },
    ])
    assert.deepEqual(lines(), [
      'The leafs',
      '  leaf.pem: SAN added: 192.168.1.22',
      '    → config a → deploy one, two → then restart server, store, client',
      '',
    ])
  })

  test('has nothing following from a mode alone', async () => {
    const { steps } = await plan(targets({ leaf: openMode }))
    assert.deepEqual(steps, [{ ids: ['leaf'], why: 'leaf.pem has mode 0644, not 0600', follows: [], restart: [] }])
  })

  test('of a first run says "new" once a phase, and restarts nothing', async () => {
    const absent = onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] })
    const { lines, steps } = await plan(
      targets({
        leaf: missing('leaf.pem', 'leaf-key.pem'),
        'config/a': missing('a.config'),
        'deploy/one': absent,
        'deploy/two': absent,
      }),
    )
    assert.deepEqual(lines(), [
      'The leafs',
      '  leaf.pem: new',
      'The configs',
      '  a.config: new',
      'The deploys',
      '  one, two: leaf.pem, leaf-key.pem, a.config missing',
      '',
    ])
    assert.ok(steps.every(({ restart }) => restart.length === 0))
  })

  test('of half a pair does not say that it is new', async () => {
    const { steps } = await plan(targets({ leaf: missing('leaf-key.pem') }))
    assert.deepEqual(steps[0]?.why, 'leaf-key.pem missing')
  })

  test('tells what follows from several new things once, with the last of them', async () => {
    const [leaf, config, ...nodes] = targets({ leaf: missing('leaf.pem', 'leaf-key.pem') })
    assert.ok(leaf && config)
    const other = fakeTarget('config/b', { makes: ['b.config'], check: () => missing('b.config') })
    const { steps } = await plan([
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

  test('restarts what has a file open on one node, though another is new', async () => {
    const { steps } = await plan(
      targets({ leaf: changed, 'deploy/one': onNode({ missing: ['leaf.pem', 'leaf-key.pem', 'a.config'] }) }),
    )
    assert.deepEqual(steps[0]?.restart, ['server', 'store', 'client'])
  })

  test('restarts what has a file open that differs on a node', async () => {
    const { lines } = await plan(targets({ 'deploy/two': onNode({ differ: ['a.config'] }) }))
    assert.deepEqual(lines(), ['The deploys', '  two: a.config differs', '    → then restart client', ''])
  })

  test('restarts nothing for a mode or an owner on a node', async () => {
    const { steps } = await plan(
      targets({ 'deploy/two': onNode({ wrongMode: ['a.config'], wrongOwner: ['leaf.pem'] }) }),
    )
    assert.deepEqual(
      steps.map(({ restart }) => restart),
      [[]],
    )
  })

  test('names no component beside "every component"', async () => {
    const [leaf, ...others] = targets({ leaf: changed })
    assert.ok(leaf)
    const { steps } = await plan([{ ...leaf, usedBy: ['every component'] }, ...others])
    assert.deepEqual(steps[0]?.restart, ['every component'])
  })

  test('restarts nothing where nothing is deployed', async () => {
    const { steps } = await plan(targets({ leaf: changed }).slice(0, 2))
    assert.deepEqual(steps, [{ ids: ['leaf'], why: 'SAN added: 192.168.1.22', follows: ['config/a'], restart: [] }])
  })

  test('tells once what has one reason, and apart what has another', async () => {
    const { lines } = await plan(
      targets({
        'deploy/one': onNode({ missing: ['leaf.pem'] }),
        'deploy/two': onNode({ missing: ['leaf.pem'] }),
      }),
    )
    assert.deepEqual(lines(), ['The deploys', '  one, two: leaf.pem missing', ''])
    const apart = await plan(
      targets({
        'deploy/one': onNode({ missing: ['leaf.pem'] }),
        'deploy/two': onNode({ missing: ['a.config'] }),
      }),
    )
    assert.deepEqual(apart.lines(), ['The deploys', '  one: leaf.pem missing', '  two: a.config missing', ''])
  })

  test('has every target that would be made, as what is stale or as what follows', async () => {
    const { steps, outcomes } = await plan(targets({ leaf: changed, 'deploy/one': onNode({ differ: ['a.config'] }) }))
    const told = new Set(steps.flatMap(({ ids, follows }) => [...ids, ...follows]))
    const stale = [...outcomes].filter(([, { kind }]) => kind === 'stale').map(([id]) => id)
    assert.deepEqual([...told].toSorted(), stale.toSorted())
  })

  test('deploys a change, and restarts for it, on a node that has something else wrong too', async () => {
    const [leaf, config, one] = targets({ leaf: changed, 'deploy/one': onNode({ missing: ['a.config'] }) })
    assert.ok(leaf && config && one)
    const { steps } = await plan([leaf, config, one])
    const [first] = steps
    assert.deepEqual(first?.follows, ['config/a', 'deploy/one'])
    assert.deepEqual(first.restart, ['server', 'store'])
  })

  test('tells warnings of what is fresh below it, broken to fit', async () => {
    const warning = `the CA ends soon, ${'and all that it issued with it, '.repeat(4)}`
    const { lines } = await plan(targets({ leaf: { ...fresh, warning } }))
    const told = lines(60)
    assert.ok(told.length > 2)
    for (const line of told) assert.ok(line.length <= 60, line)
    assert.equal(told.map((line) => line.trim()).join(' '), `leaf: ${warning.trim()}`)
  })

  test('keeps to the width of the terminal, however much there is to tell', async () => {
    const names = Array.from({ length: 30 }, (_, i) => `a-node-with-a-long-name-${i}`)
    const all = [
      fakeTarget('leaf', { makes: ['leaf.pem'], check: () => changed, usedBy: names }),
      ...names.map((name) => fakeTarget(`deploy/${name}`, { needs: ['leaf'], lane: 'ssh', check: () => fresh })),
    ]
    const { lines } = await plan(all)
    for (const width of [40, 80, 200])
      for (const line of lines(width)) assert.ok(line.length <= width, `${line.length} > ${width}: ${line}`)
    assert.match(lines(1000).join('\n'), /→ deploy a-node-with-a-long-name-0, .* and 27 more → then restart/)
  })

  test('shows no control character of a file that is read', async () => {
    const { lines } = await plan(
      targets({ leaf: { reasons: [{ kind: 'san-changed', added: [], removed: ['\x1b[31mred\x1b[0m'] }] } }),
    )
    assert.doesNotMatch(lines().join('\n'), /\x1b/)
  })
})

describe('the reporter of a plan', () => {
  const say = async (quiet: boolean, verdicts: Readonly<Record<string, Verdict>>) => {
    const { views, outcomes } = await plan(targets(verdicts))
    const told: string[] = []
    const progress: Reporter = {
      event: () => {},
      note: () => {},
      problem: () => {},
      end: async () => void told.push('the progress ends'),
    }
    await createPlan({ phases: views, quiet, width: 80, write: (line) => told.push(line) }, progress).end(
      summarise(outcomes, 0.3, 4),
    )
    return told.map(stripVTControlCharacters)
  }

  test('lets the progress end first, and ends with the counts', async () => {
    const told = await say(false, { leaf: changed })
    assert.deepEqual([told[0], told.at(-1)], ['the progress ends', '4 targets: 4 to make, 0 fresh, 0 failed in 0.3 s'])
  })

  test('says nothing where it is to be quiet', async () => {
    assert.deepEqual(await say(true, { leaf: changed }), ['the progress ends'])
  })

  test('says of nothing stale that all is fresh', async () => {
    assert.deepEqual((await say(false, {})).at(-1), '4 targets: 0 made, 4 fresh, 0 failed in 0.3 s')
  })
})
