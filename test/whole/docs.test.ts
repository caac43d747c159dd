/** The documentation: every link leads somewhere, and the reference pages name all that there is, and nothing else. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { generate, tables } from '../../scripts/docs.ts'
import { metrics } from '../../tasks/run/metrics.ts'
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
  ...markdownIn('docs/decisions'),
]
const manifest = JSON.parse(read('package.json'))

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

test('each reference in a page is defined in it, and each definition is used', () => {
  for (const page of pages) {
    const text = withoutCode(read(page))
    const defined = [...text.matchAll(/^\[([^\]]+)\]: \S+$/gm)].map(([, name]) => name)
    const used = [...text.matchAll(/\]\[([^\]]+)\]|\[([\w-]+)\](?![[(:])/g)].map(([, full, short]) => full ?? short)
    assert.deepEqual([...new Set(used)].toSorted(), defined.toSorted(), page)
  }
})

test('the README leads to every page of docs/', () => {
  const linked = linksIn(read('README.md'))
  for (const page of markdownIn('docs')) assert.ok(linked.includes(page), page)
})

test('each promise has the tests that try to break it', () => {
  const promises: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = JSON.parse(
    read('test/promises.json'),
  )
  for (const [page, mark, other] of [
    ['docs/safety.md', '## ', 'What is not promised'],
    ['SECURITY.md', '### ', 'Assets'],
  ] as const) {
    const sections = read(page).split(`\n${mark}`).slice(1)
    const known = sections.map((section) => section.split('\n')[0]).filter((heading) => heading !== other)
    assert.deepEqual(Object.keys(promises[page] ?? {}), known)
  }
  for (const [heading, tests] of Object.values(promises).flatMap((page) => Object.entries(page))) {
    assert.ok(tests.length > 0, heading)
    for (const path of tests) assert.ok(existsSync(join(root, path)), path)
  }
})

test('each message that docs/bad-day.md has a remedy for is printed', () => {
  const [, section = ''] = read('docs/bad-day.md').split('\n## Symptoms\n')
  const rows = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `'))
  const messages = rows.flatMap((row) =>
    Array.from((row.split('|')[1] ?? '').matchAll(/`(.*?)`/g), ([, text]) => `${text}`),
  )
  assert.ok(messages.length > 25)
  const code = globSync('{lib,tasks}/**/*.ts', { cwd: root })
    .map((path) => read(path).replace(/^ *(\/\/|\/?\*).*$/gm, ''))
    .join('')
  for (const message of messages)
    assert.match(code, new RegExp(message.split(' … ').map(RegExp.escape).join(' .*')), message)
})

test('the pages name the present version: its package, and that it gets security fixes', () => {
  const { version } = manifest
  const packages = [...read('docs/commands.md').matchAll(/harderway-(\d[\d.]*)\.tgz/g)].map(([, its]) => its)
  assert.deepEqual(new Set(packages), new Set([version]))
  assert.match(read('SECURITY.md'), new RegExp(`^\\| ${version.replace(/\.\d+$/, '')} +\\| yes `, 'm'))
})

test('every npm script that is named is one', () => {
  const names = pages.flatMap((page) =>
    [...read(page).matchAll(/npm (?:--prefix \S+ )?run (?:-s )?([\w:]+)/g)].map(([, name = '']) => name),
  )
  assert.ok(names.length > 20)
  for (const name of names) assert.ok(Object.hasOwn(manifest.scripts, name), name)
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

test('no table is wider than three columns', () => {
  for (const page of [...pages, 'test/bench/FIGURES.md'])
    for (const [rule] of read(page).matchAll(/^\|[ :|-]+\|$/gm))
      assert.ok(rule.split('|').length <= 5, `${page}: ${rule}`)
})

test('each dependency has its reason', () => {
  const { dependencies, optionalDependencies, devDependencies } = manifest
  const record = read('docs/decisions/dependencies.md')
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies }))
    assert.match(record, new RegExp(`^\\| .*[\`[]${name}[\`\\]]`, 'm'), name)
})

test('the alerts use no metric that is none', () => {
  for (const [, name = ''] of read('docs/alerts.yaml').matchAll(/harderway_(\w+)/g))
    assert.ok(Object.hasOwn(metrics, name), name)
})
