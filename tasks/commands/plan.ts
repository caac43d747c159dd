/** A dry run: what a run would do, and why. */
import type { Failure } from '../../lib/failure.ts'
import { parseFileName } from '../../lib/files/names.ts'
import { closure, type Graph } from '../../lib/graph/graph.ts'
import { type Force, nameInPhase, type Target, type TargetId } from '../../lib/graph/target.ts'
import { endsSoon, type Workspace } from '../../lib/graph/workspace.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { type PhaseView, viewPhases } from '../../lib/show/phase-view.ts'
import { type Follows, summarise } from '../../lib/show/summary.ts'
import { exitStatus, type Finding } from '../looks/exit-status.ts'
import { formerHoldersNote } from '../looks/former-holders.ts'
import { look, type Seen, tell } from '../looks/look.ts'
import { notesOnAddresses, notesOnFolder } from '../looks/walk.ts'
import { findOtherCluster } from '../nodes/other-cluster.ts'
import { clusterGraph } from '../phases/table.ts'
import { commandOf } from '../request/command.ts'
import { select } from '../request/selection.ts'
import { checkConfigFile, openWorkspace, type Request } from '../request/session.ts'
import { groups, phases } from '../tables/phases.ts'

/** Throws a usage Failure before anything is printed. */
export async function plan(request: Request): Promise<readonly Finding[]> {
  const all = clusterGraph(request.cluster)
  const { ids, forced } = select(request, all)
  const graph = closure(all, ids)
  const views = viewPhases(phases, graph)
  const refusals = await askNodes(request, graph)
  if (refusals.length > 0) return refuse(request, views, refusals)
  const seen = await look(request, { graph, views, forced, foresees: true })
  const onNodes = ids.some((id) => graph.get(id)?.where === 'node')
    ? [...notesOnAddresses(request.cluster), ...formerHoldersNote(seen.workspace)]
    : []
  const notes = [...notesOnFolder(seen.workspace.auth), ...onNodes, ...otherWays(request, graph, forced)]
  return tell(request, seen, { isPlan: true, notes, follows: whatFollows(request, seen, all, forced) })
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
  { workspace, graph }: Seen,
  all: Graph,
  forced: ReadonlyMap<TargetId, Force>,
): Follows | undefined {
  const givenUp = [...forced].flatMap(([id, force]) => (force === 'replace' || force === 'renew' ? [id] : []))
  if (givenUp.length === 0) return undefined
  const isReplaced = [...forced.values()].includes('replace')
  const reached = new Set(givenUp)
  // What a renewed CA has issued stays as it is, unless it was to end with it.
  const isMadeAnew = (target: Target) =>
    isReplaced || !groups.certs?.includes(target.phase) || expiresSoon(workspace, target)
  // A graph is in order: what a target needs stands before it.
  const rest = [...all.values()].filter((target) => {
    const isReached = target.needs.some((need) => reached.has(need)) && isMadeAnew(target)
    if (isReached) reached.add(target.id)
    return isReached && !graph.has(target.id)
  })
  if (rest.length === 0) return undefined
  const reads = [...reached].flatMap((id) => all.get(id)?.restarts ?? [])
  const present = new Set([...all.values()].flatMap(({ units = [] }) => units))
  return {
    command: commandOf(request, isReplaced ? 'bootstrap --replace-identity' : 'bootstrap'),
    phases: viewPhases(phases, new Map(rest.map((target) => [target.id, target]))),
    restarts: [...new Set(reads)].filter((unit) => present.has(unit)),
    areYours: request.cluster.install === false,
  }
}

function expiresSoon(workspace: Workspace, { makes: [file = ''] }: Target): boolean {
  const made = tryCertificate(workspace.auth, parseFileName(file)?.name ?? '')
  return made !== undefined && endsSoon(workspace, made.notAfter)
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
