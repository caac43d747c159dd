/** `graph`: what is made of what, for the cluster.yaml in use: a picture of the graph that a run walks. */

import { usageFailure } from '../../lib/failure.ts'
import { closure } from '../../lib/targets/graph.ts'
import { drawBoxes, formatDot, formatMermaid } from '../../lib/views/diagram.ts'
import { formatJsonLine } from '../../lib/views/json-lines.ts'
import { bootstrapTable, clusterGraph, phaseTitles } from '../phases.ts'
import { select } from '../request/selection.ts'
import { formatCommand, type Request } from '../request/session.ts'

/** The exit status. Throws a usage Failure for a format that there is not. */
export async function graph({ cluster, options, print }: Request): Promise<number> {
  const all = clusterGraph(cluster, bootstrapTable)
  const { ids } = select(cluster, all, bootstrapTable, { ...options, names: ['bootstrap'] })
  const wanted = closure(all, ids)
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
    return 0
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
    // Without -s, npm's own lines would go into the pipe.
    const asPicture = formatCommand('graph --format dot', options).replace('npm run', 'npm run -s')
    throw usageFailure(`--format ${format}: graph knows ${[...formats.keys()].join(', ')}`, `${asPicture} | dot -Tsvg`)
  }
  print(draw())
  return 0
}
