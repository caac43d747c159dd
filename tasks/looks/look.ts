/** A read-only walk over targets: `status`, `verify`, `report` and a dry run show its outcomes. */
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { execute, type Outcome, type RunEvent } from '../../lib/graph/executor.ts'
import { buildGraph, closure, type Graph } from '../../lib/graph/graph.ts'
import type { Force, TargetId } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import type { CaAdvice } from '../../lib/show/advice.ts'
import { areChecks, type PhaseView, viewPhases } from '../../lib/show/phase-view.ts'
import { type Follows, summarise } from '../../lib/show/summary.ts'
import { clusterGraph } from '../phases/table.ts'
import { checkConfigFile, openWorkspace, type Request, readUnlocked } from '../request/session.ts'
import { phases } from '../tables/phases.ts'
import { exitStatus, type Finding, findingsOf } from './exit-status.ts'

export interface Asked {
  readonly graph: Graph
  /** As progress shows them. */
  readonly views: readonly PhaseView[]
  readonly forced?: ReadonlyMap<TargetId, Force>
  /** For a plan. */
  readonly foresees?: boolean
}

export interface Seen {
  readonly workspace: Workspace
  readonly graph: Graph
  readonly outcomes: ReadonlyMap<TargetId, Outcome>
  readonly views: readonly PhaseView[]
  /** In the order in which they happened. */
  readonly events: readonly RunEvent[]
  readonly seconds: number
}

/** All of auth/; with --on-nodes the nodes too, or those of --node. */
export function wholeCluster({ cluster, options: { onNodes, nodes } }: Request): Asked {
  // What a run would not have reached is looked at all the same.
  const all = buildGraph([...clusterGraph(cluster).values()].map((target) => ({ ...target, after: [] })))
  const isWanted = (node = '') => onNodes && (nodes.length === 0 || nodes.includes(node))
  const ids = [...all.values()].filter(({ where, node }) => where !== 'node' || isWanted(node)).map(({ id }) => id)
  const graph = closure(all, ids)
  return { graph, views: viewPhases(phases, graph) }
}

/** Reads auth/ while no run holds it; repeated if a run began meanwhile. */
export async function look(request: Request, asked: Asked): Promise<Seen> {
  checkConfigFile(request, asked.graph)
  return readUnlocked(request, () => lookOnce(request, asked))
}

/** For the holder of the lock on auth/, which passes its own AuthDir. */
export async function lookOnce(request: Request, asked: Asked, held?: AuthDir): Promise<Seen> {
  const { graph, views, forced = new Map(), foresees = false } = asked
  const { signal, progressFor } = request
  const started = performance.now()
  const reporter = await progressFor(views)
  const { workspace, limits, close } = openWorkspace(request, reporter.note, held)
  const events: RunEvent[] = []
  const emit = (event: RunEvent) => {
    events.push(event)
    reporter.event(event)
  }
  try {
    const outcomes = await execute(graph, { workspace, dryRun: true, foresees, forced, limits, signal, emit })
    await reporter.end(summarise(outcomes, 0, 0))
    return { workspace, graph, outcomes, views, events, seconds: (performance.now() - started) / 1000 }
  } finally {
    await close()
  }
}

interface Telling {
  readonly isPlan: boolean
  readonly notes?: readonly string[]
  readonly follows?: Follows | undefined
  readonly toDo?: readonly string[]
  readonly caEnds?: CaAdvice | undefined
}

/** Told as a run is, once it is certain; what was found. */
export async function tell(
  { reporterFor, endedStatus }: Request,
  { workspace, views, events, outcomes, seconds }: Seen,
  { isPlan, notes = [], follows, toDo = [], caEnds }: Telling,
): Promise<readonly Finding[]> {
  const findings = [...findingsOf(outcomes.values()), ...(caEnds ? ['stale' as const] : [])]
  const reporter = await reporterFor(views, isPlan)
  for (const event of events) reporter.event(event)
  for (const note of notes) reporter.note(note)
  const closing = {
    advice: [],
    toDo,
    nextToExpire: undefined,
    caEnds,
    now: workspace.now,
    follows,
    areChecks: views.length > 0 && views.every(areChecks),
  }
  await reporter.end(summarise(outcomes, seconds, exitStatus(findings, endedStatus()), closing))
  return findings
}
