import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatSwept, sweep } from '../long/kill-sweep.ts'
import { needs } from '../support/programs.ts'

const skip = process.platform === 'linux' ? needs('sshd', 'ssh', 'scp') : 'finds processes in /proc'

test('a run that is killed, wherever that is, loses nothing, and the next run completes and tidies up', {
  skip,
  // A run that does not end would be waited for.
  timeout: 900_000,
}, async (t) => {
  const swept = await sweep({ stepped: 8, random: 0, waitForMasters: false })
  t.diagnostic(formatSwept(swept))
  assert.deepEqual(swept.failures, [])
  assert.ok(swept.stepped >= 6, formatSwept(swept))
})
