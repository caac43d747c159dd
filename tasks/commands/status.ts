/** `status`: all that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */
import type { Target } from '../../lib/targets/target.ts'
import { formatJsonLine } from '../../lib/views/json-lines.ts'
import { breakLines } from '../../lib/views/paragraph.ts'
import { formatFailures, warningsOf } from '../../lib/views/reporter.ts'
import { printable } from '../../lib/wording.ts'
import { formerNodes } from '../nodes/former-nodes.ts'
import { checkNodes } from '../request/selection.ts'
import type { Request } from '../request/session.ts'
import { firstEnd, type Item, isOurs, isRight, type NodeItem, takeInventory, takeNodeInventory } from './inventory.ts'
import { look, type Seen } from './look.ts'
import { formatStatus } from './status-table.ts'

/** The exit status: 4 where something is stale or ends soon, 1 where something could not be looked at. */
export async function status(request: Request): Promise<number> {
  const { cluster, options, endedStatus } = request
  checkNodes(cluster, options.nodes)
  const seen = await look(request, options.onNodes)
  const ended = endedStatus()
  if (ended !== undefined) return ended
  const isWanted = (node: string | undefined) =>
    options.nodes.length === 0 || (node !== undefined && options.nodes.includes(node))
  const items = takeInventory(seen).filter(({ node }) => isWanted(node))
  const nodes = takeNodeInventory(seen).filter(({ node }) => isWanted(node))
  if (options.sortBy === 'end') items.sort((a, b) => endOf(a) - endOf(b))
  const exit = exitStatus(items, nodes)
  if (options.json) tellAsJson(request, items, nodes, exit)
  else if (!options.quiet || exit !== 0) tell(request, seen, items, nodes)
  return exit
}

function endOf({ end }: Item): number {
  return end?.getTime() ?? Number.POSITIVE_INFINITY
}

function exitStatus(items: readonly Item[], nodes: readonly NodeItem[]): number {
  const counted = [...items.filter(isOurs), ...nodes]
  if (counted.some(({ state }) => state === 'failed')) return 1
  return counted.every(isRight) ? 0 : 4
}

function tell(
  { options, print, width }: Request,
  { at, graph, outcomes }: Seen,
  items: readonly Item[],
  nodes: readonly NodeItem[],
): void {
  const shown = options.quiet
    ? { items: items.filter((item) => isOurs(item) && !isRight(item)), nodes: nodes.filter((node) => !isRight(node)) }
    : { items, nodes }
  for (const line of formatStatus({ ...shown, counted: items, now: at.now, width, verbose: options.verbose }))
    print(line)
  const counted = options.quiet ? items.filter(isOurs) : items
  const ids = new Set(counted.map(({ id }) => id))
  const names = new Set(nodes.map(({ node }) => node))
  const isTold = (target?: Target) =>
    target !== undefined && (target.where === 'node' ? names.has(target.node ?? '') : ids.has(target.id))
  const own = new Map([...outcomes].filter(([id]) => isTold(graph.get(id))))
  const former = options.nodes.length === 0 ? formerNodes(at) : []
  if (items.length + nodes.length === 0)
    print(`auth/ has nothing that belongs to ${options.nodes.join(', ')}: --on-nodes looks there`)
  const notes = [...former, ...warningsOf(own)].flatMap((text) => breakLines(printable(text), width, 0, 2))
  const failures = formatFailures(own)
  if (notes.length + failures.length > 0) print('')
  for (const text of [...notes, ...failures]) print(text)
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
  for (const { node, state, why } of nodes) say({ type: 'node', node, state, message: why })
  const ours = items.filter(isOurs)
  const count = (state: string) => ours.filter((item) => item.state === state).length
  const counts = { fresh: count('fresh'), stale: count('stale'), failed: count('failed') }
  const endsSoon = ours.filter((item) => item.endsSoon).length
  say({ type: 'summary', items: ours.length, ...counts, endsSoon, firstEnd: firstEnd(ours), exit })
}
