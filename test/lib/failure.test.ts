/** Mistakes in our own code: one line for people, and for whoever mends it where they were made. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asFailure, Failure, stackOf } from '../../lib/failure.ts'
import { createJsonLines } from '../../lib/show/json-lines.ts'
import { createLines, type LinesOptions } from '../../lib/show/lines.ts'
import { summarise } from '../../lib/show/summary.ts'
import { fakeTarget, runFakes } from '../support/fake-target.ts'

function readDeep(): never {
  throw new RangeError('deep\x1b[2J')
}

function breakDown(): never {
  try {
    readDeep()
  } catch (cause) {
    throw new TypeError("can't read x of undefined", { cause })
  }
}

const broken = async () => await runFakes([fakeTarget('a', { build: async () => breakDown() })]).outcomes
const oneLine = "a mistake in harderway itself: TypeError: can't read x of undefined"
const stack =
  /TypeError: can't read x of undefined\n +at breakDown \(.*failure\.test\.ts:\d+:\d+\)[\s\S]*\ncaused by RangeError: deep[\s\S]*\n +at readDeep \(.*failure\.test\.ts:\d+:\d+\)/

async function toldInLines(detail: LinesOptions['detail']) {
  const written: string[] = []
  const say = (text: string) => void written.push(text)
  const reporter = createLines({ phases: [], detail, write: say, writeError: say })
  await reporter.end(summarise(await broken(), 0, 1))
  const atEnd = written.splice(0).join('\n')
  reporter.problem(asFailure(catchFrom(breakDown)))
  return { atEnd, problem: written.join('\n') }
}

function catchFrom(work: () => never): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

for (const detail of ['normal', 'quiet'] as const)
  test(`${detail}: a mistake is one line with what to do, without a stack`, async () => {
    for (const text of Object.values(await toldInLines(detail))) {
      assert.ok(text.includes(oneLine), text)
      assert.match(text, /please report it, with .* --verbose/)
      assert.doesNotMatch(text, /\n +at |caused by/)
    }
  })

test('--verbose: the stack is told, of a target with its id, and the stack of its cause, printable', async () => {
  const { atEnd, problem } = await toldInLines('verbose')
  for (const text of [atEnd, problem]) {
    assert.match(text, stack)
    assert.ok(!text.includes('\x1b'))
  }
  assert.match(atEnd, /^a: TypeError/m)
})

test('--json: the stack is a field, always, beside the message in one line', async () => {
  const written: string[] = []
  const reporter = createJsonLines((line) => written.push(line))
  for (const [id, outcome] of await broken()) reporter.event({ type: 'ended', id, outcome })
  reporter.problem(asFailure(catchFrom(breakDown)))
  const told = written.map((line) => JSON.parse(line))
  assert.deepEqual(
    told.map(({ type, cause, message }) => [type, cause, message]),
    [
      ['failed', 'bug', oneLine],
      ['failed', 'bug', oneLine],
    ],
  )
  for (const { stack: text } of told) assert.match(text, stack)
})

test('the cause of a Failure is the error itself, and a Failure stays what it is', () => {
  const error = new TypeError('no')
  assert.equal(asFailure(error).cause, error)
  const failure = new Failure('no room', { cause: error })
  assert.equal(asFailure(failure), failure)
  assert.equal(failure.cause, error)
})

test('what nobody has made a mistake in has no stack: a Failure, what the system refuses, what is no Error', () => {
  const errno = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES', errno: -13 })
  for (const error of [new Failure('no room', { cause: new Error('no') }), errno, 'just text', undefined])
    assert.equal(stackOf(asFailure(error)), undefined)
  assert.deepEqual([asFailure(errno).code, asFailure('just text').code], ['eacces', 'bug'])
})
