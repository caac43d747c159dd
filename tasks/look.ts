/** A look at every target, as a dry run takes it, for the commands that only show. */
import { execute, type Outcome } from '../lib/executor.ts'
import { closure, type Graph, type TargetId } from '../lib/graph.ts'
import { summarise, viewPhases } from '../lib/reporter.ts'
import type { Workspace } from '../lib/workspace.ts'
import { bootstrapTable, clusterGraph } from './phases.ts'
import { openWorkspace, type Request } from './request.ts'

export interface Seen {
  readonly at: Workspace
  readonly graph: Graph
  readonly outcomes: ReadonlyMap<TargetId, Outcome>
  readonly notes: readonly string[]
}

/** At the nodes too, where that is asked for. */
export async function look(request: Request, onNodes: boolean): Promise<Seen> {
  const { cluster, signal, progress } = request
  const all = clusterGraph(cluster, bootstrapTable)
  const ids = [...all.values()].filter(({ phase }) => onNodes || phase !== 'deploy').map(({ id }) => id)
  const graph = closure(all, ids)
  const reporter = await progress(viewPhases(bootstrapTable.phases, graph))
  const notes: string[] = []
  const { at, limits, close } = openWorkspace(request, (text) => notes.push(text))
  try {
    const { event: emit } = reporter
    const outcomes = await execute(graph, { at, dryRun: true, forced: new Map(), limits, signal, emit })
    await reporter.end(summarise(outcomes, 0, 0))
    return { at, graph, outcomes, notes }
  } finally {
    await close()
  }
}
