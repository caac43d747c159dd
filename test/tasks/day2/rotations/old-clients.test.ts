/**
 * Whom API servers have counted with a certificate of the old CA, and how long they have yet to count: what is not
 * known holds.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Counter } from '../../../../lib/kubernetes/counters.ts'
import type { Counts } from '../../../../lib/kubernetes/counts.ts'
import { leftToCount, whoUsed } from '../../../../tasks/day2/rotations/old-clients.ts'

const at = (seconds: number) => new Date(seconds * 1000)
const counter = (...users: string[]): Counter => ({
  ...{ name: `old-${users.join('-')}`, counts: 'replaced', users, condition: 'true', certificates: [] },
})
const [jane, both] = [counter('jane'), counter('bob', 'joe')]
const counts = (loaded: number, ofJane: number, ofBoth = 0): Counts => ({
  ...{ started: at(0), loaded: at(loaded), unauthenticated: 0 },
  errors: new Map([
    [jane.name, ofJane],
    [both.name, ofBoth],
  ]),
})

test('whoever made a request meanwhile is named, with the API servers; what was counted before is not', () => {
  const whoIn = (...last: Counts[]) =>
    whoUsed(
      [jane, both],
      last.map((after, i) => ({ name: `control${i}`, before: counts(0, 5), after })),
    )
  assert.deepEqual(whoIn(counts(0, 5), counts(0, 5)), [])
  assert.deepEqual(whoIn(counts(0, 8), counts(0, 5), counts(0, 6, 1)), [
    'jane made 4 requests with a certificate of the old CA (control0, control2)',
    'one of bob, joe made 1 request with a certificate of the old CA (control2)',
  ])
})

test('an API server that was restarted or has loaded another list meanwhile, or does not answer, has not counted', () => {
  const holds = (before: Counts | undefined, after: Counts | undefined) =>
    whoUsed([jane], [{ name: 'control0', before, after }]).join()
  for (const lost of [
    holds(counts(0, 5), counts(7, 0)),
    holds(counts(0, 5), undefined),
    holds(undefined, counts(0, 5)),
    // A count that goes back.
    holds(counts(0, 5), counts(0, 4)),
  ])
    assert.match(lost, /^the API server of control0 did not count/)
})

test('it counts from its start or its last load on; anew where it has counted', () => {
  const left = (counted: Counts) =>
    leftToCount({ waits: { healthy: 0, polled: 0, counted: 660 }, clock: () => at(1500) }, jane, counted) / 1000
  assert.equal(left(counts(1000, 0)), 160)
  assert.equal(left(counts(1400, 0)), 560)
  assert.equal(left(counts(0, 1)), 660)
  // A node's clock that is ahead.
  assert.equal(left(counts(2000, 0)), 660)
})
