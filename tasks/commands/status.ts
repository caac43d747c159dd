/** `status`: all that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */

import { caName, pairFiles } from '../../lib/files/names.ts'
import type { Target } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { breakLines, fit } from '../../lib/paragraph.ts'
import { formatJsonLine } from '../../lib/show/json-lines.ts'
import { formatFailures, warningsOf } from '../../lib/show/reporter.ts'
import { printable } from '../../lib/wording.ts'
import { exitStatus, type Finding } from '../looks/exit-status.ts'
import { formatFormer, formerHolders } from '../looks/former-holders.ts'
import {
  firstEnd,
  type Item,
  isOurs,
  isRight,
  type NodeItem,
  takeInventory,
  takeNodeInventory,
  waysOut,
} from '../looks/inventory.ts'
import { look, type Seen, wholeCluster } from '../looks/look.ts'
import { askForUses, formatNotAsked, rotationsUnderWay, type Told, type Uses } from '../looks/under-way.ts'
import { notesOnFolder } from '../looks/walk.ts'
import { recoverCommand } from '../nodes/fetch-command.ts'
import { checkNodes } from '../request/selection.ts'
import type { Request } from '../request/session.ts'
import { formatStatus } from './status-table.ts'

/** Finds stale what is not as asked or expires soon, failed what could not be inspected. */
export async function status(request: Request): Promise<readonly Finding[]> {
  const { cluster, options, signal } = request
  checkNodes(cluster, options.nodes)
  const seen = await look(request, wholeCluster(request))
  if (signal.aborted) return []
  const isWanted = (node: string | undefined) =>
    options.nodes.length === 0 || (node !== undefined && options.nodes.includes(node))
  const inventory = takeInventory(seen)
  const items = inventory.filter(({ node }) => isWanted(node))
  const nodes = takeNodeInventory(seen).filter(({ node }) => isWanted(node))
  if (options.sortBy === 'end') items.sort((a, b) => endOf(a) - endOf(b))
  const rotations: Rotating[] = []
  for (const told of await rotationsUnderWay(seen.workspace)) {
    const uses: Uses = options.onNodes ? await askForUses(request, told.rotation) : { sentences: [] }
    rotations.push({ ...told, ...uses })
  }
  const onFolder = notesOnFolder(seen.workspace.auth)
  const findings = [
    ...findingsIn(items, nodes),
    ...onFolder.map((): Finding => 'stale'),
    ...rotations.flatMap(({ failure }) => failure?.kind ?? []),
  ]
  if (options.json) {
    for (const message of [...noteOnLoss(seen.workspace), ...onFolder])
      request.print(formatJsonLine({ type: 'note', message }))
    for (const { rotation, sentences, failure } of rotations)
      request.print(formatJsonLine({ type: 'rotation', ...rotation, uses: sentences, message: failure?.message }))
    tellAsJson(request, items, nodes, exitStatus(findings))
  } else if (!options.quiet || findings.length > 0)
    tell(request, seen, { items, nodes, onFolder, rotations, ways: waysOut(seen.workspace, inventory) })
  return findings
}

function endOf({ end }: Item): number {
  return end?.getTime() ?? Number.POSITIVE_INFINITY
}

function findingsIn(items: readonly Item[], nodes: readonly NodeItem[]): Finding[] {
  return [...items.filter(isOurs), ...nodes].flatMap((counted) => {
    if (counted.state === 'failed') return 'failed'
    return isRight(counted) ? [] : 'stale'
  })
}

type Rotating = Told & Uses

interface Found {
  readonly items: readonly Item[]
  readonly nodes: readonly NodeItem[]
  readonly onFolder: readonly string[]
  readonly rotations: readonly Rotating[]
  readonly ways: ReturnType<typeof waysOut>
}

function tell(
  { options, print, width }: Request,
  { workspace, graph, outcomes }: Seen,
  { items, nodes, onFolder, rotations, ways }: Found,
): void {
  const shown = options.quiet
    ? { items: items.filter((item) => isOurs(item) && !isRight(item)), nodes: nodes.filter((node) => !isRight(node)) }
    : { items, nodes }
  const { now } = workspace
  for (const text of noteOnLoss(workspace)) print(breakLines(text, width, 0, 2).join('\n'))
  for (const line of formatStatus({ ...shown, counted: items, ...ways, now, width, verbose: options.verbose }))
    print(line)
  const counted = options.quiet ? items.filter(isOurs) : items
  const ids = new Set(counted.map(({ id }) => id))
  const names = new Set(nodes.map(({ node }) => node))
  const isTold = (target?: Target) =>
    target !== undefined && (target.where === 'node' ? names.has(target.node ?? '') : ids.has(target.id))
  const own = new Map([...outcomes].filter(([id]) => isTold(graph.get(id))))
  const former = options.nodes.length === 0 ? formerHolders(workspace) : []
  if (items.length + nodes.length === 0)
    print(`auth/ has nothing that belongs to ${options.nodes.join(', ')}: --on-nodes looks there`)
  const notes = [
    ...[...onFolder, ...rotations.flatMap(toldOf), ...warningsOf(own)].flatMap((text) =>
      breakLines(printable(text), width, 0, 2),
    ),
    ...former.flatMap((each) => fit(printable(formatFormer(each)), width)),
  ]
  const failures = formatFailures(own)
  if (notes.length + failures.length > 0) print('')
  for (const line of [...notes, ...failures.flatMap((text) => fit(text, width))]) print(line)
}

/** Before all that is missing: for a cluster that runs, nothing of it should be made again. */
function noteOnLoss(workspace: Workspace): string[] {
  const { auth } = workspace
  if (pairFiles(caName).some((file) => auth.read(file) !== undefined)) return []
  return [`${auth.path} has no CA; if this cluster runs already, restore it first: ${recoverCommand(workspace)}`]
}

function toldOf({ sentence, sentences, failure }: Rotating): string[] {
  return [sentence, ...sentences, ...(failure ? [formatNotAsked(failure)] : [])]
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
