import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { breakLines } from '../../lib/wording.ts'

test('a text that fits is one line, after its indent', () => {
  assert.deepEqual(breakLines('kubernetes.pem: new', 80, 2, 4), ['  kubernetes.pem: new'])
  assert.deepEqual(breakLines('x'.repeat(78), 80, 2, 4), [`  ${'x'.repeat(78)}`])
})

test('the first line may be as long as its own indent allows, though the others begin further in', () => {
  assert.deepEqual(breakLines(`${'a'.repeat(20)} ${'b'.repeat(19)} c`, 40, 0, 4), [
    `${'a'.repeat(20)} ${'b'.repeat(19)}`,
    '    c',
  ])
})

test('a word that is longer than a line, such as a path, stays whole', () => {
  const path = `/${'p'.repeat(50)}`
  assert.deepEqual(breakLines(`see ${path} there`, 30, 2, 4), ['  see', `    ${path}`, '    there'])
})

test('blanks that align a column stay, and none is left at the end of a line', () => {
  assert.deepEqual(breakLines('Next       ca expires   soon', 21, 0, 11), ['Next       ca expires', '           soon'])
})

test('colours take no room', () => {
  assert.deepEqual(breakLines('\u001b[32m+\u001b[39m ca.pem', 8, 0, 2), ['\u001b[32m+\u001b[39m ca.pem'])
})

test('an empty text is one empty line', () => {
  assert.deepEqual(breakLines('', 80, 0, 2), [''])
})

for (const [title, text, ...lines] of [
  [
    'a command stays on one line, with its options and up to the punctuation after it',
    'see npm run bootstrap -- --dry-run, then npm --prefix /c run task -- ca --renew (1). npm run bootstrap: all',
    'see',
    '  npm run bootstrap -- --dry-run,',
    '  then',
    '  npm --prefix /c run task -- ca --renew',
    '  (1). npm run bootstrap: all',
  ],
  [
    'so does one of another program, after a colon',
    "make it writable: chmod u+w '/a b'; sudo it",
    'make it writable:',
    "  chmod u+w '/a b'; sudo it",
  ],
  [
    'punctuation inside quotes ends no command',
    "now: npx harderway status --config '/a, b/c; d.yaml' (in c0)",
    'now:',
    "  npx harderway status --config '/a, b/c; d.yaml'",
    '  (in c0)',
  ],
  [
    'nor is a quoted word broken, and an apostrophe begins none',
    "the node's folder is '/srv/a b', and root's is c",
    "the node's folder is",
    "  '/srv/a b', and root's is c",
  ],
] as const)
  test(title, () => assert.deepEqual(breakLines(text, 31, 0, 2), lines))

const letters = fc.constantFrom('a', 'b', 'ż', 'é', '✔', '/', '.', ':')
const word = fc.array(letters, { minLength: 1, maxLength: 22 }).map((parts) => parts.join(''))
const text = fc.array(word, { minLength: 1, maxLength: 20 }).map((words) => words.join(' '))
const indent = fc.integer({ min: 0, max: 8 })

test('whatever the text, the width and the indents, no line is too wide and every letter is printed once, in its place', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 30, max: 100 }), indent, indent, (asked, width, first, others) => {
      const lines = breakLines(asked, width, first, others)
      for (const [i, line] of lines.entries()) {
        assert.match(line, new RegExp(`^ {${i === 0 ? first : others}}\\S`))
        assert.ok(line.length <= width, line)
      }
      assert.equal(lines.map((line) => line.trim()).join(' '), asked)
    }),
  )
})
