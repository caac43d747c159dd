import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome, Target } from '../../../lib/graph/target.ts'
import type { PhaseState, PhaseView, TargetState } from '../../../lib/show/phase-view.ts'
import { type Line, layOut } from '../../../lib/show/tree.ts'
import { fakeTarget } from '../../support/fake-target.ts'

/** What is left of a terminal of 24 rows when the tree has been given its own. */
const rows = 21

const made: Outcome = {
  kind: 'built',
  reasons: [{ kind: 'missing', path: 'file' }],
  change: { kind: 'made', files: ['file'], isNew: true },
}
const fresh: Outcome = { kind: 'fresh', reasons: [] }
const stale: Outcome = { kind: 'stale', reasons: [{ kind: 'forced' }] }
const failed: Outcome = { kind: 'failed', failure: new Failure('connection refused') }
const cancelled: Outcome = { kind: 'cancelled', because: ['ca'] }

function phase(name: string, size: number): PhaseView {
  const one = (i: number): Target => ({ ...fakeTarget(size === 1 ? name : `${name}/node${i}`), phase: name })
  return { name, title: name, targets: Array.from({ length: size }, (_, i) => one(i)) }
}

/** The phases of a whole run. */
const wholeRun = (nodes: number): PhaseView[] => [
  phase('ca', 1),
  phase('cluster-cert', 1),
  phase('component-certs', 5),
  phase('node-certs', nodes),
  phase('kubeconfigs', nodes + 4),
  phase('encryption-key', 1),
  phase('deploy', nodes),
  phase('local-kubeconfig', 1),
]

/** The first targets of the phase have these states, the others none. */
function progress(view: PhaseView, states: readonly (TargetState | undefined)[], seconds?: number): PhaseState {
  const known = view.targets.flatMap(({ id }, i): [string, TargetState][] => {
    const state = states[i]
    return state === undefined ? [] : [[id, state]]
  })
  return { view, states: new Map(known), seconds: seconds ?? (known.length > 0 ? 1.25 : undefined) }
}

const all = (view: PhaseView, state: TargetState) =>
  progress(
    view,
    view.targets.map(() => state),
  )
const names = (lines: readonly Line[], level: 0 | 1) =>
  lines.filter((line) => line.level === level).map(({ text }) => text)
const only = (lines: readonly Line[]): Line => {
  assert.equal(lines.length, 1)
  return lines[0] as Line
}

for (const nodes of [3, 50, 1000])
  test(`a run of ${nodes} nodes fits 24 rows at any stage, with every phase in it`, () => {
    const views = wholeRun(nodes)
    const state = fc.constantFrom<TargetState | undefined>(
      undefined,
      'checking',
      'making',
      made,
      fresh,
      stale,
      failed,
      cancelled,
    )
    // A stage of a phase: one state that most targets have, and some that have another.
    const stage = fc.record({
      most: state,
      some: fc.array(fc.tuple(fc.nat(2000), state), { maxLength: 30 }),
    })
    fc.assert(
      fc.property(fc.array(stage, { minLength: views.length, maxLength: views.length }), (stages) => {
        const phases = views.map((view, i) => {
          const states = view.targets.map(() => stages[i]?.most)
          for (const [at, other] of stages[i]?.some ?? []) states[at % states.length] = other
          return progress(view, states)
        })
        const lines = layOut(phases, rows)
        assert.ok(lines.length <= rows, `${lines.length} lines`)
        assert.deepEqual(
          names(lines, 0),
          views.map(({ title }) => title),
        )
        const failures = phases
          .filter(({ view }) => view.targets.length > 1)
          .flatMap(({ states }) => [...states.values()].filter((each) => each === failed))
        const shown = lines.filter(({ level, mark }) => level === 1 && mark === 'failed')
        assert.equal(shown.length, Math.min(failures.length, rows - views.length), 'failures shown by name')
      }),
      { numRuns: nodes === 1000 ? 30 : 100 },
    )
  })

