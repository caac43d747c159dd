/**
 * `npm run docs`: docs/cluster.schema.json, by which editors complete and check cluster.yaml; output.schema.json, by which
 * programs check what --json prints; and what pages have after a mark. `<!-- keys: npm run docs -->` begins what `keys`
 * in `tables` returns.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { toJsonSchema } from '@valibot/to-json-schema'
import { clusterSchema } from '../lib/cluster/schema.ts'
import { phases } from '../tasks/bootstrap.ts'
import { commands, commonOptions, questions } from '../tasks/commands/commands.ts'
import { NODE } from '../tasks/layouts/layout.ts'
import { nodeUnits } from '../tasks/layouts/tables.ts'
import { type OptionName, optionNames, optionTable } from '../tasks/run/options.ts'
import { parsed } from '../test/support/files.ts'
import { lineSchema, parts } from './line-schema.ts'

interface Schema {
  readonly const?: unknown
  readonly enum?: readonly string[]
  readonly default?: unknown
  readonly description?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
}

const root = join(import.meta.dirname, '..')

const code = (text: unknown) => `\`${text}\``
const codes = (texts: readonly string[]) => texts.map(code).join(', ')
/** Plain text: options, files and `<name>` as code. */
const mark = (text: string) =>
  text.replace(/--\w[\w-]*|\bauth\/(?:[\w.]*\w)?|[\w-]*<\w+>[\w.-]*|\b[\w-]+\.(?:yaml|service)\b/g, code)

const clusterJson = {
  title: 'cluster.yaml',
  ...toJsonSchema(clusterSchema, {
    typeMode: 'input',
    // What they check has no words in JSON Schema; any other action without an equivalent throws.
    ignoreActions: ['check', 'raw_check', 'transform'],
    overrideSchema: ({ valibotSchema, jsonSchema }) =>
      valibotSchema.type === 'object' ? { ...jsonSchema, additionalProperties: false } : undefined,
  }),
  // The one key that is required by some layouts, and not allowed by others.
  if: { properties: { layout: { const: 'hard-way' } }, required: ['layout'] },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: { properties: { api: { properties: { virtualIP: false } } } },
  else: { properties: { api: { required: ['virtualIP'] } }, required: ['api'] },
}
const outputJson = {
  title: 'A line that harderway prints with --json',
  ...toJsonSchema(lineSchema, { definitions: parts }),
}
/** By the name in the mark; the first row is the head. */
export const tables = {
  keys: () => [['key', 'default', 'meaning'], ...keysOf(clusterJson as Schema)],
  phases: () => [['phase', 'what it makes'], ...phases.map(({ name, makes }) => [code(name), mark(makes)])],
  commands: () => [
    ['command', 'what it does'],
    ...commands.map(({ name, operands, does }) => [code([name, operands].filter(Boolean).join(' ')), mark(does)]),
  ],
  options: () => [['option', 'with', 'meaning'], ...optionNames.map(optionRow)],
  files: () => [['file, where the guide has it', 'named by', 'loaded by'], ...fileRows()],
}

if (import.meta.main) for (const [path, text] of generate()) writeFileSync(join(root, path), text)

/** Each file that is made, and its text. */
export function generate(): [path: string, text: string][] {
  return [
    ['docs/cluster.schema.json', `${JSON.stringify(clusterJson, undefined, 2)}\n`],
    ['docs/output.schema.json', `${JSON.stringify(outputJson, undefined, 2)}\n`],
    ...globSync('docs/*.md', { cwd: root }).map((path): [string, string] => [path, fill(read(path))]),
  ]
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}

function fill(page: string): string {
  const isMarked = /(?<=<!-- (\w+): npm run docs -->\n).*?(?=<!-- end -->)/gs
  return page.replace(isMarked, (_, name: keyof typeof tables) => `\n${format(tables[name]())}\n`)
}

/** A table; a list where a row of the table would be longer than 120 characters. */
function format(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll('|', '\\|')))
  const widths = (cells[0] ?? []).map((_, i) => Math.max(3, ...cells.map((row) => row[i]?.length ?? 0)))
  const [head = [], ...body] = cells
  const all = [head, widths.map((width) => '-'.repeat(width)), ...body]
  const lines = all.map((row) => `| ${widths.map((width, i) => (row[i] ?? '').padEnd(width)).join(' | ')} |\n`)
  if (lines.every((line) => line.length <= 121)) return lines.join('')
  // A row of one cell is the heading of those below it.
  const isNested = rows.some((row) => row.length === 1)
  return rows
    .slice(1)
    .map((row) => `${isNested && row.length > 1 ? '  ' : ''}${formatItem(row)}`)
    .join('')
}

