/** docs/alerts.yaml, checked by promtool. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { needs } from '../support/programs.ts'

const file = fileURLToPath(new URL('../../docs/alerts.yaml', import.meta.url))

test('the alerts are valid rules, each with another name', { skip: needs('promtool') }, () => {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'rules', file], { encoding: 'utf8' })
  assert.equal(status, 0, stdout + stderr)
  const rules: readonly { readonly alert: string }[] = parse(readFileSync(file, 'utf8')).groups[0].rules
  assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
})