test('a small run shows every target that was checked below its phase, in their order', () => {
  const lines = layOut([all(phase('ca', 1), made), progress(phase('deploy', 3), [made, 'making', 'checking'])], rows)
  assert.deepEqual(
    lines.map(({ level, mark, text }) => [level, mark, text]),
    [
      [0, 'made', 'ca'],
      [0, 'active', 'deploy'],
      [1, 'made', 'node0'],
      [1, 'active', 'node1'],
      [1, 'active', 'node2'],
    ],
  )
})

test('a phase of one target has its outcome beside its name', () => {
  const line = only(layOut([all(phase('ca', 1), made)], rows))
  assert.equal(line.note, 'new  1.3 s')
  assert.equal(only(layOut([all(phase('ca', 1), failed)], rows)).note, 'connection refused  1.3 s')
})

test('a phase that was not begun waits, and shows none of its targets', () => {
  const line = only(layOut([progress(phase('deploy', 3), [])], rows))
  assert.deepEqual(line, { level: 0, mark: 'waiting', text: 'deploy', note: '' })
})

test('targets that were not checked yet are not shown', () => {
  assert.deepEqual(names(layOut([progress(phase('deploy', 5), [undefined, 'making'])], rows), 1), ['node1'])
})

test('a phase under way shows how far it is', () => {
  const [line] = layOut([progress(phase('deploy', 4), [made, made, 'making'])], rows)
  assert.equal(line?.note, '▕█████     ▏ 2/4  1.3 s')
  const [begun] = layOut([progress(phase('deploy', 4), ['checking'])], rows)
  assert.equal(begun?.note, '▕          ▏ 0/4  1.3 s')
})

test('a phase with a failure is marked so while it goes on', () => {
  const [line] = layOut([progress(phase('deploy', 3), [failed, 'making'])], rows)
  assert.equal(line?.mark, 'failed')
})

for (const [outcomes, mark, note] of [
  [[made, made, failed], 'failed', '2 new, 1 failed  1.3 s'],
  [[made, cancelled, cancelled], 'cancelled', '1 new, 2 skipped  1.3 s'],
  [[stale, fresh, fresh], 'stale', '1 to make, 2 fresh  1.3 s'],
  [[made, fresh, fresh], 'made', '1 new, 2 fresh  1.3 s'],
  [[fresh, fresh, fresh], 'fresh', '3 fresh  1.3 s'],
  [[failed, cancelled, stale, made, fresh], 'failed', '1 new, 1 to make, 1 failed, 1 skipped, 1 fresh  1.3 s'],
] as const satisfies readonly [readonly Outcome[], string, string][])
  test(`a phase that ended with ${outcomes.map(({ kind }) => kind).join(', ')} is ${mark}: ${note}`, () => {
    const [line] = layOut([progress(phase('deploy', outcomes.length), outcomes)], rows)
    assert.deepEqual([line?.mark, line?.note], [mark, note])
  })

test('what is fresh is quiet: its phase says how many there are, and no target has a line', () => {
  const view = phase('deploy', 3)
  assert.deepEqual(
    layOut([all(view, fresh)], rows).map(({ mark, note }) => [mark, note]),
    [['fresh', '3 fresh  1.3 s']],
  )
  assert.deepEqual(names(layOut([progress(view, [fresh, made, fresh])], rows), 1), ['node1'])
  assert.equal(layOut([all(view, fresh)], rows, true).length, 4)
})

test('what is only checked has done its work where it is fresh, and is shown', () => {
  const view = phase('arrows', 2)
  const targets = view.targets.map(({ build, ...target }) => target)
  const lines = layOut([all({ ...view, targets }, fresh)], rows)
  assert.deepEqual(
    lines.map(({ mark }) => mark),
    ['made', 'made', 'made'],
  )
})

test('a phase of one target says what is done now beside its name', () => {
  const state: TargetState = { doing: 'new key' }
  assert.equal(only(layOut([all(phase('ca', 1), state)], rows)).note, 'new key  1.3 s')
})