/** The last cell says what the first is; those between them are in brackets. */
function formatItem(row: readonly string[]): string {
  const [first = '', ...others] = row
  const [last, ...between] = others.toReversed()
  const inBrackets = between.some(Boolean) ? ` (${between.toReversed().join(', ')})` : ''
  return last === undefined ? `- ${first}\n` : `- ${first}${inBrackets}${last && `: ${last}`}\n`
}

/** `nodes[].name`: each key that may be written, by its path. A map of keys has no row, only those inside it. */
function keysOf(schema: Schema, path = ''): string[][] {
  const inner = [schema, ...(schema.anyOf ?? [])].find(({ properties }) => properties)
  const { items, additionalProperties: values } = schema
  const own = Object.entries(inner?.properties ?? {}).flatMap(([name, value]) => {
    const key = path === '' ? name : `${path}.${name}`
    return [...(value.properties ? [] : [keyRow(key, value, inner?.required?.includes(name))]), ...keysOf(value, key)]
  })
  return [
    ...own,
    ...(items ? keysOf(items, `${path}[]`) : []),
    ...(typeof values === 'object' ? keysOf(values, `${path}.<unit>`) : []),
  ]
}

/** A default that depends on something else ends the description, as `Default: …`. */
function keyRow(key: string, { default: usual, description = '', enum: values }: Schema, isRequired = false): string[] {
  const [meaning, otherwise = ''] = description.split(/ Default: (.*)\.$/)
  const shown = typeof usual === 'object' ? JSON.stringify(usual) : usual
  const oneOf = values && values.length > 1 && `One of ${codes(values)}.`
  return [
    code(key),
    isRequired ? 'required' : shown === undefined || shown === '' ? otherwise : code(shown),
    [meaning, oneOf].filter(Boolean).join(' '),
  ]
}

/** Commands that give it the same meaning share a part. */
function optionRow(name: OptionName): string[] {
  const { value, short, help = '' } = optionTable[name]
  const option = codes([[`--${name}`, value].filter(Boolean).join(' '), ...(short ? [`-${short}`] : [])])
  if (commonOptions.includes(name)) return [option, 'all', mark(help)]
  if (questions.includes(name)) return [option, 'alone', mark(help)]
  const takers = commands.filter(({ options }) => options.includes(name))
  const named = (some: typeof takers) => some.map((each) => (each.name === '' ? 'runs' : code(each.name))).join(', ')
  const meanings = [...Map.groupBy(takers, ({ means }) => means?.[name] ?? help)]
  const texts = meanings.map(([meaning, some]) => (meanings.length > 1 ? `${named(some)}: ` : '') + mark(meaning))
  return [option, named(takers), texts.join('; ')]
}

/** In the layout harder-way: a row for each unit, and below it those of its files. */
function fileRows(): string[][] {
  const cluster = parsed(read('cluster.yaml'))
  const [node = assert.fail()] = cluster.nodes
  const units = (['gateway', 'control', 'worker'] as const).flatMap((role) =>
    nodeUnits(cluster, { ...node, name: NODE, role }).map((unit) => ({ role, ...unit })),
  )
  const by = { now: 'reload', poll: '', reload: '', restart: 'restart' } as const
  return [...Map.groupBy(units, ({ unit }) => unit)].flatMap(([unit, same]) => {
    const places = Map.groupBy(same[0]?.reads ?? [], ({ usual, loads }) => `${usual} ${loads}`)
    const rows = [...places.values()].flatMap((reads) => {
      const [{ file, usual, loads, isOfKeys, mayReload }] = reads as [(typeof reads)[number]]
      // What etcd's pages derive from a flag is in a sentence.
      const settings = reads.flatMap(({ by }) => by.filter((each) => !/^ETCD_|-transport-security/.test(each)))
      const loadedBy = file.endsWith('.kubeconfig')
        ? 'restart; pair, and CA from 1.36 on: reload within 5 min'
        : `${by[loads]}${isOfKeys ? ', for other keys' : ''}${mayReload ? ', or reload within 1 min' : ''}`
      return [[usual.endsWith(`/${file}`) ? code(usual) : `${code(usual)}: ${code(file)}`, codes(settings), loadedBy]]
    })
    return [[`**${unit}**, on ${same.map(({ role }) => role).join(', ')}`], ...rows]
  })
}
