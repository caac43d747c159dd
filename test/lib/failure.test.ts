/** Mistakes in our own code: one line for people, and for whoever repairs it where they were made. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asFailure, type Failure } from '../../lib/failure.ts'
import { createJsonLines, createLines } from '../../lib/show/lines.ts'
import { fakeTarget, runFakes } from '../support/fakes.ts'

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

function bug(): Failure {
  try {
    return breakDown()
  } catch (error) {
    return asFailure(error)
  }
}

const broken = async () => await runFakes([fakeTarget('a', { build: async () => breakDown() })]).rows
const oneLine = "internal error: TypeError: can't read x of undefined"
const stack =
  /TypeError: can't read x of undefined\n +at breakDown \(.*failure\.test\.ts:\d+:\d+\)[\s\S]*\ncaused by RangeError: deep[\s\S]*\n +at readDeep \(.*failure\.test\.ts:\d+:\d+\)/

test('of a bug of ours the stack is printed, for a target with its id, and the stack of its cause, printable', async () => {
  const written: string[] = []
  const say = (text: string) => void written.push(text)
  const reporter = createLines({ phases: new Map(), verbose: false, quiet: true, write: say, writeError: say })
  await reporter.end({ rows: await broken(), seconds: 0, exit: 1 })
  const atEnd = written.splice(0).join('\n')
  reporter.problem(bug())
  for (const text of [atEnd, written.join('\n')]) {
    assert.match(text, stack)
    assert.match(text, /report it, with /)
    assert.ok(!text.includes('\x1b'))
  }
  assert.ok(atEnd.startsWith(`a: ${oneLine}`), atEnd)
})

test('--json: the stack is a field, always, beside the message in one line', async () => {
  const written: string[] = []
  const reporter = createJsonLines((line) => written.push(line))
  for (const [id, row] of await broken()) reporter.event({ type: 'ended', id, row })
  reporter.problem(bug())
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
