import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { buildGraph } from '../../../lib/targets/graph.ts'
import type { Target } from '../../../lib/targets/target.ts'
import { createRecorder, readRunRecord } from '../../../lib/views/run-record.ts'
import { clock, fakeTarget, fresh, runFakes } from '../../support/fake-target.ts'

/** The record of a run of fakes, in which every event takes a millisecond and a half. */
async function record(targets: readonly Target[], exit = 0) {
  const recorder = createRecorder(['certs', 'deploy'], buildGraph(targets))
  const { outcomes } = runFakes(targets, {
    onEvent: (event) => {
      clock.milliseconds += 1.5
      recorder.event(event)
    },
  })
  await outcomes
  const text = recorder.finish(exit)
  const read = readRunRecord(text)
  assert.ok(read, text)
  return { text, read }
}

describe('the record of a run', () => {
  test('has when each target was begun, built and ended, and what came of it', async () => {
    const { read } = await record(
      [
        fakeTarget('ca', { check: () => fresh }),
        fakeTarget('leaf/a', { needs: ['ca'] }),
        fakeTarget('leaf/b', {
          needs: ['ca'],
          build: async () => {
            throw new Failure('the disk is full')
          },
        }),
        fakeTarget('deploy/one', { needs: ['leaf/b'] }),
      ],
      1,
    )
    const { began, targets, ...head } = read
    assert.deepEqual(head, { version: 1, names: ['certs', 'deploy'], exit: 1 })
    assert.ok(Date.parse(began) <= Date.now())
    const byId = new Map(targets.map((target) => [target.id, target]))
    assert.equal(targets.length, 4)
    assert.equal(byId.size, 4)
    assert.deepEqual(byId.get('ca'), {
      ...{ id: 'ca', needs: [], started: 1.5, building: null, ended: 3 },
      ...{ outcome: 'fresh', message: 'fresh' },
    })
    const [a, b, one] = ['leaf/a', 'leaf/b', 'deploy/one'].map((id) => byId.get(id))
    assert.deepEqual([a?.needs, a?.outcome, a?.message], [['ca'], 'built', 'made: file missing'])
    assert.deepEqual([b?.outcome, b?.message], ['failed', 'the disk is full'])
    assert.deepEqual([one?.started, one?.building, one?.outcome], [null, null, 'cancelled'])
    assert.equal(one?.message, 'not reached: leaf/b failed')
    for (const { started, building, ended } of [a, b].flatMap((each) => each ?? []))
      assert.ok(started !== null && building !== null && 3 < started && started < building && building < ended)
  })

  test('counts from the moment that the run began, whatever the clock says', async () => {
    clock.milliseconds = 123_456
    const { read } = await record([fakeTarget('ca')])
    assert.deepEqual(
      read.targets.map(({ started, building, ended }) => [started, building, ended]),
      [[1.5, 3, 4.5]],
    )
  })

  test('of a run that was ended before anything was begun is a record', async () => {
    const recorder = createRecorder(['bootstrap'], buildGraph([fakeTarget('ca')]))
    assert.deepEqual(readRunRecord(recorder.finish(130))?.targets, [])
  })
})

describe('what is read as a record', () => {
  const whole = {
    ...{ version: 1, names: ['certs'], began: '2026-11-25T01:02:03.004Z', exit: 0 },
    targets: [
      {
        ...{ id: 'ca', needs: [], started: 0, building: null, ended: 1.2 },
        ...{ outcome: 'fresh', message: 'fresh' },
      },
    ],
  }
  const [target] = whole.targets

  test('is what was written', () => {
    assert.deepEqual(readRunRecord(JSON.stringify(whole)), whole)
  })

  for (const [title, other] of Object.entries({
    'of another version': { ...whole, version: 2 },
    'without a time': { ...whole, began: 'yesterday' },
    'with a time before the run': { ...whole, targets: [{ ...target, started: -1 }] },
    'with an outcome that there is not': { ...whole, targets: [{ ...target, outcome: 'lost' }] },
    'without targets': { ...whole, targets: undefined },
    'that is a list': [whole],
  }))
    test(`is none ${title}`, () => {
      assert.equal(readRunRecord(JSON.stringify(other)), undefined)
    })

  test('is none with a time beyond all measure', () => {
    const text = JSON.stringify(whole).replace('"ended":1.2', '"ended":1e999')
    assert.equal(JSON.parse(text).targets[0].ended, Number.POSITIVE_INFINITY)
    assert.equal(readRunRecord(text), undefined)
  })

  for (const text of ['', 'null', JSON.stringify(whole).slice(0, -5), '\0'])
    test(`is none from ${JSON.stringify(text.slice(-12))}`, () => {
      assert.equal(readRunRecord(text), undefined)
    })
})
