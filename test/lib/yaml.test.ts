import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseCluster } from '../../lib/cluster/cluster.ts'
import { parseYaml } from '../../lib/yaml.ts'
import { layoutRules } from '../../tasks/layouts/tables.ts'

test('a key is repeated', () => {
  for (const text of ['a: 1\na: 2\n', '{a: 1, a: 2}', '- x:\n    a: 1\n    "a": 2\n', '1: x\n1: y\n'])
    assert.equal(parseYaml(text).errors[0]?.code, 'DUPLICATE_KEY', text)
})

test('keys of two maps, and those that are only alike, are not repeated', () => {
  for (const text of ['a: {b: 1}\nb: {b: 1}\n', 'A: 1\na: 2\n']) assert.deepEqual(parseYaml(text).errors, [])
})

// As text each is written again for each around it: minutes of the only thread.
for (const text of ['? '.repeat(700), '? [a]\n: c', 'a: &x b\n*x : 1'])
  test(`a key that is no name is an error, and nothing is asked of its values: ${text.slice(0, 12)}`, () => {
    assert.equal(parseYaml(text).errors[0]?.code, 'NON_STRING_KEY')
    const parsed = parseCluster(Buffer.from(text), layoutRules)
    assert.ok('problems' in parsed)
  })
