import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { readJsonLine } from '../../support/harderway.ts'

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
