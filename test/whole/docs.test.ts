/** The documentation: every link leads somewhere, and the tables are those of the program. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { generate, tables } from '../../scripts/docs.ts'
import { entry } from '../support/harderway.ts'

const root = join(dirname(entry), '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'test/machines/README.md',
  'test/bench/FIGURES.md',
  ...markdownIn('docs'),
]

function markdownIn(folder: string): string[] {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
}

/** What is between fences is shown as it is. */
const withoutBlocks = (text: string) => text.replace(/^```[\s\S]*?^```$/gm, '')
const withoutCode = (text: string) => withoutBlocks(text).replace(/`[^`\n]*`/g, '')

/** Where links and images lead, those to other sites aside. */
function linksIn(text: string): string[] {
  const found = [
    ...withoutCode(text).matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$|<(?:img|a)\s[^>]*?(?:src|href)="([^"]+)"/gm),
  ]
  return found.flatMap((match) => match.slice(1).filter((link) => link)).filter((link) => !/^\w+:/.test(link))
}

/** As GitHub makes them of headings: lower case, punctuation gone, a hyphen a blank. */
function anchorsIn(text: string): string[] {
  const headings = [...withoutBlocks(text).matchAll(/^#+ (.*)$/gm)]
  return headings.map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-'),
  )
}

for (const page of pages)
  test(`every link in ${page} to a file here leads to one, and to a heading where it names one`, () => {
    for (const link of linksIn(read(page))) {
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? page : relative(root, join(root, dirname(page), path))
      assert.ok(existsSync(join(root, target)), `${link} in ${page}`)
      if (anchor !== undefined) assert.ok(anchorsIn(read(target)).includes(anchor), `${link} in ${page}`)
    }
  })

test('what is made from the program is current: otherwise, npm run docs', () => {
  const marks = pages.flatMap((page) =>
    [...read(page).matchAll(/<!-- (\w+): npm run docs -->\n/g)].map(([, name]) => name),
  )
  assert.deepEqual(marks.toSorted(), Object.keys(tables).toSorted())
  const stale = generate().filter(([path, text]) => read(path) !== text)
  assert.deepEqual(
    stale.map(([path]) => path),
    [],
  )
})
