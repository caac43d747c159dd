import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Listr } from 'listr2'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome, Row } from '../../../lib/graph/target.ts'
import { phaseTasks } from '../../../lib/show/tree.ts'
import { fakeRow, fakeTarget, settled } from '../../support/fakes.ts'

const outcomes: Readonly<Record<string, Outcome>> = {
  ca: { kind: 'built', reasons: [] },
  'certs/a': { kind: 'fresh', reasons: [] },
  'certs/b': { kind: 'failed', failure: new Failure('no') },
  'certs/c': { kind: 'cancelled', because: ['certs/b'] },
  'certs/d': { kind: 'stale', reasons: [] },
}
const phases = new Map([
  ['Certificate authority', [fakeTarget('ca')]],
  ['Certificates', ['certs/a', 'certs/b', 'certs/c', 'certs/d', 'certs/e'].map((id) => fakeTarget(id))],
])

test('a phase is a task of listr2, and its targets are tasks below it: all wait at once, and each ends as its target does', async () => {
  const ends = new Map([...phases.values()].flat().map(({ id }) => [id, Promise.withResolvers<Row | undefined>()]))
  const tree = new Listr(
    phaseTasks(phases, async (id) => ends.get(id)?.promise),
    { renderer: 'silent', concurrent: true, exitOnError: false, registerSignalListeners: false },
  )
  const shown = () => tree.tasks.flatMap((task) => [task, ...task.subtasks]).map(({ title, state }) => [title, state])
  const ended = tree.run()
  await settled()
  assert.deepEqual(
    shown(),
    ['Certificate authority', 'ca', 'Certificates', ...['a', 'b', 'c', 'd', 'e'].map((name) => `certs/${name}`)].map(
      (title) => [title, 'STARTED'],
    ),
  )
  // The last has no outcome: its run was ended by a bug.
  for (const [id, { resolve }] of [...ends].toReversed()) resolve(outcomes[id] && fakeRow(id, outcomes[id]))
  await ended
  assert.deepEqual(shown(), [
    ['Certificate authority', 'COMPLETED'],
    ['ca', 'COMPLETED'],
    ['Certificates', 'COMPLETED'],
    ['certs/a', 'SKIPPED'],
    ['certs/b', 'FAILED'],
    ['certs/c', 'SKIPPED'],
    ['certs/d', 'COMPLETED'],
    ['certs/e', 'COMPLETED'],
  ])
})
