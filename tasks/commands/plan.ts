/** A dry run: what a run would do, and why. */
import { closure } from '../../lib/targets/graph.ts'
import { viewPhases } from '../../lib/views/reporter.ts'
import { formerNodes } from '../nodes/former-nodes.ts'
import { clusterGraph, phases } from '../phases.ts'
import { select } from '../request/selection.ts'
import type { Request } from '../request/session.ts'
import type { Finding } from './exit-status.ts'
import { look, tell } from './look.ts'

/** Throws a usage Failure, before anything is told. */
export async function plan(request: Request): Promise<readonly Finding[]> {
  const all = clusterGraph(request.cluster)
  const { ids, forced } = select(request, all)
  const graph = closure(all, ids)
  const seen = await look(request, { graph, views: viewPhases(phases, graph), forced })
  const notes = ids.some((id) => graph.get(id)?.where === 'node') ? formerNodes(seen.at) : []
  return tell(request, seen, { isPlan: true, notes })
}
