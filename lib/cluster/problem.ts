/** A problem of cluster.yaml, and how the values of a YAML that may be anything are read to find it. Pure. */

export type Path = readonly (string | number)[]
export type Problem = { readonly path: Path; readonly message: string; readonly at?: 'key' | 'value' }

export type Raw = Readonly<Record<string, unknown>>

export function map(value: unknown): Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Raw) : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Each value that was there before, at its own place. */
export function duplicates(values: readonly { value: string; path: Path }[], what: string): Problem[] {
  const seen = new Set<string>()
  return values.flatMap(({ value, path }) => {
    if (seen.has(value)) return [{ path, message: `"${value}" ${what}` }]
    seen.add(value)
    return []
  })
}
