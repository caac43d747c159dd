/** Kinds of values in cluster.yaml: names, addresses, durations, paths. Each message says what is allowed. */
import * as v from 'valibot'
import { addressBytes, canonicalAddress, parseCidr } from '../address.ts'
import { suggest } from '../suggest.ts'
import { parseDuration } from '../wording.ts'
import { shown, textOf } from './problem.ts'

const label = '[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^(?=.{1,253}$)${label}(\\.${label})*$`)
export const isDnsName = (text: string): boolean => dnsName.test(text)
/** Digits and dots alone would be a mistyped address. */
export const isHost = (text: string): boolean => isDnsName(text) && !/^[0-9]+\.[0-9.]+$/.test(text)
/** Behind a node's name, digits and dots alone could make an address of another machine. */
export const isDomain = (text: string): boolean => isDnsName(text) && !/^[0-9.]+$/.test(text)
export const isAddress = (text: string): boolean => addressBytes(text) !== undefined

const longest = parseDuration('1000y')

const text = (what: string) => v.string(({ input }) => `${shown(input)} is not text: ${what}`)
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
export const list = <T extends v.GenericSchema>(item: T, least = 0) => {
  const message = ({ input }: { input: unknown }) =>
    Array.isArray(input) ? 'is empty: at least one is needed' : isNot(input, 'a list')
  return v.pipe(v.array(item, message), v.minLength(least, message))
}
const mapMessage = ({ input, received }: { input: unknown; received: string }) =>
  received === 'undefined' ? 'is missing' : isNot(input, 'a map of keys')
export const object = <T extends v.ObjectEntries>(entries: T) => v.object(entries, mapMessage)
export const record = <T extends v.GenericSchema>(value: T) => v.record(v.string(), value, mapMessage)

const isOneLine = (s: string) => !/[\p{Cc}\p{Cs}\u2028\u2029]/u.test(s)
export const printable = (most: number) =>
  checked(`1 to ${most} characters, none of them a control character, and no space at either end`, (s) => {
    const length = [...s].length
    return length >= 1 && length <= most && isOneLine(s) && s.trim() === s
  })
export const domain = checked(
  'a DNS name with a letter (lower-case letters, digits and hyphens, such as kubenet or example.org)',
  isDomain,
)
export const dns = checked(
  'a DNS name (lower-case letters, digits and hyphens, such as kubenet or example.org)',
  isDnsName,
)
export const canonical = v.transform(canonicalAddress)
export const address = v.pipe(checked('an IP address, such as 192.168.1.11', isAddress), canonical)
export const san = v.pipe(
  checked(
    'a DNS name, such as example.org or *.example.org, or an IP address',
    (s) => isHost(s.replace(/^\*\./, '')) || isAddress(s),
  ),
  canonical,
)
/** Parsed to milliseconds. */
export const duration = v.pipe(
  checked(
    'a duration, such as 10y, 365d or 87600h (up to 1000y)',
    (s) => /[ydh]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= longest,
  ),
  v.transform(parseDuration),
)
/** How long to wait, parsed to milliseconds. */
export const wait = v.pipe(
  checked(
    'a time to wait, such as 90s or 2m (up to 1h)',
    (s) => /[hms]$/.test(s) && parseDuration(s) > 0 && parseDuration(s) <= parseDuration('1h'),
  ),
  v.transform(parseDuration),
)
export const kubeconfigName = checked(
  'a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
  (s) => /^[A-Za-z0-9][\w.:/@-]{0,252}$/.test(s),
)
export const path = checked('a path', (s) => s !== '' && isOneLine(s))
export const command = checked('a command on one line', (s) => isOneLine(s) && s.trim() === s)
export const absolutePath = checked(
  'an absolute path of plain characters, without .. in it',
  (s) => /^(\/[\w@%+=:,.-]+)+$/.test(s) && !/\/\.\.?(\/|$)/.test(s),
)
export const nodeDirectory = checked(
  'a folder on the node: ~, ~/folder or /folder, without .. in it',
  (s) => /^(~|\/)(\/|$)|^\/[^/]/.test(s) && !/(^|\/)\.\.(\/|$)/.test(s) && isOneLine(s),
)
export const cidr = v.pipe(
  text('an address block, such as 10.32.0.0/16'),
  v.check(
    (s) => wrongBlock(s) === undefined,
    ({ input }) => `${shown(input)} ${wrongBlock(input)}`,
  ),
)
function wrongBlock(text: string): string | undefined {
  const parsed = parseCidr(text)
  if (typeof parsed === 'string') return parsed
  const isTooSmall = parsed.network.length * 8 - parsed.prefix < 3
  return isTooSmall ? 'is too small: kube-apiserver needs at least 8 addresses (a /29)' : undefined
}
/** A CN, system:node:<name>, has at most 64 characters: RFC 5280, A.1. */
export const nodeName = checked(
  'a node name: one DNS label of at most 52 lower-case letters, digits and hyphens',
  (s) => s.length <= 52 && new RegExp(`^${label}$`).test(s),
)
