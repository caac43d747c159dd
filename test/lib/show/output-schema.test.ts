import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { readJsonLine } from '../../support/harderway.ts'

const file = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))
const schema = readFileSync(file('output.schema.json'), 'utf8')
const { $defs } = JSON.parse(schema) as { $defs: Readonly<Record<string, Part>> }

interface Part {
  readonly properties?: Readonly<Record<string, Part>>
  readonly anyOf?: readonly Part[]
  readonly oneOf?: readonly Part[]
  readonly const?: unknown
}

test('output.schema.json is what `npm run schema` prints', () => {
  assert.equal(execFileSync(process.execPath, [file('test/lib/show/print-schema.ts')], { encoding: 'utf8' }), schema)
})

test('a line is refused with a field too many, one too few, an unknown type, or a value of another form', () => {
  const plan = { type: 'fresh', id: 'ca', reasons: [], message: 'fresh' }
  assert.deepEqual(readJsonLine(formatJsonLine(plan)), plan)
  for (const [value, why] of [
    [{ ...plan, asked: 1 }, /additional properties/],
    [{ ...plan, id: undefined }, /required property 'id'/],
    [{ ...plan, type: 'frech' }, /frech/],
    [{ ...plan, until: '2036-11-21T10:00:00.000Z' }, /until must match pattern/],
    [{ ...plan, reasons: [{ kind: 'misplaced', paths: [] }] }, /reasons/],
  ] as const)
    assert.throws(() => readJsonLine(formatJsonLine(value)), why)
  assert.throws(() => readJsonLine(JSON.stringify(plan)), /required property 'format'/)
})

/** `type: fields` of each, as the schema has them and as the tables of docs/json.md do. */
const fieldsOf = (parts: readonly Part[], key: string) =>
  parts.map(({ properties: { [key]: name, format, ...rest } = {} }) => [String(name?.const), Object.keys(rest).sort()])

function rowsUnder(heading: string) {
  const [, section = ''] = readFileSync(file('docs/json.md'), 'utf8').split(`\n## ${heading}\n`)
  const rows = (section.split(/^## /m)[0] ?? '').split('\n').filter((line) => line.startsWith('| `'))
  return rows.map((row) => {
    const cells = row.split('|').map((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, word = '']) => word))
    return [cells[1]?.[0] ?? '', new Set(cells.slice(2).flat())] as const
  })
}

for (const [heading, parts, key] of [
  ['Types', Object.values($defs).filter(({ properties }) => properties?.type), 'type'],
  ['Reasons', $defs.reason?.oneOf ?? $defs.reason?.anyOf ?? [], 'kind'],
  ['Changes', $defs.change?.oneOf ?? $defs.change?.anyOf ?? [], 'kind'],
] as const)
  test(`docs/json.md has every field under ${heading}, and no type that there is not`, () => {
    const rows = rowsUnder(heading)
    const known = fieldsOf(parts, key) as [string, string[]][]
    assert.ok(known.length > 3)
    assert.deepEqual(rows.map(([name]) => name).toSorted(), known.map(([name]) => name).toSorted())
    for (const [name, fields] of known) {
      const own = rows.filter(([each]) => each === name).map(([, words]) => words)
      const has = own.some((words) => fields.every((field) => words.has(field)))
      assert.ok(has, `${name}: ${fields.join(', ')}`)
    }
  })
