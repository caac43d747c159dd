import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gatherReplies } from '../../lib/replies.ts'

test('answers are complete only if everybody was asked and has answered, and somebody was there to be asked', () => {
  const of = (answers: Record<string, number>, ...names: string[]) => gatherReplies(names, (name) => answers[name])
  assert.deepEqual(of({ c0: 1, c1: 0 }, 'c0', 'c1').isComplete, true)
  assert.deepEqual(of({ c0: 1 }, 'c0', 'c1').isComplete, false)
  assert.deepEqual([...of({ c0: 1 }, 'c0', 'c1').answers], [['c0', 1]])
  assert.deepEqual(of({}).isComplete, false)
})
