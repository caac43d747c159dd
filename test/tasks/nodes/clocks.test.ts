/** Whose clock is wrong, by the times of all nodes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Failure } from '../../../lib/failure.ts'
import { refuseApart } from '../../../tasks/nodes/clocks.ts'

const now = new Date('2026-11-28T12:00:00Z')
const offsets = (...ahead: number[]) => ahead.map((each, i) => ({ node: `n${i}`, ahead: each }))
const said = (...ahead: number[]) => {
  try {
    refuseApart(offsets(...ahead), now)
    return undefined
  } catch (error) {
    assert.ok(error instanceof Failure)
    assert.deepEqual([error.kind, error.code], ['failed', 'clock'])
    return error.message
  }
}

test('four minutes are no difference, nor is no answer', () => {
  assert.equal(said(), undefined)
  assert.equal(said(0, 240, -240), undefined)
})

test('both times are named, and whose is wrong where all others agree', () => {
  const day = 86_400
  const ours = said(-730 * day, -730 * day - 3, -730 * day + 3)
  assert.match(
    String(ours),
    /^this machine's clock is wrong: it is 2026-11-28T12:00:00Z here, and 2024-11-28T12:00:00Z on n0/,
  )
  assert.match(String(said(0, 3, 241)), /^the clock of n2 is wrong: .* and 2026-11-28T12:04:01Z on n2$/)
  assert.match(String(said(300)), /^a clock is wrong: .* and 2026-11-28T12:05:00Z on n0$/)
  assert.match(String(said(300, -300)), /^a clock is wrong/)
})
