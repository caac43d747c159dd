import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Event, Outcome } from '../../../lib/graph/target.ts'
import { missing } from '../../../lib/results.ts'
import { createJsonLines } from '../../../lib/show/lines.ts'
import { notices } from '../../../lib/show/rows.ts'
import { fakeRow, fakeRows } from '../../support/fakes.ts'
import { readJsonLine } from '../../support/harderway.ts'
import { fc } from '../../support/properties.ts'

function json() {
  const written: string[] = []
  const reporter = createJsonLines((line) => written.push(line))
  return { written, reporter, values: () => written.map(readJsonLine) }
}

const diffs = missing(['ca.pem'])
const failure = new Failure('no room', { remedy: 'make room', code: 'enospc' })
const until = new Date('2036-11-21T10:00:00Z')
const ended = (outcome: Outcome): Event => ({ type: 'ended', id: 'ca', row: fakeRow('ca', outcome) })

for (const [outcome, value] of [
  [{ state: 'fresh' }, { diffs: [], message: 'up to date' }],
  [
    { state: 'fresh', until, note: 'renews from 2036-10-21', warn: ['expires soon'], todo: [] },
    {
      ...{ diffs: [], until: '2036-11-21T10:00:00Z', note: 'renews from 2036-10-21', warn: ['expires soon'] },
      message: 'renews from 2036-10-21',
    },
  ],
  [
    { state: 'built', diffs },
    { diffs, message: 'new' },
  ],
  [
    { state: 'stale', diffs, todo: ['look'] },
    { diffs, todo: ['look'], message: 'to change; ca.pem missing' },
  ],
  [
    { state: 'failed', failure },
    { diffs: [], refused: false, message: 'no room', remedy: 'make room', cause: 'enospc' },
  ],
  [
    { state: 'failed', failure: new Failure('no', { kind: 'refused' }) },
    { diffs: [], refused: true, message: 'no' },
  ],
  [
    { state: 'skipped', because: ['a'] },
    { diffs: [], because: ['a'], message: 'skipped; a must succeed first' },
  ],
] as const satisfies readonly [Outcome, object][])
  test(`the end of a target is one object: ${JSON.stringify(value)}`, () => {
    const { reporter, values } = json()
    reporter.event(ended(outcome))
    assert.deepEqual(values(), [{ type: outcome.state, id: 'ca', ...value }])
  })

test('the begin of a check or a build is one object', () => {
  const events = [
    { type: 'started', id: 'ca' },
    { type: 'queued', id: 'ca' },
    { type: 'building', id: 'ca', diffs },
  ] as const
  const { reporter, values } = json()
  for (const event of events) reporter.event(event)
  assert.deepEqual(values(), events)
})

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

test('a run ends with a summary of numbers, what is left to do, and what expires next', async () => {
  const { reporter, values } = json()
  const rows = fakeRows({
    a: { state: 'built', diffs },
    b: { state: 'failed', failure },
    c: { state: 'skipped', because: ['b'] },
    d: { state: 'stale', diffs },
    e: { state: 'fresh', todo: ['and here'] },
  })
  const numbers = { targets: 5, made: 1, fresh: 1, stale: 1, failed: 1, skipped: 1, exit: 1 }
  const goOn = 'again'
  const beside = [...notices('todo', 'renew it'), ...notices('after', 'look there'), ...notices('note', 'a note')]
  const internal = { now: until, planHash: 'abc' }
  await reporter.end({ rows, seconds: 1.4999876, exit: 1, notices: beside, goOn, ...internal })
  await reporter.end({ rows: new Map(), seconds: 0, exit: 3 })
  const none = { targets: 0, made: 0, fresh: 0, stale: 0, failed: 0, skipped: 0, exit: 3 }
  assert.deepEqual(values(), [
    {
      ...{ type: 'summary', ...numbers, seconds: 1.5 },
      ...{ todo: ['renew it', 'look there', 'and here'], goOn },
    },
    { type: 'summary', ...none, seconds: 0 },
  ])
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
