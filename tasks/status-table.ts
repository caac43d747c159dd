/** The table of `status`, to fit a terminal. Pure. */
import { styleText } from 'node:util'
import { breakLines } from '../lib/paragraph.ts'
import { formatDate, formatNames } from '../lib/reason.ts'
import { printable, withoutOwnName } from '../lib/reporter.ts'
import type { Item, State } from './inventory.ts'

const hour = 3_600_000
/** With more rows than this, those that differ in nothing but their name are one. */
const mostRows = 60

export interface NodeItem {
  readonly node: string
  readonly state: State
  /** What is there, or what is wrong. */
  readonly what: string
}

export interface StatusTable {
  readonly items: readonly Item[]
  readonly nodes: readonly NodeItem[]
  /** What the last line sums up: all, though not all may be shown. */
  readonly counted: readonly Item[]
  readonly now: Date
  /** Columns. */
  readonly width: number
  /** A row for everything, however many there are. */
  readonly verbose: boolean
}

type Colour = 'red' | 'yellow' | 'green'

interface Row {
  readonly state: State
  readonly colour: Colour
  readonly name: string
  readonly cells: readonly string[]
  readonly why: string
}

export function formatStatus({ items, nodes, counted, now, width, verbose }: StatusTable): string[] {
  const fold = !verbose && items.length + nodes.length > mostRows
  const rows = items.map((item) => itemRow(item, now))
  const withNodes = items.some(({ onNodes }) => onNodes.size > 0)
  const headings = ['FOR', 'ISSUER', 'ENDS', 'LEFT', ...(withNodes ? ['NODES'] : [])]
  const cutShort = items.find((item) => endsWithItsCa(item))
  return [
    ...formatRows('NAME', headings, fold ? foldRows(rows) : rows, width),
    ...(cutShort?.end
      ? ['', ...breakLines(`* until its CA ends, on ${formatDate(cutShort.end)}: that comes first`, width, 0, 2)]
      : []),
    ...(nodes.length > 0 ? ['', ...formatRows('NODE', [], foldRows(nodes.map(nodeRow)), width)] : []),
    '',
    ...breakLines(countItems(counted.filter(isOurs), now), width, 0, 2),
  ]
}

function itemRow(item: Item, now: Date): Row {
  const { state, name, purpose, issuer = '', certificate, end, why, onNodes } = item
  const left = end === undefined ? '' : formatLeft(end.getTime() - now.getTime()) + (endsWithItsCa(item) ? '*' : '')
  const same = [...onNodes.values()].filter((on) => on === 'same').length
  const cells = [purpose, issuer.slice(0, 10), certificate ? formatDate(certificate.notAfter) : '', left]
  return {
    state,
    colour: urgency(item, now),
    name,
    cells: [...cells, onNodes.size > 0 ? `${same}/${onNodes.size}` : ''],
    why: printable(why),
  }
}

function nodeRow({ node, state, what }: NodeItem): Row {
  const colour = ({ fresh: 'green', stale: 'yellow', failed: 'red' } as const)[state]
  return { state, colour, name: node, cells: [], why: printable(what) }
}

function endsWithItsCa({ certificate, end }: Item): boolean {
  return certificate !== undefined && end !== undefined && end < certificate.notAfter
}

function urgency({ state, end, endsSoon }: Item, now: Date): Colour {
  if (state === 'failed' || (end && end <= now)) return 'red'
  return state === 'stale' || endsSoon ? 'yellow' : 'green'
}

/** "3649d", "31h" where it is less than two days, "ended". */
export function formatLeft(milliseconds: number): string {
  if (milliseconds <= 0) return 'ended'
  const hours = Math.floor(milliseconds / hour)
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`
}

function foldRows(rows: readonly Row[]): Row[] {
  const shared = ({ name, why }: Row) => withoutOwnName(why, name)
  const alike = Map.groupBy(rows, (row) => JSON.stringify({ ...row, name: '', why: shared(row) }))
  return [...alike.values()].flatMap((group) => {
    const [first] = group
    if (!first || group.length === 1) return group
    return [{ ...first, name: `${first.name} and ${group.length - 1} more`, why: shared(first) }]
  })
}

const marks: Readonly<Record<State, string>> = { fresh: '✔', stale: '●', failed: '✖' }

function formatRows(nameHeading: string, headings: readonly string[], rows: readonly Row[], width: number): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  )
  const taken = widths.reduce((sum, each) => sum + each + 2, 2)
  const longest = Math.max(nameHeading.length, ...rows.map(({ name }) => name.length))
  const nameWidth = Math.min(longest, Math.max(width - taken, 12))
  const line = (name: string, cells: readonly string[]) =>
    [cut(name, nameWidth).padEnd(nameWidth), ...widths.map((each, i) => (cells[i] ?? '').padEnd(each))].join('  ')
  const format = ({ state, colour, name, cells, why }: Row): string[] => {
    const text = `${marks[state]} ${line(name, cells)}`
    const lines =
      headings.length > 0
        ? [text.trimEnd(), ...(why ? breakLines(why, width, 4, 4) : [])]
        : breakLines(`${text}  ${why}`, width, 0, nameWidth + 4)
    return lines.map((each) => (colour === 'green' ? each : styleText(colour, each)))
  }
  return [styleText('bold', `  ${line(nameHeading, headings)}`.trimEnd()), ...rows.flatMap(format)]
}

function cut(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text
}

/** "25 items: 24 fresh, 1 stale. First to end: ca, on 2036-11-22, in 3649 days" */
function countItems(items: readonly Item[], now: Date): string {
  const count = (state: State) => items.filter((item) => item.state === state).length
  const words = { fresh: 'fresh', stale: 'stale', failed: 'not readable' } as const
  const counts = (['fresh', 'stale', 'failed'] as const)
    .filter((state) => state === 'fresh' || count(state) > 0)
    .map((state) => `${count(state)} ${words[state]}`)
  const first = firstEnd(items)
  const names = items.filter(({ end }) => end && end.getTime() === first?.getTime()).map(({ name }) => name)
  const days = first ? Math.floor((first.getTime() - now.getTime()) / (24 * hour)) : 0
  const ending =
    first && `. First to end: ${formatNames([...new Set(names)])}, on ${formatDate(first)}, in ${days} days`
  return `${items.length} ${items.length === 1 ? 'item' : 'items'}: ${counts.join(', ')}${ending ?? ''}`
}

/** The user's own kubeconfig is shown, and does not count. */
export function isOurs({ id }: Item): boolean {
  return id !== 'local-kubeconfig'
}

export function firstEnd(items: readonly Item[]): Date | undefined {
  const ends = items.flatMap(({ end }) => end?.getTime() ?? [])
  return ends.length > 0 ? new Date(ends.reduce((least, end) => Math.min(least, end))) : undefined
}
