/** `graph`: what is made of what, for the cluster.yaml in use: a picture of the graph that a run walks. */

import { usageFailure } from '../../lib/failure.ts'
import { closure } from '../../lib/targets/graph.ts'
import { drawBoxes, formatDot, formatMermaid } from '../../lib/views/diagram.ts'
import { formatJsonLine } from '../../lib/views/json-lines.ts'
import { bootstrapTable, clusterGraph, phaseTitles } from '../phases.ts'
import { select } from '../request/selection.ts'
import type { Request } from '../request/session.ts'

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
  const formats = new Map<string, () => string | Promise<string>>([
    ['mermaid', () => formatMermaid(boxes)],
    ['dot', () => formatDot(boxes)],
    ['svg', () => drawSvg(formatDot(boxes))],
    ['json', () => JSON.stringify({ targets }, undefined, 2)],
  ])
  const format = options.format ?? 'mermaid'
  const draw = formats.get(format)
  if (!draw) throw usageFailure(`--format ${format}: graph knows ${[...formats.keys()].join(', ')}`)
  print(await draw())
  return 0
}

/** Light or dark as the page that shows it. */
const style = `<style>@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } g.node path, g.edge path { stroke: #9da7b3 }
g.edge polygon { fill: #9da7b3; stroke: #9da7b3 } }</style>`

async function drawSvg(dot: string): Promise<string> {
  const { Graphviz } = await import('@hpcc-js/wasm-graphviz')
  const svg = (await Graphviz.load()).dot(dot)
  return svg.slice(svg.indexOf('<svg')).replace('>', `>${style}`)
}
