import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatExcerpt } from '../../../tasks/run/command-run.ts'

const at = (text: string, line: number, column: number) =>
  formatExcerpt(text, { line, column, message: '' })?.split('\n')

test('the line and a caret below the column are shown, within 200 columns', () => {
  const long = `nodes: [${'a, '.repeat(100)}]`
  for (const [text, line, column, shown] of [
    ['name: a\napi: { prot: 1 }\n', 2, 8, ['    api: { prot: 1 }', '           ^']],
    ['a: "b', 1, 60, ['    a: "b', '         ^']],
    [long, 1, 200, [`    ${long.slice(0, 200)}`, `    ${' '.repeat(199)}^`]],
    [long, 1, 201, undefined],
    ['', 1, 1, undefined],
  ] as const)
    assert.deepEqual(at(text, line, column), shown)
})
