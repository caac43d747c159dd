/**
 * `status`: everything that was made, and whether it is still right: a table for people, lines of JSON, an exit status
 * for cron.
 */
import { styleText } from 'node:util'
import { caName } from '../../lib/files/auth-dir.ts'
import { formatJsonLine, unlessEmpty } from '../../lib/show/lines.ts'
import { type Notice, notices } from '../../lib/show/reporter.ts'
import { formatFailures, formatToDo, warningsOf } from '../../lib/show/rows.ts'
import {
  capital,
  count,
  fit,
  foldAlike,
  formatDate,
  formatLeft,
  formatNames,
  joinClauses,
  printable,
  wrap,
} from '../../lib/wording.ts'
import { recoverCommand } from '../auth/fetch-command.ts'
import type { UnderWay } from '../day2/rotations/rotations.ts'
import { readAuth } from '../run/access.ts'
import { type CommandRun, noteOnExample } from '../run/command-run.ts'
import { causesIn, causesOf, type ExitCause, exitStatus } from '../run/exit-status.ts'
import { columnsOf } from '../run/host.ts'
import { checkNodes } from '../run/selection.ts'
import type { Run } from '../target.ts'
import {
  fold,
  formatTotals,
  type Inventory,
  type Item,
  isRight,
  type NodeItem,
  takeInventory,
  waysOut,
} from '../views/inventory.ts'
import { findBeside, notesOnFolder, noticeOfRotation, rotationsUnderWay } from '../views/notices.ts'
import { observe, wholeCluster } from '../views/observe.ts'

/** Throws a usage Failure for a node that cluster.yaml does not have. */
export async function status(given: CommandRun): Promise<readonly ExitCause[]> {
  checkNodes(given.cluster, given.options.nodes)
  const graph = await wholeCluster(given)
  return readAuth(given, graph, async (run) => {
    const inventory = takeInventory(await observe(run, graph))
    const rotations = await rotationsUnderWay(run)
    return () => show(given, inventory, rotations)
  })
}

/** Of the nodes that are wanted. */
interface Status extends Inventory, Pick<StatusTable, 'next'> {
  readonly notices: readonly Notice[]
  readonly rotations: readonly UnderWay[]
}

/** Returns `stale` for what differs from cluster.yaml or expires soon, `failed` for what could not be inspected. */
async function show(
  given: CommandRun,
  inventory: Inventory,
  rotations: Status['rotations'],
): Promise<readonly ExitCause[]> {
  const { options, signal, print } = given
  if (signal.aborted) return []
  const { run } = inventory
  const isWhole = options.nodes.length === 0
  const isWanted = ({ node = '' }: { readonly node?: string | undefined }) => isWhole || options.nodes.includes(node)
  const items = inventory.items.filter(isWanted)
  const nodes = inventory.nodes.filter(isWanted)
  const rows = new Map([...inventory.rows].filter(([, { target }]) => isWanted(target)))
  const onFolder = notesOnFolder(run.auth)
  const beside = isWhole ? findBeside(run, rows) : onFolder
  const told = [...beside, ...notices('note', noteOnExample(given))]
  const causes: ExitCause[] = [
    ...causesOf(rows.values(), { isLook: true }),
    // What is up to date, and expires with its CA.
    ...items.flatMap((each) => (each.endsSoon ? ('stale' as const) : [])),
    ...causesIn(told),
    ...onFolder.map(() => 'stale' as const),
  ]
  const found = { ...inventory, next: nextStep(inventory), items, nodes, rows, notices: told, rotations }
  if (options.json) for (const line of asJson(found, exitStatus(causes))) print(formatJsonLine(line))
  else for (const line of asText(given, found, causes.length === 0)) print(line)
  return causes
}

/**
 * A rotation is first: it explains much of what follows. With --quiet it is all that is shown where everything
 * `isRight`.
 */
