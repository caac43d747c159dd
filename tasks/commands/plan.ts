/** A dry run: what a run would do, and why. */
import { closure } from '../../lib/targets/graph.ts'
import { viewPhases } from '../../lib/views/reporter.ts'
import type { Finding } from '../looks/exit-status.ts'
import { formerHolders } from '../looks/former-holders.ts'
import { look, tell } from '../looks/look.ts'
import { clusterGraph, phases } from '../phases/table.ts'
import { select } from '../request/selection.ts'
import type { Request } from '../request/session.ts'

/** Throws a usage Failure before anything is printed. */
export async function plan(request: Request): Promise<readonly Finding[]> {
  const all = clusterGraph(request.cluster)
  const { ids, forced } = select(request, all)
  const graph = closure(all, ids)
  const seen = await look(request, { graph, views: viewPhases(phases, graph), forced })
  const notes = ids.some((id) => graph.get(id)?.where === 'node') ? formerHolders(seen.workspace) : []
  return tell(request, seen, { isPlan: true, notes })
}
