import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { breakLines } from '../../lib/paragraph.ts'

test('a text that fits is one line, after its indent', () => {
  assert.deepEqual(breakLines('kubernetes.pem: new', 80, 2, 4), ['  kubernetes.pem: new'])
  assert.deepEqual(breakLines('x'.repeat(78), 80, 2, 4), [`  ${'x'.repeat(78)}`])
})

test('the first line may be as long as its own indent allows, though the others begin further in', () => {
  const words = `${'a'.repeat(29)} ${'b'.repeat(38)} ${'c'.repeat(36)}`
  assert.deepEqual(breakLines(words, 40, 0, 4), [
    'a'.repeat(29),
    `    ${'b'.repeat(36)}`,
    '    bb',
    `    ${'c'.repeat(36)}`,
  ])
  assert.deepEqual(breakLines(`${'a'.repeat(20)} ${'b'.repeat(19)} c`, 40, 0, 4), [
    `${'a'.repeat(20)} ${'b'.repeat(19)}`,
    '    c',
  ])
})

test('a word that is longer than a line is cut, and nothing of it is lost', () => {
  const lines = breakLines(`see ${'p'.repeat(50)} there`, 30, 2, 4)
  for (const line of lines) assert.ok(line.length <= 30, line)
  assert.equal(
    lines
      .map((line) => line.trim())
      .join('')
      .replaceAll(' ', ''),
    `see${'p'.repeat(50)}there`,
  )
})

test('on a terminal that is too narrow to be read, lines are twenty columns', () => {
  assert.deepEqual(breakLines('a text of some ten words that has to be read', 8, 2, 4), [
    '  a text of some ten',
    '    words that has to be',
    '    read',
  ])
})

test('an empty text is one empty line', () => {
  assert.deepEqual(breakLines('', 80, 0, 2), [''])
})

const letters = fc.constantFrom('a', 'b', 'ż', 'é', '✔', '-', '/', '.', ':')
const word = fc.array(letters, { minLength: 1, maxLength: 30 }).map((parts) => parts.join(''))
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
      assert.equal(lines.join('').replaceAll(' ', ''), asked.replaceAll(' ', ''))
    }),
  )
})

test('a letter that is written as two characters, as macOS writes it, is printed once', () => {
  const asked = `O=Cafe\u0301 ${'x'.repeat(20)} Mu\u0308nchen`
  const told = breakLines(asked, 24, 0, 2).join('')
  assert.equal(told.normalize().replaceAll(' ', ''), asked.normalize().replaceAll(' ', ''))
})

test('a command is on one line, if one is long enough for it', () => {
  const text =
    'some words before it: npm run task -- status --on-nodes, then npm run bootstrap. More words (npm run bootstrap)'
  const lines = breakLines(text, 40, 0, 2)
  for (const command of ['npm run task -- status --on-nodes', 'npm run bootstrap', '(npm run bootstrap)'])
    assert.ok(
      lines.some((line) => line.includes(command)),
      lines.join('\n'),
    )
  assert.equal(lines.map((line) => line.trim()).join(' '), text)
  const longer = 'npm run task -- status --on-nodes,'
  assert.ok(breakLines(text, 24, 0, 2).every((line) => line.length <= 24 || line.trim() === longer))
})

test('a command that is longer than a line stands on one of its own, whole', () => {
  const rm = "rm '/home/me/a folder/auth/worker2.pem' /home/me/auth/worker2-key.pem"
  assert.deepEqual(breakLines(`Take them away where it runs, and here: ${rm}; and more words`, 40, 0, 2), [
    'Take them away where it runs, and here:',
    `  ${rm};`,
    '  and more words',
  ])
  assert.deepEqual(breakLines('npm run task -- status --on-nodes', 24, 0, 2), ['npm run task -- status --on-nodes'])
  assert.ok(breakLines('rm is a command, as a word', 12, 0, 2).every((line) => line.length <= 20))
})
