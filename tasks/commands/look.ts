/** A look at the targets, as a dry run takes it, for the commands that only show. */
import { execute, type Outcome } from '../../lib/targets/executor.ts'
import { closure, type Graph } from '../../lib/targets/graph.ts'
import type { TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { summarise, viewPhases } from '../../lib/views/reporter.ts'
import { bootstrapTable, clusterGraph } from '../phases.ts'
import { checkConfigFile, openWorkspace, type Request } from '../request/session.ts'

export interface Seen {
  readonly at: Workspace
  readonly graph: Graph
  readonly outcomes: ReadonlyMap<TargetId, Outcome>
}

/** At all of auth/; and, where that is asked for, at the nodes, or at those of --node. */
export async function look(request: Request, onNodes: boolean): Promise<Seen> {
  const { cluster, signal, progressFor, options } = request
  const all = clusterGraph(cluster, bootstrapTable)
  const isWanted = (node = '') => onNodes && (options.nodes.length === 0 || options.nodes.includes(node))
  const ids = [...all.values()].filter(({ where, node }) => where !== 'node' || isWanted(node)).map(({ id }) => id)
  const graph = closure(all, ids)
  checkConfigFile(request, graph)
  const reporter = await progressFor(viewPhases(bootstrapTable.phases, graph))
  const { at, limits, close } = openWorkspace(request, reporter.note)
  try {
    const { event: emit } = reporter
    const outcomes = await execute(graph, { at, dryRun: true, forced: new Map(), limits, signal, emit })
    await reporter.end(summarise(outcomes, 0, 0))
    return { at, graph, outcomes }
  } finally {
    await close()
  }
}
