/** The documentation: every link leads somewhere, and the reference pages name all that there is, and nothing else. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { nodeUnits } from '../../tasks/layouts/tables.ts'
import { optionNames } from '../../tasks/request/options.ts'
import { entry } from '../support/harderway.ts'

const root = join(dirname(entry), '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...markdownIn('docs'), ...markdownIn('docs/decisions')]
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

/** What the tables under that heading name, in code or as a link, in the first column. */
function rowsIn(page: string, heading: string): string[] {
  const [, section = ''] = `\n${read(page)}`.split(`\n${heading}\n`)
  const rows = (section.split(/^## /m)[0] ?? '').matchAll(/^\| ([`[].*?) +\|/gm)
  return [...rows].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`|\[([^\]]+)\]/g)].map(([, a, b]) => a ?? b ?? ''),
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
  for (const [page, sections] of Object.entries(promises)) {
    const headings = [...read(page).matchAll(/^##+ (.*)$/gm)].map(([, heading = '']) => heading)
    for (const [heading, tests] of Object.entries(sections)) {
      assert.ok(headings.includes(heading), `test/promises.json: ${page} has no heading ${heading}`)
      for (const path of tests) assert.ok(existsSync(join(root, path)), path)
    }
  }
  const sectionsOf = (page: string, mark: string) =>
    read(page)
      .split(mark)
      .slice(1)
      .map((section) => section.split('\n')[0])
  const [safety, security] = ['docs/safety.md', 'SECURITY.md'].map((page) => Object.keys(promises[page] ?? {}))
  assert.deepEqual(
    safety,
    sectionsOf('docs/safety.md', '\n## ').filter((heading) => heading !== 'What is not promised'),
  )
  assert.deepEqual(
    security,
    sectionsOf('SECURITY.md', '\n### ').filter((heading) => heading !== 'Assets'),
  )
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

test('docs/commands.md has a row for each phase of --list', () => {
  const told = execFileSync(process.execPath, [entry, '--list'], { encoding: 'utf8' })
  const [list = ''] = told.split('\nCommands\n')
  const known = [...list.matchAll(/^ {2}([\w-]+)/gm)].map(([, phase]) => phase)
  assert.equal(known.length, 12)
  assert.deepEqual(rowsIn('docs/commands.md', '## Phases and targets').slice(0, known.length), known)
})

test('docs/monitoring.md has a row for each alert, in the same order', () => {
  const known = [...read('docs/alerts.yaml').matchAll(/- alert: (\w+)/g)].map(([, name]) => name)
  const rows = rowsIn('docs/monitoring.md', '## Alerts').filter((row) => row.startsWith('Harderway'))
  assert.deepEqual(rows, known)
})

const sources = ['commands/report/report', 'request/metrics'].map((name) => read(`tasks/${name}.ts`)).join('')
const metrics = [...sources.matchAll(/\bfamily\(\s*'(\w+)'/g)].map(([, name]) => `harderway_${name}`)

for (const [page, headings, known] of [
  ['commands', ['## Options'], optionNames.map((name) => `--${name}`)],
  ['monitoring', ['## Metrics'], metrics],
] as const)
  test(`docs/${page}.md has a row for each that there is under ${headings.join(' and ')}`, () => {
    const rows = headings.flatMap((heading) => rowsIn(`docs/${page}.md`, heading)).map((code) => code.split(' ')[0])
    const long = rows.filter((row) => row !== '-h')
    assert.ok(known.length > 10)
    assert.deepEqual(long.toSorted(), known.toSorted())
  })

test('each dependency has its reason', () => {
  const { dependencies, optionalDependencies, devDependencies } = manifest
  const record = read('docs/decisions/dependencies.md')
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies }))
    assert.match(record, new RegExp(`^\\| .*[\`[]${name}[\`\\]]`, 'm'), name)
})

test('the alerts use no metric that is none', () => {
  for (const name of read('docs/alerts.yaml').match(/harderway_\w+/g) ?? []) assert.ok(metrics.includes(name), name)
})

/** `nodes[].name`: each key that may be written, by its path; a map of maps by those inside it. */
function keysOf(schema: Schema, path = ''): string[] {
  const [inner] = [schema, ...(schema.anyOf ?? [])].filter(({ properties }) => properties)
  const items = schema.items?.properties && keysOf(schema.items, `${path}[]`)
  const keys = Object.entries(inner?.properties ?? {}).flatMap(([key, value]) =>
    keysOf(value, path === '' ? key : `${path}.${key}`),
  )
  const isSection = inner === schema
  return [...(isSection ? [] : [path]), ...keys, ...(items ?? [])]
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

test('docs/cluster-yaml.md has a row for each key of cluster.schema.json, in the same order', () => {
  const known = keysOf(JSON.parse(read('cluster.schema.json')))
  assert.ok(known.includes('nodes[].role'))
  assert.deepEqual(rowsIn('docs/cluster-yaml.md', '## Keys'), known)
})

const whenRead = { now: 'by itself', poll: '', reload: '', restart: 'at its start' } as const

const guide = { layout: 'harder-way', etcd: { ca: 'shared' }, certificates: { caKeyOnNodes: true } } as const

/** The cells of each row: of a unit, a file, and the settings that name it. What etcd's pages derive from a flag is in a sentence. */
function readsTable(): string[][] {
  const roles = ['gateway', 'control', 'worker'] as const
  const units = roles.flatMap((role) =>
    nodeUnits({ ...guide, install: false }, { name: '<node>', role }).map((unit) => ({ role, unit })),
  )
  return [...Map.groupBy(units, ({ unit }) => unit.unit).values()].flatMap((same) =>
    [...Map.groupBy(same[0]?.unit.reads ?? [], ({ file, loads }) => `${file} ${loads}`).values()].flatMap((rows) => {
      const [row] = rows
      if (!row) return []
      const { file, usual, loads, isOfKeys, mayReload } = row
      const settings = rows.flatMap(({ by }) => by.filter((each) => !/^ETCD_|-transport-security/.test(each)))
      const names = settings.map((each) => `\`${each}\``).join(', ')
      const kubeconfig = file.endsWith('.kubeconfig') && 'at its start; pair, and CA from 1.36 on, within 5 min'
      const keys = isOfKeys && 'at its start, for other keys'
      const when = kubeconfig || keys || `${whenRead[loads]}${mayReload ? ', or within 1 min' : ''}`
      const on = same.map(({ role }) => role).join(', ')
      return [[`\`${same[0]?.unit.unit}\``, on, names, `\`${file}\``, `\`${usual}\``, when]]
    }),
  )
}

test('docs/install.md has a row for each file that a unit reads, as the layout has it', () => {
  const [, section = ''] = read('docs/install.md').split('\n## What a unit reads\n')
  const rows = (section.split(/^## /m)[0] ?? '').split('\n').filter((line) => line.startsWith('| `'))
  const cells = rows.map((row) => row.split(/ *\| */).slice(1, -1))
  assert.ok(cells.length >= 15)
  assert.deepEqual(cells, readsTable())
})
