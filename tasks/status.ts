/** `status`: all that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */
import type { ClusterNode } from '../lib/cluster.ts'
import type { Outcome } from '../lib/executor.ts'
import { formatJsonLine } from '../lib/json-lines.ts'
import { formatReasons, ownReasons } from '../lib/reason.ts'
import { formatFailures, printable, warningsOf } from '../lib/reporter.ts'
import { nodeFiles } from './file-table.ts'
import { type Item, type State, stateOf, takeInventory } from './inventory.ts'
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
  const ended = endedStatus()
  if (ended !== undefined) return ended
  const exit = exitStatus(items, nodes)
  if (options.json) tellAsJson(request, items, nodes, exit)
  else if (!options.quiet || exit !== 0) tell(request, seen, items, nodes)
  return exit
}

function endOf({ end }: Item): number {
  return end?.getTime() ?? Number.POSITIVE_INFINITY
}

function nodeItems({ at, outcomes }: Seen): NodeItem[] {
  return at.cluster.nodes.flatMap((node): NodeItem[] => {
    const outcome = outcomes.get(`deploy/${node.name}`)
    return outcome ? [{ node: node.name, ...judgeNode(node, outcome) }] : []
  })
}

/** By what is on it: that something in auth/ is to be made anew is said elsewhere. */
function judgeNode(node: ClusterNode, outcome: Outcome): Pick<NodeItem, 'state' | 'what'> {
  if (outcome.kind === 'cancelled') return { state: 'stale', what: 'not looked at' }
  if (outcome.kind === 'failed')
    return { state: stateOf(outcome), what: outcome.failure.message.replace(`${node.name}: `, '') }
  const reasons = ownReasons(outcome.reasons)
  const count = nodeFiles(node).length
  if (reasons.length > 0) return { state: 'stale', what: formatReasons(reasons) }
  return { state: 'fresh', what: `${count === 1 ? '1 file' : `${count} files`}, as in auth/` }
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
  for (const line of formatStatus({ ...shown, counted: items, now: at.now, width, verbose: options.verbose }))
    print(line)
  for (const text of [...notes, ...warningsOf(outcomes)]) print(printable(text))
  for (const text of formatFailures(outcomes)) print(text)
}

function tellAsJson({ print }: Request, items: readonly Item[], nodes: readonly NodeItem[], exit: number): void {
  const say = (value: object) => print(formatJsonLine(value))
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
