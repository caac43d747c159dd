/** docs/alerts.yaml, checked and tried by promtool. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { scratch } from '../support/files.ts'
import { needs } from '../support/programs.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const rulesFile = 'docs/alerts.yaml'
const testsFile = 'test/whole/alerts.test.yaml'
const text = readFileSync(join(root, rulesFile), 'utf8')
const tests = readFileSync(join(root, testsFile), 'utf8')
const alerts: readonly { readonly alert: string }[] = parse(text).groups[0].rules

function testRules(t: TestContext) {
  const folder = scratch(t)
  for (const path of ['docs', 'test/whole']) mkdirSync(join(folder, path), { recursive: true })
  writeFileSync(join(folder, testsFile), tests)
  writeFileSync(join(folder, rulesFile), text)
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
    const { status, stdout, stderr } = testRules(t)
    assert.equal(status, 0, stdout + stderr)
  })
})
