import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome, Target } from '../../../lib/graph/target.ts'
import { missing } from '../../../lib/results.ts'
import { createLines } from '../../../lib/show/lines.ts'
import { notices, type Summary } from '../../../lib/show/rows.ts'
import { fakeRow, fakeTarget } from '../../support/fakes.ts'
import { fc } from '../../support/properties.ts'

function phase(name: string, size: number): Target[] {
  return Array.from({ length: size }, (_, i) => fakeTarget(`${name}/${i}`))
}

function lines(phases: Readonly<Record<string, readonly Target[]>>, detail: 'verbose' | 'normal' | 'quiet' = 'normal') {
  const written: string[] = []
  const write = (line: string) => void written.push(line)
  const shown = { verbose: detail === 'verbose', quiet: detail === 'quiet' }
  const reporter = createLines({ phases: new Map(Object.entries(phases)), ...shown, write, writeError: write })
  const targetOf = (id: string) =>
    Object.values(phases)
      .flat()
      .find((target) => target.id === id)
  const rowOf = (id: string, outcome: Outcome) => ({ ...fakeRow(id, outcome), target: targetOf(id) ?? fakeTarget(id) })
  const end = (id: string, outcome: Outcome) => reporter.event({ type: 'ended', id, row: rowOf(id, outcome) })
  const endAll = (targets: readonly Target[], outcome: Outcome) => targets.forEach(({ id }) => void end(id, outcome))
  const close = (outcomes: Readonly<Record<string, Outcome>>, more: Partial<Summary> = {}) =>
    reporter.end({
      rows: new Map(Object.entries(outcomes).map(([id, each]) => [id, rowOf(id, each)])),
      seconds: 1.25,
      exit: 0,
      ...more,
    })
  return { written, reporter, end, endAll, close }
}

const made: Outcome = { state: 'built', diffs: missing(['ca.pem']) }
const fresh: Outcome = { state: 'fresh' }
const failed: Outcome = { state: 'failed', failure: new Failure('no room', { remedy: 'make room\nrun it again' }) }

test('a target that changed or failed has a line at its end; what is fresh is counted when its phase has ended', () => {
  const { written, reporter, end } = lines({ 'The certs': phase('certs', 5) })
  reporter.event({ type: 'started', id: 'certs/0' })
  reporter.event({ type: 'building', id: 'certs/0', diffs: [] })
  assert.deepEqual(written, [])
  end('certs/0', { ...made, warn: ['restart it'] })
  end('certs/1', fresh)
  end('certs/2', failed)
  end('certs/3', fresh)
  end('certs/4', { state: 'failed', failure: new Failure('another CA', { kind: 'refused' }) })
  assert.deepEqual(written, [
    'certs/0: new',
    'certs/2: failed; no room',
    'certs/4: refused; another CA',
    'The certs: 2 up to date',
  ])
})

test('--quiet tells of failures, warnings, what is stale and what is left to do, and of nothing that went well', async () => {
  const certs = phase('certs', 200)
  const { written, reporter, end, endAll, close } = lines({ certs }, 'quiet')
  endAll(certs, made)
  reporter.note('waiting')
  await close({ 'certs/1': made })
  assert.deepEqual(written, [])
  const stale: Outcome = { state: 'stale', diffs: missing(['a.pem']) }
  end('certs/2', stale)
  const odd = { ...fresh, warn: ['it is odd'] }
  await close({ 'certs/0': failed, 'certs/1': odd, 'certs/2': stale }, { notices: notices('after', 'copy it') })
  assert.deepEqual(written, [
    'certs/2: to change; a.pem missing',
    'warning certs/1: it is odd',
    'certs/0: no room',
    '  make room',
    '  run it again',
    'To do      copy it',
  ])
})

test('a problem is reported with its target and what to do, with --quiet too', () => {
  for (const detail of ['normal', 'quiet'] as const) {
    const { written, reporter } = lines({}, detail)
    reporter.problem(new Failure('another CA', { kind: 'refused', remedy: '- put it back' }), 'ca')
    reporter.problem(new Failure('bad usage'))
    assert.deepEqual(written, ['ca: another CA\n  - put it back', 'bad usage'])
  }
})

test('whatever comes from files and nodes, no control character is written but the line breaks of a layout', () => {
  const control = fc.constantFrom('\x1b[2J', '\x1b]0;title\x07', '\r', '\x08', '\x9b31m', '\x7f', '\0', '\t', '\u2028')
  const text = fc.array(fc.oneof(control, fc.string()), { maxLength: 5 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text, text, text, (one, two, three) => {
      const { written, reporter, end } = lines({ certs: phase('certs', 1) })
      const failure = new Failure(one, { remedy: two })
      end('certs/0', { state: 'failed', failure })
      end('certs/0', { ...made, warn: [one] })
      end('certs/0', { state: 'built', diffs: missing([three]) })
      end('certs/0', {
        state: 'stale',
        diffs: [{ what: `adds SAN ${one}; drops SAN ${two}`, verb: 'change' }],
      })
      reporter.note(three)
      reporter.problem(failure, 'ca')
      assert.doesNotMatch(written.join('\n'), /[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/)
    }),
  )
})
