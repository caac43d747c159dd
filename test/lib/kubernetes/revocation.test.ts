/** The line of cluster.yaml that a message prints: as it is pasted, it is taken. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatEntries } from '../../../lib/kubernetes/revocation.ts'
import { makeEverything, now, temporaryAuth } from '../../support/certificates.ts'
import { and, parsed } from '../../support/files.ts'

test('of cluster.yaml a name that a user has again is listed by its keys; what a list has stays, name by name', async (t) => {
  const auth = temporaryAuth(t)
  const cluster = parsed(and('users: [{ name: jane }]\ncertificates: { key: ecdsa-p256 }'))
  await makeEverything(auth, cluster, now)
  const revoked = { ...cluster, revoked: ['jane'] }
  assert.match(formatEntries({ auth, cluster: revoked, now }, ['joe']), /^revoked: \[sha256:[0-9a-f]{64}, joe\]$/)
  assert.equal(formatEntries({ auth, cluster, now }, ['jane', 'joe']), 'revoked: [jane, joe]')
})
