import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatExcerpt } from '../../../tasks/run/command-run.ts'
import { fc } from '../../support/properties.ts'

const at = (text: string, line: number, column: number) =>
  formatExcerpt(text, { line, column, message: '' })?.split('\n')

test('the line and a caret below the column are shown, within 200 columns; a tab and the end of Windows take none', () => {
  const long = `nodes: [${'a, '.repeat(100)}]`
  for (const [text, line, column, shown] of [
    ['name: a\napi: { prot: 1 }\n', 2, 8, ['    api: { prot: 1 }', '           ^']],
    ['name: a\r\nb: c\r\n', 1, 7, ['    name: a', '          ^']],
    ['key: rsa # or another', 1, 6, ['    key: rsa', '         ^']],
    ['# name: a', 1, 4, ['    # name: a', '       ^']],
    ['a: "b', 1, 60, ['    a: "b', '         ^']],
    ['\tb:\tc', 1, 5, ['     b: c', '        ^']],
    [long, 1, 200, [`    ${long.slice(0, 200)}`, `    ${' '.repeat(199)}^`]],
    [long, 1, 201, undefined],
    ['', 1, 1, undefined],
    [' \t \nname: a', 1, 1, undefined],
    ['a', 2, 1, undefined],
  ] as const)
    assert.deepEqual(at(text, line, column), shown)
})

test('the caret is below what is at the column', () => {
  const lines = fc.array(fc.constantFrom('a', 'ż', ' ', '\t', ':', '-'), { maxLength: 199 })
  fc.assert(
    fc.property(lines, fc.nat(199), (characters, index) => {
      const text = `${characters.join('')}x`
      const column = (index % text.length) + 1
      const [shown = '', caret = '', ...more] = at(text, 1, column) ?? []
      assert.equal(more.length, 0)
      assert.equal(shown[caret.indexOf('^')], text[column - 1]?.replace('\t', ' '))
    }),
  )
})
