import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { createLines, type LinesOptions } from '../../../lib/show/lines.ts'
import type { PhaseView } from '../../../lib/show/phase-view.ts'
import { summarise } from '../../../lib/show/summary.ts'
import { fakeTarget } from '../../support/fake-target.ts'

function phase(name: string, size: number): PhaseView {
  const targets = Array.from({ length: size }, (_, i) => ({ ...fakeTarget(`${name}/${i}`), phase: name }))
  return { name, title: `The ${name}`, targets }
}

function lines(phases: readonly PhaseView[], detail: LinesOptions['detail'] = 'normal') {
  const written: string[] = []
  const reporter = createLines({
    phases,
    detail,
    write: (line) => written.push(line),
    writeError: (text) => written.push(text),
  })
  const end = (id: string, outcome: Outcome) => reporter.event({ type: 'ended', id, outcome })
  const endAll = (view: PhaseView, outcome: Outcome) => view.targets.forEach(({ id }) => void end(id, outcome))
  return { written, reporter, end, endAll }
}

const until = new Date('2036-11-21T10:00:00Z')
const made: Outcome = {
  kind: 'built',
  reasons: [{ kind: 'missing', path: 'ca.pem' }],
  change: { kind: 'made', files: ['ca.pem'], isNew: true },
}
const fresh: Outcome = { kind: 'fresh', reasons: [] }
const failed: Outcome = { kind: 'failed', failure: new Failure('no room', { remedy: 'make room\nrun it again' }) }

for (const [outcome, line] of [
  [{ kind: 'fresh', reasons: [] }, 'The certs: fresh'],
  [{ kind: 'fresh', reasons: [], until }, 'The certs: expires 2036-11-21'],
  [made, 'certs/0: new'],
  [
    { kind: 'built', reasons: [{ kind: 'wrong-mode', path: 'a', was: 0o644, wanted: 0o600 }] },
    'certs/0: repaired: a has mode 0644, not 0600',
  ],
  [{ kind: 'stale', reasons: [{ kind: 'need-rebuilt', ids: ['ca'] }] }, 'certs/0: to make: ca will be made'],
  [{ kind: 'stale', reasons: [{ kind: 'forced' }] }, 'certs/0: to make: forced'],
  [failed, 'certs/0: failed: no room'],
  [{ kind: 'cancelled', because: ['ca', 'admin'] }, 'certs/0: skipped: it comes after ca, admin'],
  [{ kind: 'cancelled', because: [] }, 'certs/0: skipped'],
] as const satisfies readonly [Outcome, string][])
  test(`a target's end is a line: ${line.replaceAll('\n', '|')}`, () => {
    const { written, end } = lines([phase('certs', 1)])
    end('certs/0', outcome)
    assert.deepEqual(written, [line])
  })

test('what has only begun is not reported', () => {
  const { written, reporter } = lines([phase('certs', 1)])
  reporter.event({ type: 'started', id: 'certs/0' })
  reporter.event({ type: 'building', id: 'certs/0', reasons: [] })
  assert.deepEqual(written, [])
})

test('a warning is a line of its own below', () => {
  const { written, end } = lines([phase('certs', 1)])
  end('certs/0', { ...made, warning: 'restart it' })
  assert.deepEqual(written, ['certs/0: new', 'warning certs/0: restart it'])
})

test('of many targets the first sixty that changed have a line, the rest is counted, and failures are told by name', () => {
  const certs = phase('certs', 50)
  const deploy = phase('deploy', 50)
  const { written, end, endAll } = lines([certs, deploy])
  endAll(certs, made)
  assert.equal(written.length, 50)
  endAll({ ...deploy, targets: deploy.targets.slice(0, 40) }, made)
  for (const { id } of deploy.targets.slice(40, 49)) end(id, fresh)
  end('deploy/49', failed)
  assert.deepEqual(written.slice(59), ['deploy/9: new', 'deploy/49: failed: no room', 'The deploy: 30 new, 9 fresh'])
})

test('one change among very many targets has its line', () => {
  const view = phase('certs', 2000)
  const { written, end, endAll } = lines([view])
  end('certs/7', made)
  endAll({ ...view, targets: view.targets.filter(({ id }) => id !== 'certs/7') }, fresh)
  assert.deepEqual(written, ['certs/7: new', 'The certs: 1999 fresh'])
})

test('what changed has a line, and what is fresh is counted when its phase has ended', () => {
  const view = phase('certs', 3)
  const { written, end } = lines([view])
  end('certs/0', fresh)
  end('certs/1', made)
  assert.deepEqual(written, ['certs/1: new'])
  end('certs/2', fresh)
  assert.deepEqual(written, ['certs/1: new', 'The certs: 2 fresh'])
})

