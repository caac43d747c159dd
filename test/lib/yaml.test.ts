import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { parseYaml } from '../../lib/yaml.ts'
import { layoutRules } from '../../tasks/layouts/tables.ts'

const count = 50_000
const names = Array.from({ length: count }, (_, i) => `k${i}`)

// By a check of each key against all others: minutes.
describe('fifty thousand keys', { timeout: 120_000 }, () => {
  test('are read, and one that is repeated is refused', () => {
    const text = `{${names.map((name) => `${name}: 1`).join()}}`
    const document = parseYaml(text)
    assert.deepEqual([document.errors, Object.keys(document.toJS()).length], [[], count])
    const repeated = text.replace('k49999:', 'k1:')
    const [error, ...others] = parseYaml(repeated).errors
    assert.deepEqual([error?.code, repeated.slice(error?.pos[0], error?.pos[1]), others], ['DUPLICATE_KEY', 'k1', []])
  })

  test('that cluster.yaml does not know are reported with their places', () => {
    const parsed = parseCluster(Buffer.from(names.map((name) => `${name}: 1\n`).join('')), layoutRules)
    assert.ok('problems' in parsed)
    const places = parsed.problems.filter(({ message }) => message.includes('unknown key'))
    assert.deepEqual([places.length, places.at(-1)?.line], [count, count])
  })
})

describe('a key is repeated', () => {
  for (const text of [
    'a: 1\na: 2\n',
    '{a: 1, a: 2}',
    '- x:\n    a: 1\n    "a": 2\n',
    '? a\n? a\n',
    ': 1\n: 2\n',
    '1: x\n1: y\n',
  ])
    test(JSON.stringify(text), () => assert.equal(parseYaml(text).errors[0]?.code, 'DUPLICATE_KEY'))
})

test('keys of two maps, and those that are only alike, are not repeated', () => {
  for (const text of ['a: {b: 1}\nb: {b: 1}\n', 'A: 1\na: 2\n']) assert.deepEqual(parseYaml(text).errors, [])
})

// As text each is written again for each around it: minutes of the only thread.
for (const text of ['? '.repeat(700), '? - '.repeat(250), '? {a: b}\n: c', '? [a]\n: c', 'a: &x b\n*x : 1'])
  test(`a key that is no name is an error, and nothing is asked of its values: ${text.slice(0, 12)}`, () => {
    assert.equal(parseYaml(text).errors[0]?.code, 'NON_STRING_KEY')
    const parsed = parseCluster(Buffer.from(text), layoutRules)
    assert.ok('problems' in parsed)
  })
