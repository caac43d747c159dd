import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Event, Outcome, Target } from '../../../lib/graph/target.ts'
import { layOut } from '../../../lib/show/tree.ts'
import { stale as absent, fakeRow, fakeTarget } from '../../support/fakes.ts'
import { fc } from '../../support/properties.ts'

/** What is left of a terminal of 24 rows when the tree has been given its own. */
const rows = 21

type State = (id: string) => Event
const checking: State = (id) => ({ type: 'started', id })
const queued: State = (id) => ({ type: 'queued', id })
const making: State = (id) => ({ type: 'building', id, diffs: [] })
const ended =
  (outcome: Outcome): State =>
  (id) => ({ type: 'ended', id, row: fakeRow(id, outcome) })
const made = ended({ state: 'built', ...absent })
const fresh = ended({ state: 'fresh' })
const stale = ended({ state: 'stale', ...absent })
const failed = ended({ state: 'failed', failure: new Failure('connection refused') })
const skipped = ended({ state: 'skipped', because: ['ca'] })

const phase = (name: string, size: number): Target[] =>
  Array.from({ length: size }, (_, i) => fakeTarget(size === 1 ? name : `${name}/node${i}`))

test('a run of any size fits its rows at any stage, with every phase in it, and failures before anything else', () => {
  const state = fc.constantFrom(undefined, checking, queued, making, made, fresh, stale, failed, skipped)
  // One state that most targets of a phase have, and some that have another.
  const stage = fc.record({ most: state, some: fc.array(fc.tuple(fc.nat(2000), state), { maxLength: 30 }) })
  const sizes = (nodes: number) =>
    ['ca', 'certs', 'deploy', 'install'].map((name, i) => phase(name, i === 0 ? 1 : nodes))
  fc.assert(
    fc.property(fc.constantFrom(3, 50, 1000), fc.array(stage, { minLength: 4, maxLength: 4 }), (nodes, stages) => {
      const phases = sizes(nodes).map((targets, i) => {
        const states = targets.map(() => stages[i]?.most)
        for (const [at, other] of stages[i]?.some ?? []) states[at % states.length] = other
        return { title: targets[0]?.phase ?? '', targets, states }
      })
      const shownRows = ({ targets, states }: (typeof phases)[number]) =>
        targets.map((target, at) => ({ target, event: states[at]?.(target.id) }))
      const lines = layOut(
        phases.map((each) => ({ title: each.title, rows: shownRows(each) })),
        rows,
      )
      assert.ok(lines.length <= rows, `${lines.length} lines`)
      const titles = lines.filter(({ level }) => level === 0).map(({ text }) => text)
      const isWrong = (each: unknown) => each === failed || each === stale
      const wrong = phases.slice(1).flatMap(({ states }) => states.filter(isWrong)).length
      const named = lines.filter(({ level, mark }) => level === 1 && (mark === 'failed' || mark === 'stale')).length
      const rest = wrong > named ? [`… and ${wrong - named} more (--verbose)`] : []
      assert.deepEqual(titles, ['ca', 'certs', 'deploy', 'install', ...rest])
      const failures = phases.slice(1).flatMap(({ states }) => states.filter((each) => each === failed))
      const shown = lines.filter(({ level, mark }) => level === 1 && mark === 'failed')
      assert.equal(
        shown.length,
        Math.min(failures.length, rows - phases.length - rest.length),
        'failures shown by name',
      )
    }),
  )
})
