/** `graph`: draws the graph that a run walks. */
import { usageFailure } from '../../lib/failure.ts'
import { drawBoxes, formatDot, formatMermaid } from '../../lib/graph/diagram.ts'
import { closure } from '../../lib/graph/graph.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { clusterGraph } from '../phases/table.ts'
import { commandOf } from '../request/host.ts'
import type { Finding } from '../request/job.ts'
import { selectNodes } from '../request/selection.ts'
import type { Request } from '../request/session.ts'
import { phaseTitles } from '../tables/phases.ts'

/** Throws a usage Failure for an unknown format. */
export async function graph(request: Request): Promise<readonly Finding[]> {
  const { cluster, options, print } = request
  const all = clusterGraph(cluster)
  const chosen = selectNodes(cluster, [...all.values()], options)
  const wanted = closure(
    all,
    chosen.map(({ id }) => id),
  )
  const targets = [...wanted.values()].map(({ id, phase, node, needs, after = [], makes }) => ({
    id,
    phase,
    node,
    needs,
    after,
    makes,
  }))
  if (options.json) {
    for (const target of targets) print(formatJsonLine({ type: 'target', ...target }))
    return []
  }
  const boxes = drawBoxes(wanted, phaseTitles, !options.verbose)
  const formats = new Map<string, () => string>([
    ['mermaid', () => formatMermaid(boxes)],
    ['dot', () => formatDot(boxes)],
    ['json', () => JSON.stringify({ targets }, undefined, 2)],
  ])
  const format = options.format ?? 'mermaid'
  const draw = formats.get(format)
  if (!draw) {
    // Without -s, npm would print its own lines into the pipe.
    const asPicture = commandOf(request, 'graph --format dot').replace(' run task ', ' run -s task ')
    throw usageFailure(`--format ${format}: graph has ${[...formats.keys()].join(', ')}`, `${asPicture} | dot -Tsvg`)
  }
  print(draw())
  return []
}
