/** The table of `status`, to fit a terminal. Pure. */
import { styleText } from 'node:util'
import { breakLines } from '../../lib/paragraph.ts'
import { formatDate, formatLeft, formatNames, groupAlike, printable, withoutOwnName } from '../../lib/wording.ts'
import { firstEnd, type Item, isOurs, isRight, type NodeItem, type State } from '../looks/inventory.ts'

/** Rows that are not right are folded where more of them are alike, or there are more in all. */
const [mostAlike, mostRows] = [2, 60]

const marks: Readonly<Record<State, string>> = { fresh: '✔', stale: '●', failed: '✖' }

export interface StatusTable {
  readonly items: readonly Item[]
  readonly nodes: readonly NodeItem[]
  /** What the first line sums up: all, though not all may be shown. */
  readonly counted: readonly Item[]
  /** What shows what would be done, and what does it, to type. */
  readonly plan: string
  readonly run: string
  readonly now: Date
  /** Columns. */
  readonly width: number
  /** A row for everything, however many there are. */
  readonly verbose: boolean
}

type Colour = 'red' | 'yellow' | 'green'

interface Row {
  readonly mark: string
  readonly colour: Colour
  readonly name: string
  readonly cells: readonly string[]
  readonly why: string
}

/** A sentence first; then what is right and differs in nothing but its name in one row, and each of the rest in its own. */
export function formatStatus({ items, nodes, counted, plan, run, now, width, verbose }: StatusTable): string[] {
  const isLong = items.length + nodes.length > mostRows
  const fold = (rows: readonly Row[]) => (verbose ? rows : foldRows(rows, isLong))
  const withNodes = items.some(({ onNodes }) => onNodes.size > 0)
  const headings = ['FOR', 'ISSUER', 'EXPIRES', 'LEFT', ...(withNodes ? ['NODES'] : [])]
  const cutShort = items.find(endsWithItsCa)
  const paragraph = (text: string) => breakLines(text, width, 0, 2)
  const parts = [
    counted.length + nodes.length > 0 ? paragraph(sumUp(counted.filter(isOurs), nodes, { plan, run, now })) : [],
    items.length > 0 ? formatRows('NAME', headings, fold(items.map((item) => itemRow(item, now))), width) : [],
    cutShort?.end ? paragraph(`* its CA expires first, on ${formatDate(cutShort.end)}`) : [],
    nodes.length > 0 ? formatRows('NODE', [], fold(nodes.map(nodeRow)), width) : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

function itemRow(item: Item, now: Date): Row {
  const { state, name, purpose, issuer = '', certificate, end, why, onNodes } = item
  const left = end === undefined ? '' : formatLeft(end.getTime() - now.getTime()) + (endsWithItsCa(item) ? '*' : '')
  const same = [...onNodes.values()].filter((on) => on === 'same').length
  const unknown = [...onNodes.values()].includes('unknown') ? '?' : ''
  const cells = [purpose, cut(printable(issuer), 13), certificate ? formatDate(certificate.notAfter) : '', left]
  return {
    mark: isRight(item) || state === 'failed' ? marks[state] : marks.stale,
    colour: urgency(item, now),
    name,
    cells: [...cells, onNodes.size > 0 ? `${same}/${onNodes.size}${unknown}` : ''],
    // LEFT shows already that it expires soon.
    why: state === 'fresh' ? '' : printable(why),
  }
}

function nodeRow({ node, state, why }: NodeItem): Row {
  const colour = ({ fresh: 'green', stale: 'yellow', failed: 'red' } as const)[state]
  return { mark: marks[state], colour, name: node, cells: [], why: printable(why) }
}

function endsWithItsCa({ certificate, end }: Item): boolean {
  return certificate !== undefined && end !== undefined && end < certificate.notAfter
}

function urgency(item: Item, now: Date): Colour {
  if (item.state === 'failed' || (item.end && item.end <= now)) return 'red'
  return isRight(item) ? 'green' : 'yellow'
}

function foldRows(rows: readonly Row[], isLong: boolean): Row[] {
  const shared = ({ name, why }: Row) => withoutOwnName(why, name)
  const alike = groupAlike(rows, (row) => JSON.stringify({ ...row, name: '', why: shared(row) })).flatMap((group) =>
    isLong || group.length > mostAlike || group[0].colour === 'green' ? [group] : group.map((row): [Row] => [row]),
  )
  return alike.map((group) => {
    const [first] = group
    if (group.length === 1) return first
    return { ...first, name: `${first.name} and ${group.length - 1} more`, why: shared(first) }
  })
}

function formatRows(nameHeading: string, headings: readonly string[], rows: readonly Row[], width: number): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  )
  const taken = widths.reduce((sum, each) => sum + each + 2, 2)
  const longest = Math.max(nameHeading.length, ...rows.map(({ name }) => name.length))
  const nameWidth = Math.min(longest, Math.max(width - taken, 12))
  const line = (name: string, cells: readonly string[]) =>
    [cut(name, nameWidth).padEnd(nameWidth), ...widths.map((each, i) => (cells[i] ?? '').padEnd(each))].join('  ')
  const format = ({ mark, colour, name, cells, why }: Row): string[] => {
    const text = `${mark} ${line(name, cells)}`
    const lines =
      headings.length > 0
        ? [text.trimEnd(), ...(why ? breakLines(why, width, 4, 4) : [])]
        : breakLines(`${text}  ${why}`, width, 0, nameWidth > width / 2 ? 4 : nameWidth + 4)
    return lines.map((each) => (colour === 'green' ? each : styleText(colour, each)))
  }
  return [styleText('bold', `  ${line(nameHeading, headings)}`.trimEnd()), ...rows.flatMap(format)]
}

