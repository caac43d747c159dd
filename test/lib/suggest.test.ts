import assert from 'node:assert/strict'
import { test } from 'node:test'
import { suggest } from '../../lib/wording.ts'

const roles = ['control', 'worker', 'gateway']

test('a slip of the finger is answered with the word that was meant', () => {
  assert.equal(suggest('contrl', roles), 'did you mean control?')
  assert.equal(suggest('Worker', roles), 'did you mean worker?')
})

test('a word that is near none is answered with all of them', () => {
  assert.equal(suggest('minion', roles), 'known are control, worker, gateway')
  assert.equal(suggest('', roles), 'known are control, worker, gateway')
})
