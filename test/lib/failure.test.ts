/** Mistakes in our own code: one line for people, and for whoever repairs it where they were made. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { asFailure, doing, Failure } from '../../lib/failure.ts'
import { createJsonLines, createLines } from '../../lib/show/lines.ts'
import { formatFailures } from '../../lib/show/rows.ts'
import { quote } from '../../lib/wording.ts'
import { fakeTarget, runFakes } from '../support/fakes.ts'
import { scratch } from '../support/files.ts'

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

const broken = async () => await runFakes([fakeTarget('a', { build: async () => breakDown() })]).rows
const oneLine = "internal error: TypeError: can't read x of undefined"
const stack =
  /TypeError: can't read x of undefined\n +at breakDown \(.*failure\.test\.ts:\d+:\d+\)[\s\S]*\ncaused by RangeError: deep[\s\S]*\n +at readDeep \(.*failure\.test\.ts:\d+:\d+\)/

async function toldInLines(quiet: boolean) {
  const written: string[] = []
  const say = (text: string) => void written.push(text)
  const reporter = createLines({ phases: new Map(), verbose: false, quiet, write: say, writeError: say })
  await reporter.end({ rows: await broken(), seconds: 0, exit: 1 })
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

for (const quiet of [false, true])
  test(`of a bug of ours the stack is printed, for a target with its id, and the stack of its cause, printable: ${quiet}`, async () => {
    const { atEnd, problem } = await toldInLines(quiet)
    for (const text of [atEnd, problem]) {
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

const systemError = (code: string, errno: number) => Object.assign(new Error(code), { code, errno })

for (const [code, errno, what, way] of [
  ['ENOSPC', -28, 'no space left on device', 'check the disk:\n      df -h /a/auth'],
  ['EROFS', -30, 'read-only file system', 'mount the disk read-write'],
] as const)
  test(`${code} of many files in a folder is reported once, with what to do`, async () => {
    const remedy = `${way}\n  then run the same command again`
    const fail = (name: string) =>
      doing('write', `/a/auth/${name}`, () => {
        throw systemError(code, errno)
      })
    const fakes = ['ca.pem', 'b.pem', 'c.pem'].map((name) => fakeTarget(name, { build: async () => fail(name) }))
    const told = formatFailures(await runFakes(fakes).rows)
    assert.deepEqual(told, [`ca.pem, b.pem, c.pem: can't write in /a/auth: ${what}\n  ${remedy}`])
  })

test('what its user may not write to is said, with the command that shows whose it is', (t) => {
  const folder = join(scratch(t), "it's")
  mkdirSync(folder)
  const remedyOf = (name: string) => {
    const denied = () => {
      throw systemError('EACCES', -13)
    }
    const found = catchFrom(() => doing('write', join(folder, name), denied))
    assert.ok(found instanceof Failure)
    assert.equal(found.message, `can't write ${join(folder, name)}: permission denied`)
    return found.remedy
  }
  const shown = (...paths: readonly string[]) =>
    `check the owner:\n    ls -ld ${paths.map(quote).join(' ')}\nif a run with sudo created it, chown it to its user`
  assert.equal(remedyOf('ca.pem'), shown(folder))
  writeFileSync(join(folder, 'ca.pem'), '')
  assert.equal(remedyOf('ca.pem'), shown(folder, join(folder, 'ca.pem')))
  assert.equal(remedyOf('no/ca.pem'), undefined)
})
