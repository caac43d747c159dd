/** The table of `status`. Pure. */
import { styleText } from 'node:util'
import { capital, count, foldAlike, formatDate, formatLeft, formatNames, printable } from '../../lib/wording.ts'
import {
  type FirstToEnd,
  fold,
  formatRollout,
  type Item,
  isRight,
  type NodeItem,
  type State,
} from '../request/inventory.ts'

/** Rows that are not right are folded if more than this are alike. */
const mostAlike = 2

const marks: Readonly<Record<State, string>> = { fresh: '✔', stale: '●', failed: '✖' }

interface Rows {
  readonly items: readonly Item[]
  readonly nodes: readonly NodeItem[]
}

export interface StatusTable extends Rows {
  /** What the first line sums up: all rows, even if some are not shown. */
  readonly counted: Rows
  /** The command that shows what would be done, and the one that does it. */
  readonly plan: string
  readonly run: string
  readonly now: Date
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

/** A sentence first; then one row for all that are right and differ only in name, and one for each of the rest. */
export function formatStatus({ items, nodes, counted, plan, run, now, verbose }: StatusTable): string[] {
  const folded = (rows: readonly Row[]) => (verbose ? rows : foldRows(rows))
  const withNodes = items.some(({ onNodes }) => onNodes.size > 0)
  const headings = ['FOR', 'ISSUER', 'EXPIRES', 'LEFT', ...(withNodes ? ['NODES'] : [])]
  const parts = [
    counted.items.length + counted.nodes.length > 0 ? [sumUp(counted, { plan, run, now })] : [],
    items.length > 0 ? formatRows('NAME', headings, folded(items.map((item) => itemRow(item, now)))) : [],
    nodes.length > 0 ? formatRows('NODE', [], folded(nodes.map(nodeRow))) : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

function itemRow(item: Item, now: Date): Row {
  const { state, name, purpose, issuer = '', end, why, onNodes } = item
  const expiry = end ? [formatDate(end, now), formatLeft(end.getTime() - now.getTime())] : ['', '']
  const same = [...onNodes.values()].filter((on) => on === 'same').length
  const unknown = [...onNodes.values()].includes('unknown') ? '?' : ''
  const cells = [purpose, cut(printable(issuer), 13), ...expiry]
  // A file is right if it is the same wherever it belongs.
  const isHere = isRight(item) && same === onNodes.size
  return {
    mark: isHere || state === 'failed' ? marks[state] : marks.stale,
    colour: isRight(item) && !isHere ? 'yellow' : urgency(item, now),
    name,
    cells: [...cells, onNodes.size > 0 ? `${same}/${onNodes.size}${unknown}` : ''],
    // The column LEFT already shows that it expires soon.
    why: state === 'fresh' ? '' : printable(why),
  }
}

function nodeRow({ node, state, why }: NodeItem): Row {
  const colour = ({ fresh: 'green', stale: 'yellow', failed: 'red' } as const)[state]
  return { mark: marks[state], colour, name: node, cells: [], why: printable(why) }
}

function urgency(item: Item, now: Date): Colour {
  if (item.state === 'failed' || (item.end && item.end <= now)) return 'red'
  return isRight(item) ? 'green' : 'yellow'
}

function foldRows(rows: readonly Row[]): Row[] {
  const textOf = ({ mark, colour, cells, why }: Row) => [mark, colour, ...cells, why].join('\n')
  return foldAlike(rows, ({ name }) => name, textOf).flatMap(({ group, shared }) => {
    const [first] = group
    const isFolded = group.length > mostAlike || first.colour === 'green'
    if (group.length === 1 || !isFolded) return group
    return [{ ...first, name: `${first.name} and ${group.length - 1} more`, why: shared(first.why) }]
  })
}

function formatRows(nameHeading: string, headings: readonly string[], rows: readonly Row[]): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  )
  const longest = Math.max(nameHeading.length, ...rows.map(({ name }) => name.length))
  const line = (name: string, cells: readonly string[]) =>
    [name.padEnd(longest), ...widths.map((each, i) => (cells[i] ?? '').padEnd(each))].join('  ')
  const format = ({ mark, colour, name, cells, why }: Row): string[] => {
    const text = `${mark} ${line(name, cells)}`
    const lines = headings.length > 0 ? [text.trimEnd(), ...(why ? [`    ${why}`] : [])] : [`${text}  ${why}`]
    return lines.map((each) => (colour === 'green' ? each : styleText(colour, each)))
  }
  return [styleText('bold', `  ${line(nameHeading, headings)}`.trimEnd()), ...rows.flatMap(format)]
}

function cut(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text
}

/**
 * "All 24 items match cluster.yaml; deployed on 7 of 7 nodes. First to expire: ca, on 2036-11-22, in 3649d"; what has expired
 * comes before everything else.
 */
function sumUp({ items, nodes }: Rows, { plan, run, now }: Pick<StatusTable, 'plan' | 'run' | 'now'>): string {
  const { ours, stale, fresh, failed, wrong, expired, next } = fold(items, now)
  const all = count(ours.length, 'item')
  const part = (number: number, one: string, more: string, what: string) =>
    number > 0 && `${number} of ${all} ${number === 1 ? one : more} ${what}`
  const soon = fresh.filter((item) => !isRight(item) && !expired.includes(item)).length
  const match = ours.length === 1 ? '1 item matches' : `All ${all} match`
  const sentences = [
    expired.length > 0 && `${formatExpired(expired, all)}: ${run}`,
    [
      wrong.length === 0 && ours.length > 0 && `${match} cluster.yaml`,
      part(stale.length, 'differs', 'differ', 'from cluster.yaml'),
      part(soon, 'expires', 'expire', 'within renewBefore'),
      part(failed.length, 'was', 'were', 'not readable'),
      formatRollout(nodes),
    ]
      .filter(Boolean)
      .join('; ') + (wrong.length > 0 || nodes.some((node) => !isRight(node)) ? ` (see ${plan})` : ''),
    next && formatFirst(next, expired.length > 0 ? 'Next' : 'First', now),
  ]
  return sentences
    .filter((text) => text !== false && text !== undefined)
    .map(capital)
    .join('. ')
}

/** "15 of 24 items have EXPIRED (kubernetes, admin, control0 and 4 more)": a certificate and its kubeconfig have one name. */
function formatExpired(expired: readonly Item[], all: string): string {
  const names = new Set(expired.map(({ name }) => name))
  return `${expired.length} of ${all} ${expired.length === 1 ? 'has' : 'have'} EXPIRED (${formatNames([...names])})`
}

function formatFirst({ end, names }: FirstToEnd, which: string, now: Date): string {
  return `${which} to expire: ${formatNames(names)}, on ${formatDate(end, now)}, in ${formatLeft(end.getTime() - now.getTime())}`
}
