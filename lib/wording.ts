/** Text formatting shared by all output. Pure. */
import { createRequire } from 'node:module'
import { stripVTControlCharacters } from 'node:util'

const minute = 60_000
const hour = 60 * minute
export const day = 24 * hour

/** "2036-11-23"; less than two days from the other date "2036-11-23 16:40Z". */
export function formatDate(date: Date, near?: Date): string {
  const [on, at] = [date.toISOString().slice(0, 10), date.toISOString().slice(11, 16)]
  return near !== undefined && Math.abs(Number(date) - Number(near)) < 2 * day ? `${on} ${at}Z` : on
}

/** Formats milliseconds: "3649d", less than two days "31h", less than an hour "40m", "expired". */
export function formatLeft(milliseconds: number): string {
  const [number, unit] = roundLeft(milliseconds)
  return milliseconds <= 0 ? 'expired' : `${number}${unit.charAt(0)}`
}

export function formatLeftInWords(milliseconds: number): string {
  return milliseconds <= 0 ? 'expired' : count(...roundLeft(milliseconds))
}

function roundLeft(milliseconds: number): [number, string] {
  if (milliseconds >= 2 * day) return [Math.floor(milliseconds / day), 'day']
  if (milliseconds >= hour) return [Math.floor(milliseconds / hour), 'hour']
  return [Math.max(Math.floor(milliseconds / minute), 1), 'minute']
}

/** The first few by name, the rest by number; of a fingerprint the first digits. */
export function formatNames(names: readonly string[]): string {
  const shown = names.length > 4 ? 3 : names.length
  const rest = names.length - shown
  const short = names.slice(0, shown).map((name) => name.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]{52}$/, '$1…'))
  return short.join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}

export function joinClauses(...clauses: readonly (string | false | undefined)[]): string {
  return clauses.filter(Boolean).join('; ')
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

/** What is wrong, and what would be right, unless the message says it. */
export interface Explained {
  readonly message: string
  readonly remedy?: string | undefined
}

/** In a file, for a tool that shows it there; lines and columns count from 1. */
export interface Mistake extends Explained {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** "is an unknown key in cluster.yaml; did you mean nodes?" */
export function formatExplained({ message, remedy }: Explained): string {
  return joinClauses(message, remedy)
}

export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0')
}

/** Without what could move the cursor or recolour the terminal: parts come from files and nodes. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, (char) =>
    char === '\n' ? char : '\uFFFD',
  )
}

/** Broken between words where it is too wide for a terminal, but not in "(was 18)"; further lines begin with `hang` blanks. */
export function wrap(line: string, columns: number | undefined, hang: number): string {
  if (columns === undefined) return line
  const width = (text: string) => stripVTControlCharacters(text).length
  const [first = '', ...words] = line.split(/ (?![^(]{1,40}\))/)
  const lines = [first]
  for (const word of words) {
    const last = lines.at(-1) ?? ''
    if (last.trim() === '' || width(last) + 1 + width(word) <= columns) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(' '.repeat(hang) + word)
  }
  return lines.map((each) => each.trimEnd()).join('\n')
}

/** For a terminal of so many columns: prose broken between words. A line indented by four is a command, and stays whole. */
export function fit(text: string, columns: number | undefined): string {
  return text
    .split('\n')
    .map((line) => (line.startsWith('    ') ? line : wrap(line, columns, hangOf(line))))
    .join('\n')
}

/** Below "To do      " and "  - ". */
function hangOf(line: string): number {
  const [begin = ''] = /^(?:[A-Z][\w ]{0,9} {2,}| *(?:- )?)/.exec(line) ?? []
  return begin.length
}

/** No key begins like this by chance: a path, of a flag too, or what a run makes on a node for a while. */
const isPath = /^(?:--[a-z-]+=)?(\/(etc|home|media|mnt|opt|root|run|srv|tmp|usr|var)\/|harderway-)/

/** Without words so long that they could be keys or tokens; paths and our temporary names are kept. */
export function withoutKeys(text: string, instead: (word: string) => string = () => '…'): string {
  return text.replace(/[A-Za-z0-9+/=_-]{40,}/g, (word) => (isPath.test(word) ? word : instead(word)))
}

/** An excerpt of a remote program's output: one line, not too long, without what could be a key. */
export function excerpt(said: string): string {
  return withoutKeys(printable(said.trim().replace(/\s*\n\s*/g, ' '))).slice(0, 160)
}

/** Replaces a target's own name by `<name>`, so that the same message about many targets can be folded. */
function withoutOwnName(text: string, name: string): string {
  return text.replace(new RegExp(`(?<![\\w-])${name}(?=(?:-key)?[.,;\\s]|$)`, 'g'), '<name>')
}

/** Beside an id that ends with `/` and a name: without that name at its beginning. */
export function beside(id: string, text: string): string {
  const [, name = ''] = id.split('/')
  return (name && text.startsWith(name) && /^:? (.*)/s.exec(text.slice(name.length))?.[1]) || text
}

/** Groups of at least one, in the order of their first. */
export function groupAlike<T>(items: Iterable<T>, key: (item: T) => unknown): [T, ...T[]][] {
  return [...Map.groupBy(items, key).values()] as [T, ...T[]][]
}

/** Groups items whose text is the same but for their own names. `shared` turns a text of the first into one for all. */
export function foldAlike<T>(items: Iterable<T>, nameOf: (item: T) => string, textOf: (item: T) => string) {
  return groupAlike(items, (item) => withoutOwnName(textOf(item), nameOf(item))).map((group) => ({
    group,
    shared: (text: string) => (group.length === 1 ? text : withoutOwnName(text, nameOf(group[0]))),
  }))
}

export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** A command line of a unit, in which $ would begin a variable: systemd.service(5), "Command lines". */
export function formatExec(words: readonly string[]): string {
  return words.map((each) => quoteInUnit(each).replaceAll('$', '$$$$')).join(' ')
}

/** As one word of a unit: systemd.syntax(7), "Quoting". */
export function quoteInUnit(text: string): string {
  const escaped = escapeSpecifiers(text)
  return /^[\w@%+=:,./$-]+$/.test(text) ? escaped : `"${escaped.replace(/["\\]/g, '\\$&')}"`
}

/** systemd.unit(5), "Specifiers" */
export function escapeSpecifiers(text: string): string {
  return text.replaceAll('%', '%%')
}

const units = { y: 365 * day, d: day, h: hour, m: minute, s: 1000 }

/** Milliseconds of `10y`, `365d`, `87600h`, `2m` or `30s`; a year is 365 days. NaN for anything else. */
export function parseDuration(text: string): number {
  const [, count, unit] = /^(\d{1,9})([ydhms])$/.exec(text) ?? []
  return Number(count) * units[unit as keyof typeof units]
}

/** Loaded only when a word is unknown. */
const require = createRequire(import.meta.url)

/** "did you mean X?" where one of the known words is close to the unknown one, else the list of them. */
export function suggest(unknown: string, known: readonly string[]): string {
  const { closestMatch } = require('leven') as typeof import('leven')
  const maxDistance = Math.max(1, Math.floor(unknown.length / 2))
  const match = closestMatch(unknown.toLowerCase(), known, { maxDistance: Math.min(3, maxDistance) })
  if (match !== undefined) return `did you mean ${match}?`
  return known.length > 20 ? '' : `expected one of ${known.join(', ')}`
}
