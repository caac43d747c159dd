/** What kinds of values in cluster.yaml are made of: texts that are checked, numbers, lists, maps. Each message says what is allowed. */
import * as v from 'valibot'
import { suggest } from '../suggest.ts'
import { shown, textOf } from './problem.ts'

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^(?=.{1,253}$)${label}(\\.${label})*$`)
export const isDnsName = (text: string): boolean => dnsName.test(text)
/** Digits and dots alone would be a mistyped address. */
export const isHost = (text: string): boolean => isDnsName(text) && !/^[0-9]+\.[0-9.]+$/.test(text)
/** Behind a node's name, digits and dots alone could make an address of another machine. */
export const isDomain = (text: string): boolean => isDnsName(text) && !/^[0-9.]+$/.test(text)

export const text = (what: string) => v.string(({ input }) => `${shown(input)} is not text: ${what}`)
export const checked = (what: string, right: (text: string) => boolean) =>
  v.pipe(
    text(what),
    v.check(right, ({ input }) => `${shown(input)} is not ${what}`),
  )
export const oneOf = <const T extends readonly string[]>(what: string, options: T) =>
  v.picklist(options, ({ input }) => `${shown(input)} is not a ${what}: ${suggest(textOf(input), options)}`)
export const integer = (low: number, high: number) => {
  const message = ({ input }: { input: unknown }) => `${shown(input)} is not a whole number from ${low} to ${high}`
  return v.pipe(v.number(message), v.integer(message), v.minValue(low, message), v.maxValue(high, message))
}
const isNot = (input: unknown, what: string) =>
  typeof input === 'object' ? `is ${shown(input)}, not ${what}` : `${shown(input)} is not ${what}`
export const listOf = <T extends v.GenericSchema>(item: T, least = 0) => {
  const message = ({ input }: { input: unknown }) =>
    Array.isArray(input) ? 'is empty: at least one is needed' : isNot(input, 'a list')
  return v.pipe(v.array(item, message), v.minLength(least, message))
}
const mapMessage = ({ input, received }: { input: unknown; received: string }) =>
  received === 'undefined' ? 'is missing' : isNot(input, 'a map of keys')
export const object = <T extends v.ObjectEntries>(entries: T) => v.object(entries, mapMessage)
export const record = <T extends v.GenericSchema>(value: T) => v.record(v.string(), value, mapMessage)
