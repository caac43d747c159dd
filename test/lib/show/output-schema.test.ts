import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { formatJsonLine } from '../../../lib/show/lines.ts'
import { readJsonLine } from '../../support/harderway.ts'

test('the schema is one, and each type of line has its part in it', () => {
  const schema = JSON.parse(readFileSync(new URL('../../../docs/output.schema.json', import.meta.url), 'utf8'))
  const isLine = new Ajv().compile(schema)
  const { format, ...plan } = JSON.parse(formatJsonLine({ type: 'fresh', id: 'ca', diffs: [], message: 'fresh' }))
  assert.deepEqual([isLine({ ...plan, format }), isLine(plan)], [true, false])
  const parts = schema.anyOf.map(({ $ref }: { $ref: string }) => $ref.replace('#/$defs/', ''))
  const typed = Object.entries<{ properties?: { type?: unknown } }>(schema.$defs).filter(
    ([, part]) => part.properties?.type,
  )
  assert.deepEqual(
    parts,
    typed.map(([name]) => name),
  )
})

test('a line is refused with a field too many, one too few, an unknown type, or a value of another form', () => {
  const plan = { type: 'fresh', id: 'ca', diffs: [], message: 'fresh' }
  assert.deepEqual(readJsonLine(formatJsonLine(plan)), plan)
  for (const [value, why] of [
    [{ ...plan, asked: 1 }, /additional properties/],
    [{ ...plan, id: undefined }, /required property 'id'/],
    [{ ...plan, type: 'frech' }, /frech/],
    [{ ...plan, until: '2036-11-21T10:00:00.000Z' }, /until must match pattern/],
    [{ ...plan, diffs: [{ what: 'misplaced', verb: 'move' }] }, /diffs/],
  ] as const)
    assert.throws(() => readJsonLine(formatJsonLine(value)), why)
  assert.throws(() => readJsonLine(JSON.stringify(plan)), /required property 'format'/)
})
