import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Event, Outcome } from '../../../lib/graph/target.ts'
import { createJsonLines } from '../../../lib/show/lines.ts'
import { fakeRow } from '../../support/fakes.ts'
import { readJsonLine } from '../../support/harderway.ts'
import { fc } from '../../support/properties.ts'

function json() {
  const written: string[] = []
  const reporter = createJsonLines((line) => written.push(line))
  return { written, reporter, values: () => written.map(readJsonLine) }
}

const failure = new Failure('no room', { remedy: 'make room', code: 'enospc' })
const ended = (outcome: Outcome): Event => ({ type: 'ended', id: 'ca', row: fakeRow('ca', outcome) })

test('a note is an object, and so is a problem, whose type tells how bad it is', () => {
  const { reporter, values } = json()
  reporter.note('waiting')
  reporter.problem(new Failure('what?', { kind: 'usage' }))
  reporter.problem(new Failure('another CA', { kind: 'refused', code: 'irreplaceable' }), 'ca')
  reporter.problem(failure)
  assert.deepEqual(values(), [
    { type: 'note', message: 'waiting' },
    { type: 'error', message: 'what?' },
    { type: 'refused', id: 'ca', message: 'another CA', cause: 'irreplaceable' },
    { type: 'failed', message: 'no room', remedy: 'make room', cause: 'enospc' },
  ])
})

test('each mistake in a file is an object with its place', () => {
  const { reporter, values } = json()
  const mistakes = [
    { file: '/a/cluster.yaml', line: 3, column: 5, message: 'nods is an unknown key', remedy: 'did you mean nodes?' },
    { file: '/a/cluster.yaml', line: 7, column: 1, message: 'name is missing' },
  ]
  reporter.problem(new Failure('both', { kind: 'usage', mistakes }))
  assert.deepEqual(
    values(),
    mistakes.map((mistake) => ({ type: 'error', ...mistake })),
  )
})

test('whatever a message holds, it is one line that gives it back, and nothing that moves the cursor or turns the text round', () => {
  const control = fc.constantFrom(
    ...['\x1b[2J', '\x9b2J', '\u2028', '\u202e', '\u2066', '\u200f', '\n', '\r\n', '\x08', '\0', '"', '\\'],
  )
  const text = fc.array(fc.oneof(control, fc.string()), { maxLength: 5 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text, text, (message, remedy) => {
      const { written, values, reporter } = json()
      reporter.note(message)
      reporter.event(ended({ state: 'failed', failure: new Failure(message, { remedy }) }))
      assert.deepEqual(
        values().map((value) => value.message),
        [message, message],
      )
      assert.equal(values()[1]?.remedy, remedy)
      for (const line of written)
        assert.doesNotMatch(line, /[\0-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/)
    }),
  )
})
