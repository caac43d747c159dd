import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import type { Outcome } from '../../../lib/graph/target.ts'
import { causesOf, type ExitCause, exitStatus } from '../../../tasks/run/host.ts'
import { fakeRow } from '../../support/fakes.ts'

test('where several hold, bad usage counts first, then a signal, a refusal, a failure, and what is stale or left to the user last', () => {
  const order: readonly [ExitCause | 'signal', number][] = [
    ['usage', 2],
    ['signal', 130],
    ['refused', 3],
    ['failed', 1],
    ['stale', 4],
    ['unfinished', 4],
  ]
  for (const [i, [first, status]] of order.entries()) {
    const all = order.slice(i).map(([cause]) => cause)
    const ended = all.includes('signal') ? 130 : undefined
    const causes = all.filter((cause) => cause !== 'signal')
    assert.equal(exitStatus(causes, ended), status, first)
    assert.equal(exitStatus(causes.toReversed(), ended), status, first)
  }
})

const forced: Outcome['diffs'] = [{ what: 'forced', verb: 'renew' }]
const todo = ['start it']
const outcomes: readonly [Outcome, ExitCause[]][] = [
  [{ state: 'fresh', diffs: [] }, []],
  [{ state: 'fresh', diffs: [], todo }, ['unfinished']],
  [{ state: 'stale', diffs: forced, todo }, ['stale', 'unfinished']],
  [{ state: 'skipped', because: ['ca'] }, ['failed']],
  [{ state: 'failed', failure: new Failure('it broke') }, ['failed']],
  [{ state: 'failed', failure: new Failure('not this one', { kind: 'refused' }) }, ['refused']],
  // The usage was not bad: a target has been reached.
  [{ state: 'failed', failure: new Failure('asked for what can not be', { kind: 'usage' }) }, ['failed']],
]

test('what a target counts as, and where nothing was found the exit status is 0', () => {
  for (const [outcome, causes] of outcomes) assert.deepEqual(causesOf([fakeRow('a', outcome)]), causes, outcome.state)
  assert.equal(exitStatus([]), 0)
})
