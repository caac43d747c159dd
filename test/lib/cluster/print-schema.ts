/** Prints cluster.schema.json, by which editors complete and check cluster.yaml: `npm run schema`. */
import { toJsonSchema } from '@valibot/to-json-schema'
import { clusterSchema } from '../../../lib/cluster/schema.ts'

const schema = toJsonSchema(clusterSchema, {
  typeMode: 'input',
  // What they check has no words in JSON Schema; any other action without an equivalent throws.
  ignoreActions: ['check', 'raw_check', 'transform'],
  overrideSchema: ({ valibotSchema, jsonSchema }) =>
    valibotSchema.type === 'object' ? { ...jsonSchema, additionalProperties: false } : undefined,
})
const { $schema, ...rest } = schema
/** The one key that is required by some layouts, and not allowed by others. */
const virtualIP = {
  if: { properties: { layout: { const: 'hard-way' } }, required: ['layout'] },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
  then: { properties: { api: { properties: { virtualIP: false } } } },
  else: { properties: { api: { required: ['virtualIP'] } }, required: ['api'] },
}
process.stdout.write(`${JSON.stringify({ $schema, title: 'cluster.yaml', ...rest, ...virtualIP }, undefined, 2)}\n`)
