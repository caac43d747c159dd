/** The table of `status`. Pure. */
import { styleText } from 'node:util'
import { capital, foldAlike, formatDate, formatLeft, formatNames, joinClauses, printable } from '../../lib/wording.ts'
import { fold, formatTotals, type Inventory, type Item, isRight, type NodeItem } from '../request/inventory.ts'

/** Rows that are not right are folded if more than this are alike. */
const mostAlike = 2

export interface StatusTable extends Pick<Inventory, 'items' | 'nodes'> {
  /** The command that shows what would be done, and the one that does it. */
  readonly plan: string
  readonly repair: string
  readonly now: Date
  /** A row for everything, however many there are. */
  readonly verbose: boolean
  /** Rows for what is not right only; the first line sums up everything. */
  readonly quiet: boolean
}

interface TableRow {
  readonly mark: '✔' | '●' | '✖'
  readonly colour: 'red' | 'yellow' | 'green'
  readonly name: string
  readonly cells: readonly string[]
  readonly why: string
}

/** A sentence first; then one row for all that are right and differ only in name, and one for each of the rest. */
export function formatStatus(table: StatusTable): string[] {
  const { now, verbose, quiet } = table
  const items = table.items.filter((item) => !quiet || !isRight(item))
  const nodes = table.nodes.filter((node) => !quiet || !isRight(node))
  const folded = (rows: readonly TableRow[]) => (verbose ? rows : foldRows(rows))
  const withNodes = items.some(({ onNodes }) => onNodes.size > 0)
  const headings = ['FOR', 'ISSUER', 'EXPIRES', 'LEFT', ...(withNodes ? ['NODES'] : [])]
  const parts = [
    table.items.length + table.nodes.length > 0 ? [sumUp(table)] : [],
    items.length > 0 ? formatRows('NAME', headings, folded(items.map((item) => itemRow(item, now)))) : [],
    nodes.length > 0 ? formatRows('NODE', [], folded(nodes.map((node) => nodeRow(node, now)))) : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

function itemRow(item: Item, now: Date): TableRow {
  const { state, name, purpose, issuer = '', end, why, onNodes } = item
  const expiry = end ? [formatDate(end, now), formatLeft(end.getTime() - now.getTime())] : ['', '']
  const same = [...onNodes.values()].filter((on) => on === 'same').length
  const unknown = [...onNodes.values()].includes('unknown') ? '?' : ''
  // A file is right if it is the same wherever it belongs.
  const isHere = isRight(item) && same === onNodes.size
  const isUrgent = state === 'failed' || (end && end <= now)
  return {
    mark: state === 'failed' ? '✖' : isHere ? '✔' : '●',
    colour: isUrgent ? 'red' : isHere ? 'green' : 'yellow',
    name,
    cells: [
      ...[purpose, cut(printable(issuer), 13), ...expiry],
      onNodes.size > 0 ? `${same}/${onNodes.size}${unknown}` : '',
    ],
    // The column LEFT already shows that it expires soon.
    why: state === 'fresh' ? '' : printable(why),
  }
}

function nodeRow({ node, state, why, until }: NodeItem, now: Date): TableRow {
  const look = {
    fresh: { mark: '✔', colour: 'green' },
    stale: { mark: '●', colour: 'yellow' },
    failed: { mark: '✖', colour: 'red' },
  } as const
  const ends = until && `its API server's own certificate expires ${formatDate(until, now)}`
  return { ...look[state], name: node, cells: [], why: joinClauses(printable(why), ends) }
}

function foldRows(rows: readonly TableRow[]): TableRow[] {
  const textOf = ({ mark, colour, cells, why }: TableRow) => [mark, colour, ...cells, why].join('\n')
  return foldAlike(rows, ({ name }) => name, textOf).flatMap(({ group, shared }) => {
    const [first] = group
    const isFolded = group.length > mostAlike || first.colour === 'green'
    if (group.length === 1 || !isFolded) return group
    return [{ ...first, name: `${first.name} and ${group.length - 1} more`, why: shared(first.why) }]
  })
}

function formatRows(nameHeading: string, headings: readonly string[], rows: readonly TableRow[]): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  )
  const longest = Math.max(nameHeading.length, ...rows.map(({ name }) => name.length))
  const line = (name: string, cells: readonly string[]) =>
    [name.padEnd(longest), ...widths.map((each, i) => (cells[i] ?? '').padEnd(each))].join('  ')
  const format = ({ mark, colour, name, cells, why }: TableRow): string[] => {
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
function sumUp({ items, nodes, plan, repair, now }: StatusTable): string {
  const { wrong, expired, next } = fold(items, now)
  // A certificate and its kubeconfig have one name.
  const names = formatNames([...new Set(expired.map(({ name }) => name))])
  const isToSee = wrong.length > 0 || nodes.some((node) => !isRight(node))
  return [
    ...(expired.length > 0 ? [`EXPIRED: ${expired.length} of ${items.length} items (${names}): ${repair}`] : []),
    `${formatTotals({ items, nodes }, now)}${isToSee ? ` (see ${plan}, then ${repair})` : ''}`,
    ...(next
      ? [
          `${expired.length > 0 ? 'Next' : 'First'} to expire: ${formatNames(next.names)}, on ${formatDate(next.end, now)}, in ${formatLeft(next.end.getTime() - now.getTime())}`,
        ]
      : []),
  ]
    .map(capital)
    .join('. ')
}
