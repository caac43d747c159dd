import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatExcerpt } from '../../../tasks/request/cluster-file.ts'

const at = (text: string, line: number, column: number) =>
  formatExcerpt(text, { line, column, message: '' })?.split('\n')

test('the caret is below the column, on the line as it stands in the file', () => {
  assert.deepEqual(at('name: a\napi: { prot: 1 }\n', 2, 8), ['    api: { prot: 1 }', '           ^'])
})

test('a line that ends as Windows ends it is shown without its end', () => {
  assert.deepEqual(at('name: a\r\nb: c\r\n', 1, 7), ['    name: a', '          ^'])
})

test('what is behind the last character has its caret there', () => {
  assert.deepEqual(at('a: "b', 1, 6), ['    a: "b', '         ^'])
  assert.deepEqual(at('a: "b', 1, 60), ['    a: "b', '         ^'])
})

test('a blank line, and one that the file does not have, are not shown', () => {
  for (const [text, line] of [
    ['', 1],
    [' \t \nname: a', 1],
    ['a', 2],
  ] as const)
    assert.equal(at(text, line, 1), undefined)
})

test('a tab is one column, as it is in the number of the column', () => {
  assert.deepEqual(at('\tb:\tc', 1, 5), ['     b: c', '        ^'])
})

test('a line of more than 200 columns is cut, and not shown if the column is not among them', () => {
  const line = `nodes: [${'a, '.repeat(100)}]`
  const shown = `    ${line.slice(0, 200)}`
  assert.deepEqual(at(line, 1, 200), [shown, `    ${' '.repeat(199)}^`])
  assert.equal(at(line, 1, 201), undefined)
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