test('what is only checked has a line each, since that is the result', () => {
  const view = phase('arrows', 2)
  const { written, endAll } = lines([{ ...view, targets: view.targets.map(({ build, ...target }) => target) }])
  endAll(view, { ...fresh, note: 'is seen as admin' })
  assert.deepEqual(written, ['arrows/0: is seen as admin', 'arrows/1: is seen as admin'])
})

test('--verbose lists every target however many there are', () => {
  const view = phase('certs', 200)
  const { written, endAll } = lines([view], 'verbose')
  endAll(view, made)
  assert.equal(written.length, 200)
})

for (const size of [1, 200])
  test(`--quiet tells of failures, and of nothing that went well, of ${size} targets`, async () => {
    const view = phase('certs', size)
    const { written, reporter, endAll } = lines([view], 'quiet')
    endAll(view, made)
    reporter.note('waiting')
    await reporter.end(summarise(new Map(), 0, 0))
    assert.deepEqual(written, [])
    endAll({ ...view, targets: view.targets.slice(0, 1) }, failed)
    await reporter.end(summarise(new Map([['certs/0', failed]]), 0, 1))
    assert.deepEqual(written, ['certs/0: no room\n    make room\n    run it again'])
  })

test('--quiet lists what a look found to be missing', async () => {
  const { written, reporter } = lines([], 'quiet')
  const outcomes = new Map<string, Outcome>([
    ['clients/a', { kind: 'stale', reasons: [{ kind: 'missing', path: 'a.pem' }] }],
    ['clients/b', fresh],
  ])
  await reporter.end(summarise(outcomes, 0, 4))
  assert.deepEqual(written, ['clients/a: to make: a.pem missing'])
})

test('--quiet prints warnings, and what is left to do', async () => {
  const { written, reporter } = lines([], 'quiet')
  const advice = [{ nodes: ['one'], files: ['leaf.pem'], restart: ['server'] }]
  const outcomes = new Map<string, Outcome>([['ca', { ...fresh, warning: 'it ends soon' }]])
  await reporter.end(summarise(outcomes, 0, 0, { advice, nextToExpire: undefined }))
  assert.deepEqual(written, [
    'warning ca: it ends soon',
    'To do      one: leaf.pem replaced: copy it to where the units read it, then restart server',
  ])
})

test('a problem is reported with its target and what to do, with --quiet too', () => {
  for (const detail of ['normal', 'quiet'] as const) {
    const { written, reporter } = lines([], detail)
    reporter.problem(new Failure('another CA', { kind: 'refused', remedy: '- put it back' }), 'ca')
    reporter.problem(new Failure('bad usage'))
    assert.deepEqual(written, ['ca: another CA\n    - put it back', 'bad usage'])
  }
})

for (const [outcomes, text] of [
  [[made], '1 target: 1 made, 0 fresh, 0 failed in 1.3 s'],
  [[made, { kind: 'fresh', reasons: [] }, failed], '3 targets: 1 made, 1 fresh, 1 failed in 1.3 s'],
  [[failed, { kind: 'cancelled', because: [] }], '2 targets: 0 made, 0 fresh, 1 failed, 1 skipped in 1.3 s'],
  [[{ kind: 'stale', reasons: [] }], '1 target: 1 to make, 0 fresh, 0 failed in 1.3 s'],
] as const satisfies readonly [readonly Outcome[], string][])
  test(`a run ends with a summary: ${text}`, async () => {
    const { written, reporter } = lines([])
    await reporter.end(summarise(new Map(outcomes.map((outcome, i) => [`t${i}`, outcome])), 1.25, 0))
    assert.equal(written.at(-1), text)
  })

test('whatever comes from files and nodes, no control character is written but the line breaks of a layout', () => {
  const control = fc.constantFrom('\x1b[2J', '\x1b]0;title\x07', '\r', '\x08', '\x9b31m', '\x7f', '\0', '\t', '\u2028')
  const text = fc.array(fc.oneof(control, fc.string()), { maxLength: 5 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text, text, text, (one, two, three) => {
      const { written, reporter, end } = lines([phase('certs', 1)])
      const failure = new Failure(one, { remedy: two })
      end('certs/0', { kind: 'failed', failure })
      end('certs/0', { ...made, warning: one })
      end('certs/0', { kind: 'built', reasons: [{ kind: 'missing', path: three }] })
      end('certs/0', {
        kind: 'stale',
        reasons: [{ kind: 'san-changed', added: [one], removed: [two] }],
      })
      reporter.note(three)
      reporter.problem(failure, 'ca')
      assert.doesNotMatch(written.join('\n'), /[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/)
    }),
  )
})
