/** A line of --json, held to output.schema.json. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** Loaded by the first line: most tests have none. */
const require = createRequire(import.meta.url)
let checks: ReturnType<typeof compile> | undefined

function compile() {
  const { Ajv } = require('ajv') as typeof import('ajv')
  const schema = readFileSync(new URL('../../output.schema.json', import.meta.url), 'utf8')
  const ajv = new Ajv({ allErrors: true })
  return { ajv, validate: ajv.compile<Record<string, unknown>>(JSON.parse(schema)) }
}

/** Its fields but for `format`, which each line has. Fails where the schema does not have it. */
export function readJsonLine(line: string): Record<string, unknown> {
  checks ??= compile()
  const { ajv, validate } = checks
  const value = JSON.parse(line)
  if (validate(value)) {
    const { format, ...rest } = value
    return rest
  }
  const own = validate.errors?.filter(({ schemaPath }) => schemaPath.startsWith(`#/$defs/${value.type}/`))
  assert.fail(`output.schema.json does not have ${line}\n${ajv.errorsText(own, { separator: '\n' })}`)
}
