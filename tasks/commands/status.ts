/** `status`: everything that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */
import { styleText } from 'node:util'
import { caName } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/run.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatCaEnds, formatFailures, warningOf, warningsOf } from '../../lib/show/words.ts'
import { printable } from '../../lib/wording.ts'
import { recoverCommand } from '../nodes/fetch-command.ts'
import { readAuth } from '../request/access.ts'
import type { CommandRun } from '../request/command-run.ts'
import { adviseOnCa, noteOnValidity } from '../request/expiry.ts'
import { noteOnFormerHolders } from '../request/former-holders.ts'
import { fold, type Inventory, isRight, takeInventory, waysOut } from '../request/inventory.ts'
import { exitStatus, type Finding, findingsOf } from '../request/job.ts'
import { observe, wholeCluster } from '../request/observe.ts'
import { checkNodes } from '../request/selection.ts'
import { notesOnFolder, notesOnOptions } from '../request/walk.ts'
import type { UnderWay, Uses } from '../rotations/rotation.ts'
import { formatUnderWay, formatUses, rotationsUnderWay } from '../rotations/under-way.ts'
import { formatStatus } from './status-table.ts'

/** Throws a usage Failure for a node that cluster.yaml does not have. */
export async function status(given: CommandRun): Promise<readonly Finding[]> {
  checkNodes(given.cluster, given.options.nodes)
  const graph = wholeCluster(given)
  return readAuth(given, graph, async (run) => {
    const inventory = takeInventory(await observe(run, graph))
    const rotations = await findRotations(run)
    return () => show(given, inventory, rotations)
  })
}

/** With who still uses what is rotated: the nodes are queried only with --on-nodes. */
async function findRotations(run: CommandRun): Promise<(UnderWay & Uses)[]> {
  const found = await rotationsUnderWay(run)
  const { cluster, options, signal } = run
  const { install } = cluster
  if (found.length === 0 || !options.onNodes || !install) return found.map((each) => ({ ...each, sentences: [] }))
  const { findUses } = await import('../rotations/table.ts')
  const context = { run, install, signal, isForced: false }
  return Promise.all(found.map(async (each) => ({ ...each, ...(await findUses(context, each)) })))
}

/** Of the nodes that are wanted. */
interface Status extends Inventory, ReturnType<typeof waysOut> {
  readonly onFolder: readonly string[]
  readonly rotations: readonly (UnderWay & Uses)[]
}

/** Returns `stale` for what differs from cluster.yaml or expires soon, `failed` for what could not be inspected. */
async function show(
  given: CommandRun,
  inventory: Inventory,
  rotations: Status['rotations'],
): Promise<readonly Finding[]> {
  const { options, signal, print } = given
  if (signal.aborted) return []
  const { run, outcomes, graph } = inventory
  const isWanted = ({ node = '' }: { node?: string | undefined } = {}) =>
    options.nodes.length === 0 || options.nodes.includes(node)
  const items = inventory.items.filter(isWanted)
  const nodes = inventory.nodes.filter(isWanted)
  const own = new Map([...outcomes].filter(([id]) => isWanted(graph.get(id))))
  const onFolder = notesOnFolder(run.auth)
  const findings: Finding[] = [
    ...[...items, ...nodes].flatMap((each) =>
      isRight(each) ? [] : each.state === 'failed' ? ('failed' as const) : ('stale' as const),
    ),
    // What a run would refuse, or leave to its user.
    ...findingsOf(own.values()).filter((each) => each === 'refused' || each === 'unfinished'),
    ...onFolder.map(() => 'stale' as const),
    ...rotations.flatMap(({ failure }) => failure?.kind ?? []),
  ]
  const found = {
    ...inventory,
    ...waysOut(run, inventory),
    items,
    nodes,
    outcomes: own,
    onFolder,
    rotations,
  }
  if (options.json) for (const line of asJson(found, exitStatus(findings))) print(formatJsonLine(line))
  else if (!options.quiet || findings.length > 0) for (const line of asText(given, found)) print(line)
  return findings
}

/** A rotation is first: it explains much of what follows. */
function asText({ options: { nodes, verbose, quiet } }: CommandRun, found: Status): string[] {
  const { run, outcomes, onFolder, rotations } = found
  const { now } = run
  const isWhole = nodes.length === 0
  const caEnds = isWhole ? adviseOnCa(run) : undefined
  const notices = isWhole ? [...noteOnValidity(run, outcomes), ...noteOnFormerHolders(run)] : []
  const parts = [
    noteOnLoss(run).map(printable),
    rotations.flatMap((each) => [formatUnderWay(each, run), ...formatUses(each)]).map(printable),
    formatStatus({ ...found, now, verbose, quiet }),
    found.items.length + found.nodes.length === 0
      ? [`auth/ has nothing that belongs to ${nodes.join(', ')}: --on-nodes looks there`]
      : [],
    [
      ...[...onFolder, ...notesOnOptions(run.cluster), ...warningsOf(outcomes), ...notices].map(printable),
      ...formatFailures(outcomes),
    ],
    caEnds ? [styleText('bold', formatCaEnds(caEnds, now))] : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

/** Shown before all that is missing: in a running cluster, none of it may be made again. */
function noteOnLoss(run: Run): string[] {
  const { auth } = run
  if (auth.files.pair(caName).some((file) => auth.read(file) !== undefined)) return []
  return [`${auth.path} has no CA; if this cluster runs already, restore it first: ${recoverCommand(run)}`]
}

function asJson({ run, outcomes, items, nodes, onFolder, rotations }: Status, exit: number): object[] {
  const { fresh, stale, failed, endsSoon, first } = fold(items, run.now)
  const counts = { fresh: fresh.length, stale: stale.length, failed: failed.length, endsSoon: endsSoon.length }
  return [
    ...[...noteOnLoss(run), ...onFolder, ...notesOnOptions(run.cluster)].map((message) => ({ type: 'note', message })),
    ...rotations.map(({ sentences: uses, failure, ...rotation }) => ({
      type: 'rotation',
      ...rotation,
      uses,
      message: failure?.message,
    })),
    ...items.map(({ certificate, onNodes, why, ...item }) => ({
      type: 'item',
      ...item,
      notAfter: certificate?.notAfter,
      ...(why && { message: why }),
      warning: warningOf(outcomes.get(item.id)),
      ...(onNodes.size > 0 && { onNodes: Object.fromEntries(onNodes) }),
    })),
    ...nodes.map(({ why, left, holds, ...node }) => ({
      ...{ type: 'node', ...node, message: why },
      ...(left.length > 0 && { left }),
    })),
    { type: 'summary', items: items.length, ...counts, firstEnd: first?.end, exit },
  ]
}
