/** Looks while another run holds auth/: what they show is what stands between two runs. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { copyPlace, holdAuth, madePlace, oneOfEach } from '../../support/harderway.ts'
import { start } from '../../support/process.ts'

const origin = madePlace(oneOfEach, 'certs', 'kubeconfigs', 'encryption-key')

test('a look waits for the run that holds auth/, and says for whom', async (t) => {
  const { place, auth } = copyPlace(t, origin, oneOfEach)
  const release = await holdAuth(auth)
  rmSync(join(auth, 'worker0.pem'))
  const waiting = start(place, ['status'])
  await waiting.told(`waiting for process ${process.pid}`)
  writeFileSync(join(auth, 'worker0.pem'), 'of the run that is still going on')
  release()
  const { status, stdout, stderr } = await waiting.ended
  assert.equal(status, 4, stdout + stderr)
  assert.match(stderr, /^waiting for process .*:\n +ps .*\nstop:\n +kill \d+\n$/)
  assert.ok(stderr.includes(join(auth, '.lock')), stderr)
})
