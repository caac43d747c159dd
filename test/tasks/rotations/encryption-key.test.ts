/** What proves that each API server encrypts with the key. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canaryAmong } from '../../../tasks/rotations/encryption-key.ts'

test('the proof writes a Secret, or a ConfigMap if only those are encrypted, and nothing else', () => {
  assert.equal(canaryAmong(['configmaps', 'secrets'])?.kind, 'Secret')
  assert.deepEqual(canaryAmong(['events', 'configmaps']), { plural: 'configmaps', kind: 'ConfigMap' })
  assert.equal(canaryAmong(['events', 'secrets.example.org']), undefined)
})
