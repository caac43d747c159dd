/** A line of --json, held to output.schema.json. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** ajv is loaded by the first line: most tests have none. */
const require = createRequire(import.meta.url)
let known: ReturnType<typeof compile> | undefined

function compile() {
  const { Ajv } = require('ajv') as typeof import('ajv')
  const schema = JSON.parse(readFileSync(new URL('../../output.schema.json', import.meta.url), 'utf8'))
  const ajv = new Ajv({ allErrors: true })
  return { ajv, schema, validate: ajv.compile<Record<string, unknown>>(schema) }
}

/** Its fields but for `format`, which each line has. Fails where the schema does not have it. */
export function readJsonLine(line: string): Record<string, unknown> {
  known ??= compile()
  const { ajv, schema, validate } = known
  const value = JSON.parse(line)
  if (validate(value)) {
    const { format, ...rest } = value
    return rest
  }
  // Of its own type alone: the errors of all others say nothing.
  ajv.validate({ $defs: schema.$defs, $ref: `#/$defs/${value.type}` }, value)
  assert.fail(`output.schema.json does not have ${line}\n${ajv.errorsText(ajv.errors, { separator: '\n' })}`)
}