test('a target that is built says what is done now', () => {
  const lines = layOut([progress(phase('deploy', 2), [{ doing: 'copying', files: 14 }, 'checking'])], rows)
  assert.deepEqual(
    lines.slice(1).map(({ mark, note }) => [mark, note]),
    [
      ['active', 'copying 14 files'],
      ['active', 'checking'],
    ],
  )
})

test('a group that does not fit collapses into its phase, and one that fits is shown whole', () => {
  const lines = layOut([all(phase('node-certs', 50), made), all(phase('deploy', 5), made)], rows)
  assert.deepEqual(names(lines, 0), ['node-certs', 'deploy'])
  assert.deepEqual(
    names(lines, 1),
    Array.from({ length: 5 }, (_, i) => `node${i}`),
  )
  assert.equal(lines[0]?.note, '50 new  1.3 s')
})

test('of several groups of which not all fit, the later are shown', () => {
  const lines = layOut([all(phase('one', 8), made), all(phase('two', 8), made), all(phase('three', 8), made)], rows)
  assert.deepEqual(
    lines
      .map(({ level, text }) => (level === 0 ? text : '-'))
      .join(' ')
      .replace(/( -)+/g, ' …'),
    'one two … three …',
  )
})

test('a phase under way is shown before a later one that is done', () => {
  const views = [progress(phase('one', 12), Array(11).fill(made)), all(phase('two', 12), made)]
  const lines = layOut(views, rows)
  assert.equal(
    lines.findIndex(({ text }) => text === 'two'),
    lines.length - 1,
  )
  assert.equal(names(lines, 1).length, 11)
})

test('failures are shown by name even where their group collapses', () => {
  const view = phase('deploy', 1000)
  const states = view.targets.map((_, i) => (i === 998 ? failed : made))
  const lines = layOut([progress(view, states)], rows)
  assert.deepEqual(lines.slice(1), [{ level: 1, mark: 'failed', text: 'node998', note: 'connection refused' }])
})

test('failures come before active targets where there is no room for both', () => {
  const view = phase('deploy', 100)
  const states = view.targets.map((_, i): TargetState => (i >= 80 ? failed : 'making'))
  const lines = layOut([progress(phase('node-certs', 30), Array(30).fill('checking')), progress(view, states)], rows)
  assert.equal(lines.length, rows)
  assert.deepEqual(names(lines, 1)[0], 'node80')
  assert.ok(lines.filter(({ level }) => level === 1).every(({ mark }) => mark === 'failed'))
})

test('active targets are shown before those that are done', () => {
  const view = phase('deploy', 100)
  const states = view.targets.map((_, i): TargetState => (i === 50 ? 'making' : made))
  const lines = layOut([progress(view, states)], rows)
  assert.deepEqual(lines.slice(1), [{ level: 1, mark: 'active', text: 'node50', note: 'making' }])
})

test('with fewer rows than phases the phases alone are shown', () => {
  const lines = layOut(
    wholeRun(3).map((view) => all(view, failed)),
    4,
  )
  assert.ok(lines.every(({ level }) => level === 0))
})

test('with room without end everything is shown', () => {
  const views = wholeRun(1000)
  const lines = layOut(
    views.map((view) => all(view, made)),
    Number.POSITIVE_INFINITY,
  )
  const children = views.filter(({ targets }) => targets.length > 1).flatMap(({ targets }) => targets)
  assert.equal(lines.length, views.length + children.length)
})

test('stale targets are shown before those that succeeded, if there is not room for both', () => {
  const [first, second] = [phase('clients', 30), phase('strangers', 5)]
  const states = first.targets.map((_, i) => (i === 29 ? stale : made))
  assert.deepEqual(names(layOut([progress(first, states), all(second, made)], 8), 1), [
    'node29',
    ...second.targets.map((_, i) => `node${i}`),
  ])
  assert.deepEqual(names(layOut([progress(first, states), all(second, made)], 4), 1), ['node29'])
})
