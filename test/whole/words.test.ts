/**
 * What is printed, and the pages, say things as people who know Kubernetes and not this project do: phrases that took
 * learning are gone.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAst } from 'rolldown/parseAst'

const folders = ['lib', 'tasks']

const phrases = [
  ...['could not be looked at', 'swapping', 'let in again', 'way back', 'Running components', 'plain file'],
  ...['made itself', 'take it over', 'under way', 'yours to restart', 'may be dialled', 'killed run', 'open to others'],
  ...['it comes after', 'known are'],
]

const phrasesIn = (text: string) => phrases.filter((phrase) => text.toLowerCase().includes(phrase.toLowerCase()))

/** Of string literals and templates of more than one word: a single word is a value of --json or of the code. */
function textsIn(source: string): string[] {
  const texts: string[] = []
  const add = (text: unknown) => void (typeof text === 'string' && /\s/.test(text.trim()) && texts.push(text))
  JSON.stringify(parseAst(source, { lang: 'ts' }), (_, node) => {
    if (node?.type === 'Literal') add(node.value)
    if (node?.type === 'TemplateLiteral')
      add(node.quasis.map(({ value }: { value: { cooked: string } }) => value.cooked).join('…'))
    // A big integer has no JSON.
    return typeof node === 'bigint' ? String(node) : node
  })
  return texts
}

test('no text that is printed has them', () => {
  const files = folders.flatMap((folder) => globSync(`${folder}/**/*.ts`))
  assert.ok(files.length > 50)
  const found = files.flatMap((file) => {
    const source = readFileSync(file, 'utf8')
    // To parse all would take seconds.
    const texts = phrasesIn(source).length > 0 ? textsIn(source) : []
    // Alone it is a value of --json.
    return texts.flatMap((text) =>
      phrasesIn(text)
        .filter((phrase) => phrase !== text)
        .map((phrase) => `${file}: "${phrase}" in ${text}`),
    )
  })
  assert.deepEqual(found, [])
})

test('nor has a page, but for words of the code', () => {
  const pages = ['README.md', ...globSync('docs/*.md')]
  const found = pages.flatMap((page) =>
    phrasesIn(readFileSync(page, 'utf8').replaceAll(/`[^`\n]*`/g, '')).map((phrase) => `${page}: ${phrase}`),
  )
  assert.deepEqual(found, [])
})
