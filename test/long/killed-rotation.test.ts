import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sweepRotations } from '../support/rotation-sweep.ts'
import { skip } from '../support/running.ts'

test('a rotation that is killed goes on by the same command, and nobody notices', { skip }, async () => {
  const { failures, kills } = await sweepRotations([{ every: 330, offset: 0 }])
  assert.deepEqual(failures, [])
  assert.ok(kills >= 6, `${kills} kills`)
})
