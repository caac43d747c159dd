/**
 * Values in cluster.yaml, which may be anything, and the problems that are found in them: each message says what is
 * allowed. Pure.
 */
import { type Explained, withoutKeys } from '../wording.ts'

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
