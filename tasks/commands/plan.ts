/** A dry run: what a run would do, and why. */
import type { Failure } from '../../lib/failure.ts'
import { closure, type Graph } from '../../lib/targets/graph.ts'
import { type Force, nameInPhase, type TargetId } from '../../lib/targets/target.ts'
import { type PhaseView, viewPhases } from '../../lib/views/phase-view.ts'
import { type Follows, summarise } from '../../lib/views/summary.ts'
import { exitStatus, type Finding } from '../looks/exit-status.ts'
import { formerHolders } from '../looks/former-holders.ts'
import { look, tell } from '../looks/look.ts'
import { findOtherCluster } from '../nodes/other-cluster.ts'
import { clusterGraph, groups, phases } from '../phases/table.ts'
import { commandOf } from '../request/command.ts'
import { select } from '../request/selection.ts'
import { checkConfigFile, openWorkspace, type Request } from '../request/session.ts'

/** Throws a usage Failure before anything is printed. */
export async function plan(request: Request): Promise<readonly Finding[]> {
  const all = clusterGraph(request.cluster)
  const { ids, forced } = select(request, all)
  const graph = closure(all, ids)
  const views = viewPhases(phases, graph)
  const refusals = await askNodes(request, graph)
  if (refusals.length > 0) return refuse(request, views, refusals)
  const seen = await look(request, { graph, views, forced, foresees: true })
  const former = ids.some((id) => graph.get(id)?.where === 'node') ? formerHolders(seen.workspace) : []
  const notes = [...former, ...otherWays(request, graph, forced)]
  return tell(request, seen, { isPlan: true, notes, follows: whatFollows(request, all, graph, forced) })
}

/** What is to be replaced can be rotated. */
function otherWays(request: Request, graph: Graph, forced: ReadonlyMap<TargetId, Force>): string[] {
  const replaced = [...forced].flatMap(([id, force]) => (force === 'replace' ? (graph.get(id) ?? []) : []))
  return replaced.map((target) => {
    const name = nameInPhase(target)
    return `what was made under the present ${name} is worthless then; without an outage: ${commandOf(request, `rotate ${name}`)}`
  })
}

/** All that is made of what is replaced, directly or not, and that this run does not make. */
function whatFollows(
  request: Request,
  all: Graph,
  graph: Graph,
  forced: ReadonlyMap<TargetId, Force>,
): Follows | undefined {
  const givenUp = [...forced].flatMap(([id, force]) => (force === 'replace' || force === 'renew' ? [id] : []))
  if (givenUp.length === 0) return undefined
  const isReplaced = [...forced.values()].includes('replace')
  const reached = new Set(givenUp)
  // A graph is in order: what a target needs stands before it. What a renewed CA has issued stays as it is.
  const rest = [...all.values()].filter(({ id, phase, needs }) => {
    const isReached = needs.some((need) => reached.has(need)) && (isReplaced || !groups.certs?.includes(phase))
    if (isReached) reached.add(id)
    return isReached && !graph.has(id)
  })
  if (rest.length === 0) return undefined
  const reads = [...reached].flatMap((id) => all.get(id)?.restarts ?? [])
  return {
    command: commandOf(request, isReplaced ? 'bootstrap --replace-identity' : 'bootstrap'),
    phases: viewPhases(phases, new Map(rest.map((target) => [target.id, target]))),
    restarts: [...new Set(reads)],
    areYours: request.cluster.install === false,
  }
}

/** By connections of its own: what a look finds is not known before it. */
async function askNodes(request: Request, graph: Graph): Promise<[TargetId, Failure][]> {
  checkConfigFile(request, graph)
  const { workspace, limits, close } = openWorkspace(request, () => {})
  try {
    return await findOtherCluster(workspace, graph, limits.node)
  } finally {
    await close()
  }
}

/** The run would make nothing: there is no plan. */
async function refuse(
  { reporterFor, endedStatus }: Request,
  views: readonly PhaseView[],
  refusals: readonly [TargetId, Failure][],
): Promise<readonly Finding[]> {
  const reporter = await reporterFor(views, true)
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  await reporter.end(summarise(new Map(), 0, exitStatus(['refused'], endedStatus())))
  return ['refused']
}
