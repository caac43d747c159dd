/**
 * YAML as the library parses it, in a time that grows with the text: its own check for repeated keys is quadratic. And
 * what is in it, which may be anything, with the problems that are found there: each message says what is allowed. Pure.
 */
import { type Document, isScalar, type LineCounter, parseDocument, visit, YAMLParseError } from 'yaml'
import { type Explained, withoutKeys } from './wording.ts'

/** Never throws. With `errors`, which may quote the text, the values must not be read. No key may be a map. */
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
          document.errors.push(
            new YAMLParseError([start, end], 'DUPLICATE_KEY', `${quoted(value)} stands above already`),
          )
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

export type Path = readonly (string | number)[]
export interface Problem extends Explained {
  readonly path: Path
  readonly at?: 'key' | 'value'
}

export type Raw = Readonly<Record<string, unknown>>

export function isMap(value: unknown): value is Raw {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function map(value: unknown): Raw {
  return isMap(value) ? value : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The value as the message shows it: short, on one line, its kind visible. With a wrong --config it may be a key. */
export function quoted(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const json = withoutKeys(JSON.stringify(String(value)) ?? '')
  const short = json.length > 62 ? `${json.slice(0, 60)}…"` : json
  return typeof value === 'string' ? short : String(value).slice(0, 40)
}

export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^(?=.{1,253}$)${label}(\\.${label})*$`)
export const isDnsName = (text: string): boolean => dnsName.test(text)
/** Behind a node's name, digits and dots alone could make an address of another machine. */
export const isDomain = (text: string): boolean => isDnsName(text) && !/^[0-9.]+$/.test(text)
