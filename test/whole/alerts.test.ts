/**
 * docs/alerts.yaml, checked and tried by promtool: its tests pass, and those of each alert fail where its condition is
 * turned round.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse, parseDocument, stringify } from 'yaml'
import { scratch } from '../support/files.ts'
import { needs } from '../support/programs.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const rulesFile = 'docs/alerts.yaml'
const testsFile = 'test/whole/alerts.test.yaml'
const text = readFileSync(join(root, rulesFile), 'utf8')
const tests = readFileSync(join(root, testsFile), 'utf8')
const alerts: readonly { readonly alert: string; readonly expr: string }[] = parse(text).groups[0].rules

const inverse: Readonly<Record<string, string>> = { '<': '>=', '>': '<=', '==': '!=', '!=': '==', unless: 'and' }

/** The same rules, with the condition of one alert turned round. */
function invert(i: number): string {
  const document = parseDocument(text)
  const path = ['groups', 0, 'rules', i, 'expr']
  const expression = String(document.getIn(path))
  const inverted = expression.replace(/(?<= )(<|>|==|!=|unless)(?= )/, (operator) => String(inverse[operator]))
  assert.notEqual(inverted, expression)
  document.setIn(path, inverted)
  return document.toString()
}

/** Those of one alert: no rule is made of another's. */
function testsOf(alert: string): string {
  const document = parse(tests)
  const isOfIt = (group: { alert_rule_test: { alertname: string }[] }) =>
    group.alert_rule_test.some(({ alertname }) => alertname === alert)
  return stringify({ ...document, tests: document.tests.filter(isOfIt) })
}

function testRules(t: TestContext, rules: string, tried = tests) {
  const folder = scratch(t)
  for (const path of ['docs', 'test/whole']) mkdirSync(join(folder, path), { recursive: true })
  writeFileSync(join(folder, testsFile), tried)
  writeFileSync(join(folder, rulesFile), rules)
  return spawnSync('promtool', ['test', 'rules', join(folder, testsFile)], { encoding: 'utf8' })
}

describe('the alerts', { skip: needs('promtool') }, () => {
  test('are valid rules, each with another name', () => {
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', join(root, rulesFile)], {
      encoding: 'utf8',
    })
    assert.equal(status, 0, stdout + stderr)
    assert.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length)
  })

  test('pass their tests', (t) => {
    const { status, stdout, stderr } = testRules(t, text)
    assert.equal(status, 0, stdout + stderr)
  })

  for (const [i, { alert }] of alerts.entries())
    test(`fail the tests of ${alert} if its condition is inverted`, (t) => {
      const { status, stdout, stderr } = testRules(t, invert(i), testsOf(alert))
      assert.equal(status, 1, stdout + stderr)
      const failed = [...stderr.matchAll(/alertname: (\w+)/g)].map(([, name]) => name)
      assert.deepEqual([...new Set(failed)], [alert], stderr)
    })
})