function cut(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text
}

/**
 * "All 24 items are as cluster.yaml asks, and so are 7 nodes. First to expire: ca, on 2036-11-22, in 3649d"; what has
 * expired comes before everything else.
 */
function sumUp(
  items: readonly Item[],
  nodes: readonly NodeItem[],
  { plan, run, now }: Pick<StatusTable, 'plan' | 'run' | 'now'>,
): string {
  const count = (states: readonly { readonly state: State }[], state: State) =>
    states.filter((each) => each.state === state).length
  const expired = items.filter(({ end }) => end !== undefined && end <= now)
  const soon = items.filter((item) => item.state === 'fresh' && !isRight(item) && !expired.includes(item)).length
  const asked = 'as cluster.yaml asks'
  const wrong = [
    count(items, 'stale') > 0 && `${ofAll(count(items, 'stale'), items.length, 'item')} not ${asked}`,
    soon > 0 && `${soon} of ${items.length} ${soon === 1 ? 'expires' : 'expire'} within renewBefore`,
    count(items, 'failed') > 0 && `${ofAll(count(items, 'failed'), items.length, 'item')} not readable`,
    count(nodes, 'stale') > 0 && `${ofAll(count(nodes, 'stale'), nodes.length, 'node')} not as auth/`,
    count(nodes, 'failed') > 0 &&
      `${count(nodes, 'failed')} of ${nodes.length} node${nodes.length === 1 ? '' : 's'} could not be looked at`,
  ].filter(Boolean)
  const over = expired.length > 0 ? `${formatExpired(expired, items.length)}: ${run}. ` : ''
  if (over || wrong.length > 0)
    return `${over}${wrong.length > 0 ? `${wrong.join('; ')} (see ${plan})` : ''}${formatFirstExpiry(items, now)}`
  if (items.length === 0) return nodes.length === 1 ? '1 node is as auth/' : `All ${nodes.length} nodes are as auth/`
  const all = items.length === 1 ? '1 item is' : `All ${items.length} items are`
  const onNodes = nodes.length === 1 ? ', and so is 1 node' : `, and so are ${nodes.length} nodes`
  return `${all} ${asked}${nodes.length > 0 ? onNodes : ''}${formatFirstExpiry(items, now)}`
}

/** "15 of 24 items have expired (kubernetes, admin, control0 and 12 more)": what a person holds stops no cluster. */
function formatExpired(expired: readonly Item[], all: number): string {
  const people = new Set(expired.flatMap(({ phase, name }) => (phase === 'user-certs' ? [name] : [])))
  const every = expired.map(({ name }) => name)
  const unique = [...new Set([...every.filter((name) => !people.has(name)), ...people])]
  // A certificate and its kubeconfig have one name, and are two among the rest.
  const names = formatNames(unique.length <= 3 ? unique : [...unique, ...every.slice(unique.length)])
  return `${expired.length} of ${all} ${all === 1 ? 'item' : 'items'} ${expired.length === 1 ? 'has' : 'have'} EXPIRED (${names})`
}

/** "5 of 16 items are", "1 of 3 nodes is" */
function ofAll(count: number, all: number, what: string): string {
  return `${count} of ${all} ${what}${all === 1 ? '' : 's'} ${count === 1 ? 'is' : 'are'}`
}

function formatFirstExpiry(items: readonly Item[], now: Date): string {
  const left = items.filter(({ end }) => end !== undefined && end > now)
  const first = firstEnd(left)
  if (!first) return ''
  const names = left.filter(({ end }) => end?.getTime() === first.getTime()).map(({ name }) => name)
  const what = `${formatNames([...new Set(names)])}, on ${formatDate(first)}`
  return `. ${left.length < items.filter(({ end }) => end).length ? 'Next' : 'First'} to expire: ${what}, in ${formatLeft(first.getTime() - now.getTime())}`
}
