/** `graph`: draws the graph that a run walks. */
import { drawBoxes, formatDot, formatMermaid } from '../../lib/graph/diagram.ts'
import { closure } from '../../lib/graph/graph.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { clusterGraph } from '../phases/table.ts'
import type { CommandRun } from '../request/command-run.ts'
import type { Finding } from '../request/job.ts'
import { usage } from '../request/options.ts'
import { selectNodes } from '../request/selection.ts'
import { phaseTitles } from '../tables/phases.ts'

/** Throws a usage Failure for an unknown format. */
export async function graph(run: CommandRun): Promise<readonly Finding[]> {
  const { cluster, options, print } = run
  const all = clusterGraph(cluster)
  const chosen = selectNodes(run, [...all.values()]).map(({ id }) => id)
  const wanted = closure(all, chosen)
  if (options.json) {
    for (const { id, phase, node, needs, after = [], makes } of wanted.values())
      print(formatJsonLine({ type: 'target', id, phase, node, needs, after, makes }))
    return []
  }
  const boxes = drawBoxes(wanted, phaseTitles, !options.verbose)
  const { format = 'mermaid' } = options
  if (format === 'mermaid') print(formatMermaid(boxes))
  else if (format === 'dot') print(formatDot(boxes))
  else throw usage(`--format ${format}: graph has mermaid, dot`, 'graph')
  return []
}
