import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PageRow, updatePage } from './page.ts'

const page = `Before.
<!-- figures: begin -->
| what | ours | beside | ratio | goal | measured |
| --- | --- | --- | --- | --- | --- |
| a, cold   | 1 s | 2 s | 0.50 | 1 | earlier |
| renamed | 1 s | 2 s | 0.50 | 1 | earlier |
| c | 1 s | 2 s | 0.50 | 1 | earlier |
<!-- figures: end -->
After.
`
const row: PageRow = { what: 'b', ours: '3 s', theirs: '2 s', ratio: '1.50', goal: '1', isMet: false }

test('a row that was not measured stays, one that there is no more goes, and a goal that is missed is bold', () => {
  const rows = [row, { ...row, what: 'c', goal: '2', isMet: true }]
  assert.deepEqual(updatePage(page, rows, 'today', ['a, cold', 'b', 'c']).split('\n').slice(4, 9), [
    '| a, cold   | 1 s | 2 s | 0.50 | 1 | earlier |',
    '| b | 3 s | 2 s | 1.50 | **1** | today |',
    '| c | 3 s | 2 s | 1.50 | 2 | today |',
    '<!-- figures: end -->',
    'After.',
  ])
})