function asText({ host, options: { nodes, verbose, quiet } }: CommandRun, found: Status, isRight: boolean): string[] {
  const { run, rows, rotations } = found
  const columns = columnsOf(host.stdout)
  const prose = (text: string) => fit(printable(text), columns)
  const ofRotations = rotations.map((each) => noticeOfRotation(each, run).text)
  const notes = found.notices.flatMap(({ kind, text }) => (kind === 'note' ? text : []))
  const parts = [
    noteOnLoss(found).map(prose),
    ofRotations.map(prose),
    formatStatus({ ...found, now: run.now, verbose, quiet, columns }),
    found.items.length + found.nodes.length === 0
      ? [`auth/ has nothing of ${nodes.join(', ')}; to inspect the node, add --on-nodes`]
      : [],
    [...[...warningsOf(rows), ...notes].map(prose), ...formatFailures(rows).map((text) => fit(text, columns))],
    formatToDo(found, columns),
  ]
  const shown = quiet && isRight ? parts.slice(1, 2) : parts
  return shown.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

/** Shown before all that is missing: in a running cluster, none of it may be made again. A refusal has its own ways out. */
function noteOnLoss({ run, rows }: Pick<Inventory, 'run' | 'rows'>): string[] {
  if (!isLost(run) || rows.get(caName)?.failure) return []
  const { auth, command } = run
  const ways = [
    `- if this cluster already runs, restore it:\n    ${recoverCommand(run)}`,
    `- if it is new, see what a run creates:\n    ${command('bootstrap --dry-run')}`,
  ]
  return [[`${auth.path} has no CA`, ...ways].join('\n')]
}

const isLost = ({ auth }: Run) => auth.files.pair(caName).every((file) => auth.read(file) === undefined)

/** None where a run would be refused, or the first step is another. */
function nextStep({ run, rows, items }: Inventory): string | undefined {
  if (isLost(run) || [...rows.values()].some(({ failure }) => failure?.kind === 'refused')) return undefined
  return waysOut(run, { items, rows }).plan
}

function asJson(found: Status, exit: number): object[] {
  const { run, rows, items, nodes, rotations } = found
  const { fresh, stale, failed, endsSoon, first } = fold(items, run.now)
  const notes = [...noteOnLoss(found), ...found.notices.map(({ text }) => text)]
  const counts = { fresh: fresh.length, stale: stale.length, failed: failed.length, endsSoon: endsSoon.length }
  return [
    ...notes.map((message) => ({ type: 'note', message })),
    ...rotations.map((rotation) => ({ type: 'rotation', ...rotation })),
    ...items.map(({ certificate, onNodes, onlyEnds, why, ...item }) => ({
      type: 'item',
      ...item,
      notAfter: certificate?.notAfter,
      ...(why && { message: why }),
      warn: unlessEmpty(rows.get(item.id)?.warn),
      todo: unlessEmpty(rows.get(item.id)?.todo),
      ...(onNodes.size > 0 && { onNodes: Object.fromEntries(onNodes) }),
    })),
    ...nodes.map(({ why, left, holds, ...node }) => ({
      ...{ type: 'node', ...node, message: why },
      ...(left.length > 0 && { left }),
    })),
    { type: 'summary', items: items.length, ...counts, firstEnd: first?.end, exit },
  ]
}

/** Rows that are not right are folded if more than this are alike. */
const mostAlike = 2

interface StatusTable extends Pick<Inventory, 'items' | 'nodes'> {
  /** The command that shows what a run would do. */
  readonly next: string | undefined
  readonly now: Date
  /** A row for everything, however many there are. */
  readonly verbose: boolean
  /** Rows for what is not right only; the first line sums up everything. */
  readonly quiet: boolean
  /** Of the terminal, if it is one. */
  readonly columns?: number | undefined
}

interface TableRow {
  readonly mark: '✔' | '●' | '✖'
  readonly colour: 'red' | 'yellow' | 'green'
  /** A file, or a node. */
  readonly name: string
  /** Which its text may have: `admin`, of admin.pem. */
  readonly own: string
  readonly cells: readonly string[]
  readonly why: string
}

/**
 * What there is to say, a line each; then one row for all that are right and differ only in name, and one for each of
 * the rest.
 */
export function formatStatus(table: StatusTable): string[] {
  const { now, verbose, quiet } = table
  const items = table.items.filter((item) => !quiet || !isRight(item))
  const nodes = table.nodes.filter((node) => !quiet || !isRight(node))
  const folded = (rows: readonly TableRow[]) => (verbose ? rows : foldRows(rows))
  const withNodes = items.some(({ onNodes }) => onNodes.size > 0)
  const headings = ['FOR', 'ISSUER', 'EXPIRES', 'LEFT', ...(withNodes ? ['NODES'] : [])]
  const parts = [
    table.items.length + table.nodes.length > 0 ? sumUp(table).map((line) => fit(line, table.columns)) : [],
    items.length > 0
      ? formatRows('NAME', { headings, columns: table.columns }, folded(items.map((item) => itemRow(item, now))))
      : [],
    nodes.length > 0
      ? formatRows('NODE', { headings: [], columns: table.columns }, folded(nodes.map((node) => nodeRow(node, now))))
      : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

function itemRow(item: Item, now: Date): TableRow {
  const { state, name, files, phase, purpose, issuer = '', end, why, onNodes } = item
  const expiry = end ? [formatDate(end, now), formatLeft(end.getTime() - now.getTime())] : ['', '']
  const same = [...onNodes.values()].filter((on) => on === 'same').length
  const nodes = Map.groupBy(onNodes.keys(), (node) => onNodes.get(node))
  const where = (['missing', 'differs', 'unknown'] as const).map((on) => {
    const names = nodes.get(on) ?? []
    return names.length > 0 && `${on === 'unknown' ? 'not inspected' : on} on ${formatNames(names)}`
  })
  const unknown = [...onNodes.values()].includes('unknown') ? '?' : ''
  // A file is right if it is the same wherever it belongs.
  const isHere = isRight(item) && same === onNodes.size
  const isUrgent = state === 'failed' || (end && end <= now)
  return {
    mark: state === 'failed' ? '✖' : isHere ? '✔' : '●',
    colour: isUrgent ? 'red' : isHere ? 'green' : 'yellow',
    name: files[0] ?? name,
    own: name,
    // Its name says that it is one; what it is for stands with its certificate.
    cells: [
      ...[phase === 'kubeconfigs' ? 'API client' : purpose, printable(issuer), ...expiry],
      onNodes.size > 0 ? `${same}/${onNodes.size}${unknown}` : '',
    ],
    // The column LEFT already shows that it expires soon.
    // What that depends on in turn has a row of its own.
    why: joinClauses(state !== 'fresh' && printable(why).replace(/^(depends on [^,;]+), [^;]+$/, '$1'), ...where),
  }
}

function nodeRow({ node, state, why, until }: NodeItem, now: Date): TableRow {
  const look = {
    fresh: { mark: '✔', colour: 'green' },
    stale: { mark: '●', colour: 'yellow' },
    failed: { mark: '✖', colour: 'red' },
  } as const
  const ends = until && `loopback certificate expires ${formatDate(until, now)}`
  return { ...look[state], name: node, own: node, cells: [], why: joinClauses(printable(why), ends) }
}

/**
 * What is right and differs in its name alone is one row, and so is what is wrong for one reason, whatever it is for.
 * What only depends on something else is told of with that, whenever it expires.
 */
function foldRows(rows: readonly TableRow[]): TableRow[] {
  const textOf = ({ mark, colour, name, own, cells: [purpose, ...cells], why }: TableRow) => {
    if (why === '') return [mark, colour, name.slice(own.length), purpose, ...cells].join('\n')
    return [mark, colour, ...(isDependent.test(why) ? [] : cells.slice(0, 3)), why].join('\n')
  }
  return foldAlike(rows, ({ own }) => own, textOf).flatMap(({ group, shared }) => {
    const [first] = group
    const isFolded = group.length > mostAlike || first.colour === 'green'
    if (group.length === 1 || !isFolded) return group
    const cells = first.cells.map((cell, i) => (group.every((each) => each.cells[i] === cell) ? cell : ''))
    return [{ ...first, name: `${first.name} and ${group.length - 1} more`, cells, why: shared(first.why) }]
  })
}

const isDependent = /^depends on [^,;]+$/

/** Where a terminal is too narrow, the column LEFT is the first that goes: EXPIRES has the date. */
function formatRows(
  nameHeading: string,
  { headings, columns }: { readonly headings: readonly string[]; readonly columns?: number | undefined },
  rows: readonly TableRow[],
): string[] {
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  )
  const longest = Math.max(nameHeading.length, ...rows.map(({ name }) => name.length))
  const whole = widths.reduce((all, each) => all + 2 + each, 2 + longest)
  const left = columns !== undefined && whole > columns ? headings.indexOf('LEFT') : -1
  const line = (name: string, cells: readonly string[]) =>
    [name.padEnd(longest), ...widths.map((each, i) => (cells[i] ?? '').padEnd(each)).filter((_, i) => i !== left)].join(
      '  ',
    )
  const format = ({ mark, colour, name, cells, why }: TableRow): string[] => {
    const text = `${mark} ${line(name, cells)}`
    const lines =
      headings.length > 0
        ? [text, why && wrap(`    ${why}`, columns, 4)]
        : [wrap(`${text}  ${why}`, columns, longest + 4)]
    return lines
      .flatMap((each) => each?.trimEnd() || [])
      .map((each) => (colour === 'green' ? each : styleText(colour, each)))
  }
  return [styleText('bold', `  ${line(nameHeading, headings)}`.trimEnd()), ...rows.flatMap(format)]
}

/**
 * "All 24 items are up to date; deployed on 7 of 7 nodes", "Next expiry: 2036-11-22, in 3649d (ca)"; what has expired
 * comes before everything else.
 */
function sumUp({ items, nodes, next: step, now }: StatusTable): string[] {
  const { wrong, expired, next } = fold(items, now)
  // A certificate and its kubeconfig have one name.
  const names = formatNames([...new Set(expired.map(({ name }) => name))])
  const isToSee = wrong.length > 0 || nodes.some(({ state }) => state === 'stale')
  const lines = [
    expired.length > 0 &&
      `${expired.length} of ${count(items.length, 'item')} ${expired.length === 1 ? 'has' : 'have'} expired: ${names}`,
    joinClauses(formatTotals({ items, nodes }, now), nodes.length === 0 && 'nodes were not inspected (--on-nodes)'),
    next &&
      `Next expiry: ${formatDate(next.end, now)}, in ${formatLeft(next.end.getTime() - now.getTime())} (${formatNames(next.names)})`,
    isToSee && step && `What a run would change:\n    ${step}`,
  ]
  return lines.flatMap((line) => (line ? [capital(line)] : []))
}
