/** A problem of cluster.yaml: how the values of a YAML that may be anything are read to find it, and shown in its message. Pure. */

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

/** The value as the message shows it: short, on one line, its kind visible. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const json = JSON.stringify(String(value)) ?? ''
  const short = json.length > 62 ? `${json.slice(0, 60)}…"` : json
  return typeof value === 'string' ? short : String(value).slice(0, 40)
}

/** A map from the file may have a key `toString`, so it can't be converted to text. */
export function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return '[object Object]'
  }
}
