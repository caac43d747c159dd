/** `verify`: every handshake of the cluster is tried between the files in auth/, in memory. */
import { buildGraph } from '../../../lib/targets/graph.ts'
import { viewPhases } from '../../../lib/views/phase-view.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { look, tell } from '../../looks/look.ts'
import { commandOf } from '../../request/command.ts'
import { selectNodes } from '../../request/selection.ts'
import type { Request } from '../../request/session.ts'
import { arrowKinds, arrowTargets } from './arrow-targets.ts'

/** Throws a usage Failure for a node that has no part in it. */
export async function verify(request: Request): Promise<readonly Finding[]> {
  const { cluster, options } = request
  const graph = buildGraph(selectNodes(cluster, arrowTargets(cluster), options))
  const seen = await look(request, { graph, views: viewPhases(arrowKinds, graph) })
  const isAllRight = [...seen.outcomes.values()].every(({ kind }) => kind === 'fresh' || kind === 'cancelled')
  const toDo = isAllRight ? [] : [`${commandOf(request, 'status')}: what is wrong with a file, and what mends it`]
  return tell(request, seen, { isPlan: false, toDo })
}
