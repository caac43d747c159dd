import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseCluster } from '../../../lib/cluster/cluster.ts'
import { known } from '../../../tasks/tables/files.ts'

const numRuns = Number(process.env.FUZZ_RUNS ?? 500)
const guide = readFileSync(new URL('../../../cluster.yaml', import.meta.url), 'utf8')

/** What YAML, numbers, addresses or JavaScript treat in a way of their own. */
const tokens = [
  ...[...'{}[],#"\'|>\n\t\r\0\u{feff}\u{1f600}', ': ', '- ', '? ', '  '],
  ...['&a ', '*a', '*b', '!!binary ', '!x ', '<<: *a', '---\n', '...\n', '%YAML 1.1\n', '@', '`', '\\'],
  ...['~', 'null', 'true', 'no', '.nan', '.inf', '1e999', '0x10', '-1', '99999999999999999999', '2001-01-01'],
  ...['::', 'fd00::1', '::ffff:1.2.3.4', '10.0.0.0/8', '0.0.0.0/0', '0y', '1000y', '999999999y'],
  ...['__proto__', 'constructor', 'toString', 'name', 'nodes', 'ips', 'length'],
]

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const scrap = fc.oneof(fc.constantFrom(...tokens), fc.string({ maxLength: 3, unit: 'binary' }))

type Mutation = (text: string) => string

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, scrap).map(([at, what]): Mutation => splice(at, 0, what)),
  fc.tuple(place, fc.integer({ min: 1, max: 5 }), scrap).map(([at, count, what]): Mutation => splice(at, count, what)),
  fc.tuple(place, fc.integer({ min: 1, max: 40 })).map(([at, count]): Mutation => splice(at, count, '')),
  place.map((at): Mutation => onLines((lines) => lines.toSpliced(index(at, lines), 1))),
  fc
    .tuple(place, place)
    .map(
      ([from, to]): Mutation =>
        onLines((lines) => lines.toSpliced(index(to, lines), 0, lines[index(from, lines)] ?? '')),
    ),
  fc.tuple(place, place).map(
    ([one, other]): Mutation =>
      (text) =>
        swapScalars(text, one, other),
  ),
  fc.tuple(place, scrap).map(
    ([at, what]): Mutation =>
      (text) =>
        replaceScalar(text, at, what),
  ),
)

function index(at: number, items: { readonly length: number }): number {
  return Math.floor(at * items.length)
}

function splice(at: number, count: number, what: string): Mutation {
  return (text) => text.slice(0, index(at, text)) + what + text.slice(index(at, text) + count)
}

function onLines(change: (lines: string[]) => string[]): Mutation {
  return (text) => change(text.split('\n')).join('\n')
}

/** Whatever stands behind a colon, up to a comma, a bracket or the end of its line. */
const scalar = /(?<=: )[^\s,{}[\]#][^,{}[\]#\n]*/g

function replaceScalar(text: string, at: number, what: string): string {
  const chosen = index(at, text.match(scalar) ?? [])
  let i = -1
  return text.replace(scalar, (old) => {
    i += 1
    return i === chosen ? what : old
  })
}

function swapScalars(text: string, one: number, other: number): string {
  const all = text.match(scalar) ?? []
  const first = all[index(one, all)] ?? ''
  return replaceScalar(replaceScalar(text, one, all[index(other, all)] ?? ''), other, first)
}

/** Either a cluster or problems, each with a place inside the file. */
function judge(bytes: Uint8Array): void {
  const result = parseCluster(bytes, known)
  if ('cluster' in result) return
  assert.notEqual(result.problems.length, 0)
  const lines = Buffer.from(bytes)
    .toString()
    .split(/\r\n|\r|\n/).length
  for (const { line, column, message } of result.problems) {
    assert.ok(Number.isInteger(line) && line >= 1 && line <= lines, `line ${line} of ${lines}: ${message}`)
    assert.ok(Number.isInteger(column) && column >= 1, `column ${column}: ${message}`)
    assert.notEqual(message, '')
  }
}

test("whatever happens to the guide's cluster.yaml, it is a cluster or has problems with a place", () => {
  const mutations = fc.array(mutation, { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(mutations, (all) => judge(Buffer.from(all.reduce((text, mutate) => mutate(text), guide)))),
    { numRuns },
  )
})

test('bytes of any kind are a cluster or have problems with a place', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), judge), { numRuns })
})

test('foreign bytes inside a cluster.yaml leave it a cluster or give problems with a place', () => {
  const bytes = fc.uint8Array({ minLength: 1, maxLength: 4 })
  const mixed = fc.tuple(place, bytes).map(([at, inserted]) => {
    const whole = Buffer.from(guide)
    return Buffer.concat([whole.subarray(0, index(at, whole)), inserted, whole.subarray(index(at, whole))])
  })
  fc.assert(fc.property(mixed, judge), { numRuns })
})

test('values of any shape in the place of any section are a cluster or have problems with a place', () => {
  const value = fc.jsonValue({ maxDepth: 3 })
  const keys = ['name', 'domain', 'subject', 'certificates', 'api', 'network', 'encryption', 'ssh', 'localKubeconfig']
  const sections = fc.dictionary(fc.constantFrom(...keys, 'nodes', 'other'), value)
  fc.assert(
    fc.property(sections, (document) => judge(Buffer.from(JSON.stringify(document)))),
    { numRuns },
  )
})
