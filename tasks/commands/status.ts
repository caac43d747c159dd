/** `status`: everything that was made, and whether it is still right: a table for people, lines of JSON, an exit status for cron. */
import { styleText } from 'node:util'
import { caName } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target } from '../../lib/graph/target.ts'
import { formatCaAdvice } from '../../lib/show/advice.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatFailures, warningsOf } from '../../lib/show/reporter.ts'
import { printable } from '../../lib/wording.ts'
import { recoverCommand } from '../nodes/fetch-command.ts'
import { adviseOnCa, noteOnValidity } from '../request/expiry.ts'
import { formatFormer, formerHolders } from '../request/former-holders.ts'
import {
  fold,
  type Item,
  isOurs,
  isRight,
  type NodeItem,
  takeInventory,
  takeNodeInventory,
  waysOut,
} from '../request/inventory.ts'
import { exitStatus, type Finding, type Reading } from '../request/job.ts'
import { look, type Seen, wholeCluster } from '../request/observe.ts'
import { checkNodes } from '../request/selection.ts'
import type { Request, Session } from '../request/session.ts'
import { notesOnFolder, notesOnOptions } from '../request/walk.ts'
import type { UnderWay, Uses } from '../rotations/rotation.ts'
import { formatUnderWay, formatUses, rotationsUnderWay } from '../rotations/under-way.ts'
import { formatStatus } from './status-table.ts'

/** Throws a usage Failure for a node that cluster.yaml does not have. */
export function status(request: Request): Reading {
  checkNodes(request.cluster, request.options.nodes)
  const scope = wholeCluster(request)
  return {
    graph: scope.graph,
    read: async (session) => {
      const seen = await look(session, scope)
      const rotations = await findRotations(session)
      return () => show(request, seen, rotations)
    },
  }
}

/** Returns `stale` for what differs from cluster.yaml or expires soon, `failed` for what could not be inspected. */
async function show(request: Request, seen: Seen, rotations: readonly Rotating[]): Promise<readonly Finding[]> {
  const { options, signal, print } = request
  if (signal.aborted) return []
  const inventory = takeInventory(seen)
  const items = inventory.filter(({ node }) => isWanted(request, node))
  const nodes = takeNodeInventory(seen).filter(({ node }) => isWanted(request, node))
  const onFolder = notesOnFolder(seen.run.auth)
  const wrong = [...fold(items, seen.run.now).wrong, ...nodes.filter((node) => !isRight(node))]
  const findings: Finding[] = [
    ...wrong.map(({ state }) => (state === 'failed' ? 'failed' : 'stale')),
    ...onFolder.map(() => 'stale' as const),
    ...rotations.flatMap(({ uses }) => uses.failure?.kind ?? []),
  ]
  const found = { items, nodes, onFolder, rotations, ways: waysOut(seen.run, inventory) }
  if (options.json) for (const line of asJson(seen, found, exitStatus(findings))) print(formatJsonLine(line))
  else if (!options.quiet || findings.length > 0) for (const line of asText(request, seen, found)) print(line)
  return findings
}

function isWanted({ options: { nodes } }: Request, node: string | undefined): boolean {
  return nodes.length === 0 || (node !== undefined && nodes.includes(node))
}

interface Rotating {
  readonly rotation: UnderWay
  /** Who still uses what is rotated. */
  readonly uses: Uses
}

async function findRotations(session: Session): Promise<Rotating[]> {
  const found: Rotating[] = []
  for (const rotation of await rotationsUnderWay(session.run))
    found.push({ rotation, uses: await usesOf(session, rotation) })
  return found
}

/** The nodes are queried only with --on-nodes. */
async function usesOf({ run, cluster, options, signal }: Session, rotation: UnderWay): Promise<Uses> {
  if (!options.onNodes || !cluster.install) return { sentences: [] }
  const { findUses } = await import('../rotations/table.ts')
  return findUses({ run, install: cluster.install, signal, isForced: false }, rotation)
}

interface Found {
  readonly items: readonly Item[]
  readonly nodes: readonly NodeItem[]
  readonly onFolder: readonly string[]
  readonly rotations: readonly Rotating[]
  readonly ways: ReturnType<typeof waysOut>
}

/** A rotation is first: it explains much of what follows. */
function asText(request: Request, { run, graph, outcomes }: Seen, found: Found): string[] {
  const { options } = request
  const { items, nodes, onFolder, rotations, ways } = found
  const { now } = run
  const shown = options.quiet
    ? { items: items.filter((item) => isOurs(item) && !isRight(item)), nodes: nodes.filter((node) => !isRight(node)) }
    : { items, nodes }
  const isShown = (target?: Target) => target && isWanted(request, target.node) && (!options.quiet || isOurs(target))
  const own = new Map([...outcomes].filter(([id]) => isShown(graph.get(id))))
  const isWhole = options.nodes.length === 0
  const former = isWhole ? formerHolders(run) : []
  const caEnds = isWhole ? adviseOnCa(run) : undefined
  const parts = [
    noteOnLoss(run).map(printable),
    rotations.flatMap(({ rotation, uses }) => [formatUnderWay(rotation, run), ...formatUses(uses)]).map(printable),
    formatStatus({ ...shown, counted: { items, nodes }, ...ways, now, verbose: options.verbose }),
    items.length + nodes.length === 0
      ? [`auth/ has nothing that belongs to ${options.nodes.join(', ')}: --on-nodes looks there`]
      : [],
    [
      ...[
        ...onFolder,
        ...notesOnOptions(run.cluster),
        ...(isWhole ? noteOnValidity(run, own) : []),
        ...warningsOf(own),
        ...former.map(formatFormer),
      ].map(printable),
      ...formatFailures(own),
    ],
    caEnds ? [styleText('bold', formatCaAdvice(caEnds, now))] : [],
  ]
  return parts.filter((part) => part.length > 0).flatMap((part, i) => (i === 0 ? part : ['', ...part]))
}

/** Shown before all that is missing: in a running cluster, none of it may be made again. */
function noteOnLoss(run: Run): string[] {
  const { auth } = run
  if (auth.files.pair(caName).some((file) => auth.read(file) !== undefined)) return []
  return [`${auth.path} has no CA; if this cluster runs already, restore it first: ${recoverCommand(run)}`]
}

function asJson({ run }: Seen, { items, nodes, onFolder, rotations }: Found, exit: number): object[] {
  const { ours, fresh, stale, failed, endsSoon, first } = fold(items, run.now)
  const counts = { fresh: fresh.length, stale: stale.length, failed: failed.length, endsSoon: endsSoon.length }
  return [
    ...[...noteOnLoss(run), ...onFolder, ...notesOnOptions(run.cluster)].map((message) => ({ type: 'note', message })),
    ...rotations.map(({ rotation, uses: { sentences, failure } }) => ({
      type: 'rotation',
      ...rotation,
      uses: sentences,
      message: failure?.message,
    })),
    ...items.map(({ certificate, onNodes, why, ...item }) => ({
      type: 'item',
      ...item,
      notAfter: certificate?.notAfter,
      ...(why && { message: why }),
      ...(onNodes.size > 0 && { onNodes: Object.fromEntries(onNodes) }),
    })),
    ...nodes.map(({ why, ...node }) => ({ type: 'node', ...node, message: why })),
    { type: 'summary', items: ours.length, ...counts, firstEnd: first?.end, exit },
  ]
}
