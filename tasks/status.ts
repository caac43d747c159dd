/** `status`: all that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */
import type { Outcome } from '../lib/executor.ts'
import { formatFailures, printable } from '../lib/reporter.ts'
import { nodeFiles } from './file-table.ts'
import { explainReasons, type Item, type State, stateOf, takeInventory } from './inventory.ts'
import { look, type Seen } from './look.ts'
import type { Request } from './request.ts'
import { checkNodes } from './selection.ts'
import { firstEnd, formatStatus, isOurs, type NodeItem } from './status-table.ts'

/** The exit status: 4 where something is stale or ends soon, 1 where something could not be looked at. */
export async function status(request: Request): Promise<number> {
  const { cluster, options, endedStatus } = request
  checkNodes(
    cluster.nodes.map(({ name }) => name),
    options.nodes,
  )
  const seen = await look(request, options.onNodes)
  const isWanted = ({ node }: { node?: string | undefined }) =>
    options.nodes.length === 0 || (node !== undefined && options.nodes.includes(node))
  const items = takeInventory(seen).filter(isWanted)
  const nodes = nodeItems(seen).filter(isWanted)
  if (options.sortBy === 'end') items.sort((a, b) => endOf(a) - endOf(b))
  const exit = endedStatus() ?? exitStatus(items, nodes)
  if (options.json) tellAsJson(request, items, nodes, exit)
  else tell(request, seen, items, nodes)
  return exit
}

function endOf({ end }: Item): number {
  return end?.getTime() ?? Number.POSITIVE_INFINITY
}

function nodeItems({ at, outcomes }: Seen): NodeItem[] {
  return at.cluster.nodes.flatMap((node): NodeItem[] => {
    const outcome = outcomes.get(`deploy/${node.name}`)
    const count = nodeFiles(node).length
    const same = `${count === 1 ? '1 file' : `${count} files`}, as in auth/`
    return outcome
      ? [{ node: node.name, state: stateOf(outcome), what: describeNode(outcome, same).replace(`${node.name}: `, '') }]
      : []
  })
}

function describeNode(outcome: Outcome, same: string): string {
  switch (outcome.kind) {
    case 'failed':
      return outcome.failure.message
    case 'cancelled':
      return 'not looked at'
    default:
      return explainReasons(outcome.reasons) || same
  }
}

function exitStatus(items: readonly Item[], nodes: readonly NodeItem[]): number {
  const counted = [...items.filter(isOurs), ...nodes]
  if (counted.some(({ state }) => state === 'failed')) return 1
  return counted.some(isWrong) ? 4 : 0
}

function isWrong({ state, endsSoon = false }: { readonly state: State; readonly endsSoon?: boolean }): boolean {
  return state !== 'fresh' || endsSoon
}

function tell(
  { options, print, width }: Request,
  seen: Seen,
  items: readonly Item[],
  nodes: readonly NodeItem[],
): void {
  const { at, outcomes, notes } = seen
  const shown = options.quiet
    ? { items: items.filter((item) => isOurs(item) && isWrong(item)), nodes: nodes.filter(isWrong) }
    : { items, nodes }
  if (!options.quiet || shown.items.length + shown.nodes.length > 0)
    for (const line of formatStatus({ ...shown, now: at.now, width, verbose: options.verbose })) print(line)
  const warnings = [...outcomes].flatMap(([id, outcome]) =>
    'warning' in outcome && outcome.warning ? [`${id}: ${outcome.warning}`] : [],
  )
  for (const text of [...notes, ...warnings]) print(printable(text))
  for (const text of formatFailures(outcomes)) print(text)
}

function tellAsJson({ print }: Request, items: readonly Item[], nodes: readonly NodeItem[], exit: number): void {
  const say = (value: object) => print(JSON.stringify(value))
  for (const { certificate, onNodes, why, ...item } of items)
    say({
      type: 'item',
      ...item,
      notAfter: certificate?.notAfter,
      ...(why && { message: why }),
      ...(onNodes.size > 0 && { onNodes: Object.fromEntries(onNodes) }),
    })
  for (const { node, state, what } of nodes) say({ type: 'node', node, state, message: what })
  const ours = items.filter(isOurs)
  const count = (state: string) => ours.filter((item) => item.state === state).length
  const counts = { fresh: count('fresh'), stale: count('stale'), failed: count('failed') }
  say({ type: 'summary', items: ours.length, ...counts, firstEnd: firstEnd(ours), exit })
}
