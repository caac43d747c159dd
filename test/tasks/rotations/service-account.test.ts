import assert from 'node:assert/strict'
import { test } from 'node:test'
import { oldTokenIn } from '../../../tasks/rotations/service-account-rotation.ts'

const base64 = (text: string) => Buffer.from(text).toString('base64')
const signedBy = (kid: string) => base64(`${base64(JSON.stringify({ alg: 'RS256', kid }))}.e30.AAAA`)

test('a token Secret holds the last stage where another key has signed its token, and not where it has none', () => {
  const metadata = { namespace: 'default', name: 'legacy' }
  const isHeld = (token: string) => oldTokenIn({ metadata, data: { token } }, 'new') !== undefined
  assert.deepEqual([signedBy('old'), base64('no token'), signedBy('new'), ''].map(isHeld), [true, true, false, false])
})
