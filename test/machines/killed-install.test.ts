import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sweepInstall } from '../support/install-sweep.ts'
import { skip } from '../support/running.ts'

test('an install that is killed is finished by the same command, whenever that was', { skip }, async () => {
  const { failures, kills, events } = await sweepInstall(4)
  assert.deepEqual(failures, [])
  assert.deepEqual([kills, events > 40], [4, true])
})
