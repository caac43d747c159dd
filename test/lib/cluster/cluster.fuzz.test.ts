import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseCluster } from '../../../lib/cluster/cluster.ts'
import { clusterSchema } from '../../../lib/cluster/schema.ts'
import { layoutRules } from '../../../tasks/layouts/tables.ts'
import { fc } from '../../support/properties.ts'

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

/** Whatever stands behind a colon, up to a comma, a bracket or the end of its line. */
const scalar = /(?<=: )[^\s,{}[\]#][^,{}[\]#\n]*/g

const index = (at: number, { length }: { readonly length: number }) => Math.floor(at * length)

/** One change: of a part of the text, of its lines, of a value; `at` and `other` are between 0 and 1. */
const mutation = fc
  .record({ kind: fc.nat(4), at: place, other: place, count: fc.nat(40), what: fc.oneof(scrap, fc.constant('')) })
  .map(({ kind, at, other, count, what }) => (text: string) => {
    const lines = text.split('\n')
    const values = [...text.matchAll(scalar)]
    const [value, another] = [at, other].map((each) => values[index(each, values)])
    switch (kind) {
      case 0:
        return text.slice(0, index(at, text)) + what + text.slice(index(at, text) + Math.floor(count / 8))
      case 1:
        return text.slice(0, index(at, text)) + text.slice(index(at, text) + count)
      case 2:
        return lines.toSpliced(index(at, lines), 1).join('\n')
      case 3:
        return lines.toSpliced(index(at, lines), 0, lines[index(other, lines)] ?? '').join('\n')
      default: {
        const { index: start = 0, 0: old = '' } = value ?? {}
        return text.slice(0, start) + (count % 2 ? what : (another?.[0] ?? '')) + text.slice(start + old.length)
      }
    }
  })

/** Either a cluster or problems, each with a place inside the file. */
function judge(bytes: Uint8Array): void {
  const result = parseCluster(bytes, layoutRules)
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
  const keys = Object.keys(clusterSchema.entries)
  const sections = fc.dictionary(fc.constantFrom(...keys, 'other'), value)
  fc.assert(
    fc.property(sections, (document) => judge(Buffer.from(JSON.stringify(document)))),
    { numRuns },
  )
})
