/** Keys that the schema of cluster.yaml does not have. Pure. */
import { suggest } from '../suggest.ts'
import { list, map, type Path, type Problem } from './problem.ts'

/** The parts of a valibot schema that say which keys may stand where. */
export interface SchemaShape {
  readonly type: string
  readonly entries?: Readonly<Record<string, SchemaShape>>
  readonly item?: SchemaShape
  readonly wrapped?: SchemaShape
  readonly options?: readonly SchemaShape[]
  /** Of a record, whose keys may be any. */
  readonly value?: SchemaShape
}

export function unknownKeys(schema: SchemaShape, value: unknown, path: Path): Problem[] {
  if (schema.wrapped) return unknownKeys(schema.wrapped, value, path)
  if (schema.type === 'union') return (schema.options ?? []).flatMap((option) => unknownKeys(option, value, path))
  const { item, entries, value: each } = schema
  if (each) return Object.entries(map(value)).flatMap(([key, inner]) => unknownKeys(each, inner, [...path, key]))
  if (item) return list(value).flatMap((each, i) => unknownKeys(item, each, [...path, i]))
  if (!entries) return []
  return Object.entries(map(value)).flatMap(([key, inner]) => {
    const known = Object.hasOwn(entries, key) ? entries[key] : undefined
    if (known) return unknownKeys(known, inner, [...path, key])
    const words = path.filter((part) => typeof part === 'string').join('.')
    const where = { '': 'cluster.yaml', nodes: 'a node', users: 'a user' }[words] ?? words
    return [
      {
        path: [...path, key],
        at: 'key' as const,
        message: `is an unknown key in ${where}: ${suggest(key, Object.keys(entries))}`,
      },
    ]
  })
}
