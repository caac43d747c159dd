/** Prints cluster.schema.json, by which editors complete and check cluster.yaml: `npm run schema`. */
import { toJsonSchema } from '@valibot/to-json-schema'
import { clusterSchema } from './cluster-schema.ts'

const schema = toJsonSchema(clusterSchema, {
  typeMode: 'input',
  // What they check has no words in JSON Schema; any other action without an equivalent throws.
  ignoreActions: ['check', 'raw_check'],
  overrideSchema: ({ valibotSchema, jsonSchema }) =>
    valibotSchema.type === 'object' ? { ...jsonSchema, additionalProperties: false } : undefined,
})
const { $schema, ...rest } = schema
process.stdout.write(`${format({ $schema, title: 'cluster.yaml', ...rest }, '')}\n`)

/** As Biome writes JSON: a list of plain values on one line, everything else one to a line. */
function format(value: unknown, indent: string): string {
  const deeper = `${indent}  `
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== 'object'))
      return `[${value.map((item) => JSON.stringify(item)).join(', ')}]`
    return `[\n${value.map((item) => `${deeper}${format(item, deeper)}`).join(',\n')}\n${indent}]`
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).filter(([, inner]) => inner !== undefined)
  if (entries.length === 0) return '{}'
  return `{\n${entries.map(([key, inner]) => `${deeper}${JSON.stringify(key)}: ${format(inner, deeper)}`).join(',\n')}\n${indent}}`
}
