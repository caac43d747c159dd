/** Values of cluster.yaml in messages. Pure. */

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
