/** Values in cluster.yaml, which may be anything, and the problems that are found in them: each message says what is allowed. Pure. */
import * as v from 'valibot'
import { type Explained, suggest, withoutKeys } from '../wording.ts'

export type Path = readonly (string | number)[]
export interface Problem extends Explained {
  readonly path: Path
  readonly at?: 'key' | 'value'
}

/** A problem of the key itself, not of its value. */
export function atKey(path: Path, message: string, remedy?: string): Problem {
  return { path, at: 'key', message, remedy }
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

/** Empty for what is no text. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The parts of a valibot schema that say which keys are allowed where. */
export interface SchemaShape {
  readonly type: string
  readonly entries?: Readonly<Record<string, SchemaShape>>
  readonly item?: SchemaShape
  readonly wrapped?: SchemaShape
  readonly options?: readonly SchemaShape[]
  /** For a record, whose keys are arbitrary. */
  readonly value?: SchemaShape
}

export function unknownKeys(schema: SchemaShape, value: unknown, path: Path): Problem[] {
  if (schema.wrapped) return unknownKeys(schema.wrapped, value, path)
  if (schema.type === 'union') return (schema.options ?? []).flatMap((option) => unknownKeys(option, value, path))
  const { item, entries, value: each } = schema
  // To valibot a list is an object too.
  if (Array.isArray(value) && !item) return entries || each ? [{ path, message: 'is a list, not a map of keys' }] : []
  if (each) return Object.entries(map(value)).flatMap(([key, inner]) => unknownKeys(each, inner, [...path, key]))
  if (item) return list(value).flatMap((each, i) => unknownKeys(item, each, [...path, i]))
  if (!entries) return []
  return Object.entries(map(value)).flatMap(([key, inner]) => {
    const known = Object.hasOwn(entries, key) ? entries[key] : undefined
    if (known) return unknownKeys(known, inner, [...path, key])
    if (key === '<<')
      return atKey([...path, key], 'is a merge key, which cluster.yaml does not have', 'write the keys out')
    const words = path.filter((part) => typeof part === 'string').join('.')
    const where = { '': 'cluster.yaml', nodes: 'a node', users: 'a user' }[words] ?? words
    return [atKey([...path, key], `is an unknown key in ${where}`, suggest(key, Object.keys(entries)))]
  })
}

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^(?=.{1,253}$)${label}(\\.${label})*$`)
export const isDnsName = (text: string): boolean => dnsName.test(text)
/** Digits and dots alone would be a mistyped address. */
export const isHost = (text: string): boolean => isDnsName(text) && !/^[0-9]+\.[0-9.]+$/.test(text)
/** Behind a node's name, digits and dots alone could make an address of another machine. */
export const isDomain = (text: string): boolean => isDnsName(text) && !/^[0-9.]+$/.test(text)

export const text = (what: string) => v.string(({ input }) => `${quoted(input)} is not text: ${what}`)
export const checked = (what: string, right: (text: string) => boolean) =>
  v.pipe(
    text(what),
    v.check(right, ({ input }) => `${quoted(input)} is not ${what}`),
  )
export const oneOf = <const T extends readonly string[]>(what: string, options: T) =>
  v.picklist(options, ({ input }) => `${quoted(input)} is not a ${what}: ${suggest(textOf(input), options)}`)
export const integer = (low: number, high: number) => {
  const message = ({ input }: { input: unknown }) => `${quoted(input)} is not a whole number from ${low} to ${high}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(low, message), v.maxValue(high, message))
}
const isNot = (input: unknown, what: string) =>
  typeof input === 'object' ? `is ${quoted(input)}, not ${what}` : `${quoted(input)} is not ${what}`
export const listOf = <T extends v.GenericSchema>(item: T, least = 0) => {
  const message = ({ input }: { input: unknown }) =>
    Array.isArray(input) ? 'is empty: at least one is needed' : isNot(input, 'a list')
  return v.pipe(v.array(item, message), v.minLength(least, message))
}
const mapMessage = ({ input, received }: { input: unknown; received: string }) =>
  received === 'undefined' ? 'is missing' : isNot(input, 'a map of keys')
export const object = <T extends v.ObjectEntries>(entries: T) => v.object(entries, mapMessage)
export const record = <T extends v.GenericSchema>(value: T) => v.record(v.string(), value, mapMessage)
