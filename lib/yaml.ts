/**
 * YAML as the library parses it, in a time that grows with the text: its own check for repeated keys is quadratic.
 * Pure.
 */
import { type Document, isScalar, type LineCounter, parseDocument, visit, YAMLParseError } from 'yaml'

/**
 * Never throws; problems are in `errors`, which may quote the text: then its values must not be read. A key that is
 * a map would be written as text again for each map around it, and none of our files has one.
 */
export function parseYaml(
  text: string,
  { lineCounter, merge = false, schema = 'core' }: YamlUse = {},
): Document.Parsed {
  const options = {
    uniqueKeys: false,
    stringKeys: true,
    prettyErrors: false,
    logLevel: 'error',
    merge,
    schema,
  } as const
  const document = parseDocument(text, lineCounter ? { ...options, lineCounter } : options)
  if (document.errors.length > 0) return document
  visit(document, {
    Map: (_, { items }) => {
      const seen = new Set<unknown>()
      for (const { key } of items) {
        const value = isScalar(key) ? key.value : key
        const [start, end] = (isScalar(key) && key.range) || [0, 0]
        if (seen.has(value))
          document.errors.push(new YAMLParseError([start, end], 'DUPLICATE_KEY', 'Map keys must be unique'))
        seen.add(value)
      }
    },
  })
  return document
}

interface YamlUse {
  readonly lineCounter?: LineCounter
  /** `<<` brings in what it names, as it does for kubectl. */
  readonly merge?: boolean
  /** failsafe keeps each value as text; in YAML 1.1 yes and on are true. */
  readonly schema?: 'core' | 'failsafe' | 'yaml-1.1'
}
