/** Prints output.schema.json, by which programs check what --json prints: `npm run schema`. */
import { toJsonSchema } from '@valibot/to-json-schema'
import { lineSchema, parts } from './line-schema.ts'

const { $schema, ...rest } = toJsonSchema(lineSchema, { definitions: parts })
process.stdout.write(
  `${JSON.stringify({ $schema, title: 'A line that harderway prints with --json', ...rest }, undefined, 2)}\n`,
)
