/** `status`: everything that was made, and whether it is still right: a table for people, rows of JSON, an exit status for scripts. */
import { styleText } from 'node:util'
import { caName } from '../../lib/files/auth-dir.ts'
import { nameInPhase } from '../../lib/graph/target.ts'
import { formatCounts, formatIssues, type Notice, notices, textOf } from '../../lib/show/rows.ts'
import {
  beside,
  fit,
  foldAlike,
  formatDate,
  formatLeft,
  formatNames,
  joinClauses,
  printable,
  wrap,
} from '../../lib/wording.ts'
import { recoverCommand } from '../auth/states.ts'
import { type ClusterRow, endsSoon, type Run } from '../cluster-target.ts'
import { type CommandRun, readAuth } from '../run/command-run.ts'
import { causesIn, causesOf, columnsOf, type ExitCause } from '../run/host.ts'
import { checkNodes } from '../run/options.ts'
import {
  adviseOnRotations,
  findBeside,
  findExpiries,
  type Item,
  type Observation,
  observe,
  showObservation,
  takeInventory,
  wholeCluster,
} from '../views/observe.ts'

export async function status(given: CommandRun): Promise<readonly ExitCause[]> {
  const { cluster, options, signal } = given
  checkNodes(cluster, options.nodes)
  const graph = await wholeCluster(given)
  return readAuth(given, graph, async (run) => {
    const seen = await observe(run, graph)
    const told = [...adviseOnLoss(seen), ...(await adviseOnRotations(seen.run)), ...findBeside(seen.run, seen.rows)]
    return signal.aborted ? [] : show(given, ofNodes(seen, options.nodes), told)
  })
}

/** The rows of these nodes alone, if there are any, in the order of the graph. */
function ofNodes(seen: Observation, nodes: readonly string[]): Observation {
  const isDesired = ({ target }: ClusterRow) => nodes.length === 0 || nodes.includes(target.node ?? '')
  const rows = new Map([...seen.rows].filter(([, row]) => isDesired(row)))
  return { ...seen, rows, events: [...rows].map(([id, row]) => ({ type: 'ended', id, row })) }
}

/** In a running cluster, nothing of what is missing may be made again. */
function adviseOnLoss({ run, rows }: Observation): Notice[] {
  const { auth, command } = run
  const isLost = auth.files.pair(caName).every((file) => auth.read(file) === undefined)
  const ways = `if this cluster already runs, restore it:\n    ${recoverCommand(run)}\nif it is new, see what a run creates:\n    ${command('bootstrap --dry-run')}`
  // A refusal has its own ways out.
  return notices('todo', isLost && !rows.get(caName)?.failure && `${auth.path} has no CA; ${ways}`)
}

/** Returns `stale` for what differs from cluster.yaml, `failed` for what could not be inspected. */
async function show(given: CommandRun, seen: Observation, told: readonly Notice[]): Promise<readonly ExitCause[]> {
  const { host, options, print } = given
  const { run, rows } = seen
  if (options.json) return showObservation(given, seen, { notices: told })
  const columns = columnsOf(host.stdout)
  const prose = (text: string) => fit(printable(text), columns)
  const items = takeInventory(run, rows)
  const all = [...rows.values()].map((row) => tableRow(run, row, items.get(row.id)))
  const table = options.quiet ? all.filter(({ mark }) => mark !== '✔') : all
  const isFromNodes = [...rows.values()].some(({ target }) => target.where === 'node')
  const scope = isFromNodes ? '' : 'nodes were not inspected (--on-nodes)'
  const sums = [joinClauses(formatCounts(rows, { isLook: true }), scope), ...formatExpiries(items, run.now)]
  const notes = told.flatMap(({ kind, text }) => (kind === 'note' ? text : []))
  const parts = [
    options.quiet ? [] : sums.map(prose),
    formatTable(options.verbose ? table.map((row) => [row]) : foldRows(table), columns),
    options.quiet ? [] : notes.map(prose),
    formatIssues({ rows, notices: told }, columns),
  ]
  for (const line of parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part])))
    print(line)
  return [...causesOf(rows.values()), ...causesIn(told)]
}

function formatExpiries(items: ReadonlyMap<string, Item>, now: Date): string[] {
  const { expired, next } = findExpiries(items, now)
  const left = next && formatLeft(next.end.getTime() - now.getTime())
  return [
    ...(expired.length > 0 ? [`Expired: ${formatNames(expired)}`] : []),
    ...(next ? [`Next expiry: ${formatDate(next.end, now)}, in ${left} (${formatNames(next.names)})`] : []),
  ]
}

interface TableRow {
  readonly mark: '✔' | '●' | '✖'
  readonly colour: 'red' | 'yellow' | 'green'
  readonly phase: string
  readonly name: string
  /** Which its text may have: `admin`, of admin.pem. */
  readonly own: string
  readonly cells: readonly string[]
  readonly text: string
}

function tableRow(run: Run, row: ClusterRow, item: Item | undefined): TableRow {
  const { id, target, state, failure, hasNothing, note = '', todo = [] } = row
  const { phase, where, makes, purpose } = target
  const end = item ? item.end : row.until
  const isRight = state === 'fresh' && todo.length === 0 && !(end && endsSoon(run, end))
  const isUrgent = state === 'failed' || (end && end <= run.now)
  const text = state === 'fresh' ? hasNothing && note : !failure && beside(id, textOf(row))
  return {
    mark: state === 'failed' ? '✖' : isRight ? '✔' : '●',
    colour: isUrgent ? 'red' : isRight ? 'green' : 'yellow',
    phase,
    name: (where === 'auth' && makes[0]) || id,
    own: nameInPhase(target),
    cells: [
      purpose ?? (end ? 'loopback certificate' : ''),
      ...(end ? [formatDate(end, run.now), formatLeft(end.getTime() - run.now.getTime())] : []),
    ],
    text: printable(text || ''),
  }
}

function foldRows(rows: readonly TableRow[]): (readonly [row: TableRow, ...others: TableRow[]])[] {
  const textOf = ({ name, own, ...shown }: TableRow) => Object.values(shown).join('\n')
  return foldAlike(rows, ({ own }) => own, textOf).map(({ group, shared }) => {
    const [first, ...others] = group
    return [{ ...first, text: shared(first.text) }, ...others]
  })
}

function formatTable(groups: readonly (readonly TableRow[])[], columns: number | undefined): string[] {
  if (groups.length === 0) return []
  const rows = groups.flatMap(([row, ...others]) => {
    const more = others.length > 0 ? ` and ${others.length} more` : ''
    return row ? [{ ...row, name: row.name + more }] : []
  })
  const headings = ['NAME', 'FOR', 'EXPIRES', 'LEFT']
  const widths = headings.map((heading, i) =>
    Math.max(heading.length, ...rows.map(({ name, cells }) => [name, ...cells][i]?.length ?? 0)),
  )
  const line = (cells: readonly string[]) =>
    widths
      .map((width, i) => (cells[i] ?? '').padEnd(width))
      .join('  ')
      .trimEnd()
  const table = rows.flatMap(({ mark, colour, name, cells, text }) => {
    const lines = [`${mark} ${line([name, ...cells])}`, ...(text ? [wrap(`    ${text}`, columns, 4)] : [])]
    return colour === 'green' ? lines : lines.map((each) => styleText(colour, each))
  })
  return [styleText('bold', `  ${line(headings)}`), ...table]
}
