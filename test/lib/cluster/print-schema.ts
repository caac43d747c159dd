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
process.stdout.write(`${JSON.stringify({ $schema, title: 'cluster.yaml', ...rest }, undefined, 2)}\n`)
