/** A read-only walk over targets: `status`, `verify`, `report` and a dry run show its outcomes. */
import { execute } from '../../lib/graph/executor.ts'
import { buildGraph, closure, type Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Event, Force, Outcome } from '../../lib/graph/target.ts'
import type { CaAdvice } from '../../lib/show/advice.ts'
import { areChecks, type PhaseView, viewPhases } from '../../lib/show/phase-view.ts'
import { summarise } from '../../lib/show/summary.ts'
import { clusterGraph } from '../phases/table.ts'
import { phases } from '../tables/phases.ts'
import type { CommandRun } from './command-run.ts'
import { exitStatus, type Finding, findingsOf } from './job.ts'

export interface Scope {
  readonly graph: Graph
  /** As progress shows them. */
  readonly views: readonly PhaseView[]
  readonly forced?: ReadonlyMap<string, Force>
  /** For a plan. */
  readonly foresees?: boolean
}

export interface Seen {
  readonly run: Run
  readonly graph: Graph
  readonly outcomes: ReadonlyMap<string, Outcome>
  readonly views: readonly PhaseView[]
  /** In the order in which they happened. */
  readonly events: readonly Event[]
  readonly seconds: number
}

/** All of auth/; with --on-nodes the nodes too, or those of --node. */
export function wholeCluster({ cluster, options: { onNodes, nodes } }: CommandRun): Scope {
  // Targets that a run would not reach are read too.
  const all = buildGraph([...clusterGraph(cluster).values()].map((target) => ({ ...target, after: [] })))
  const isWanted = (node = '') => onNodes && (nodes.length === 0 || nodes.includes(node))
  const ids = [...all.values()].filter(({ where, node }) => where !== 'node' || isWanted(node)).map(({ id }) => id)
  const graph = closure(all, ids)
  return { graph, views: viewPhases(phases, graph) }
}

export async function look(
  given: CommandRun,
  { graph, views, forced = new Map(), foresees = false }: Scope,
): Promise<Seen> {
  const { limits, signal } = given
  const started = performance.now()
  const reporter = await given.progressFor(views)
  const run = { ...given, note: reporter.note }
  const events: Event[] = []
  const emit = (event: Event) => {
    events.push(event)
    reporter.event(event)
  }
  const outcomes = await execute(graph, { run, dryRun: true, foresees, forced, limits, signal, emit })
  await reporter.end(summarise(outcomes, 0, 0))
  return { run, graph, outcomes, views, events, seconds: (performance.now() - started) / 1000 }
}

interface Telling {
  readonly isPlan: boolean
  readonly notes?: readonly string[]
  readonly toDo?: readonly string[]
  readonly caEnds?: CaAdvice | undefined
  readonly planHash?: string | undefined
}

/** Shows the events and the end as a run would. Returns the findings. */
export async function showLook(
  { reporterFor, endedStatus }: CommandRun,
  { run, views, events, outcomes, seconds }: Seen,
  { isPlan, notes = [], toDo = [], caEnds, planHash }: Telling,
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
    now: run.now,
    planHash,
    areChecks: views.length > 0 && views.every(areChecks),
  }
  await reporter.end(summarise(outcomes, seconds, exitStatus(findings, endedStatus()), closing))
  return findings
}
