/** `graph`: what is made of what, for the cluster.yaml in use: a picture of the graph that a run walks. */
import { drawBoxes, formatDot, formatGraphJson, formatMermaid } from '../lib/diagram.ts'
import { usageFailure } from '../lib/failure.ts'
import { closure } from '../lib/graph.ts'
import { bootstrapTable, clusterGraph, phases } from './phases.ts'
import type { Request } from './request.ts'
import { select } from './selection.ts'

/** The exit status. Throws a usage Failure for a format that there is not. */
export async function graph({ cluster, options, print }: Request): Promise<number> {
  const all = clusterGraph(cluster, bootstrapTable)
  const { ids } = select(all, bootstrapTable, { ...options, names: ['bootstrap'] })
  const targets = closure(all, ids)
  const format = options.format ?? (options.json ? 'json' : 'mermaid')
  const titles = new Map(phases.map(({ name, title }) => [name, title]))
  const boxes = drawBoxes(targets, titles, !options.verbose)
  switch (format) {
    case 'mermaid':
      print(formatMermaid(boxes))
      return 0
    case 'dot':
      print(formatDot(boxes))
      return 0
    case 'svg':
      print(await drawSvg(formatDot(boxes)))
      return 0
    case 'json':
      print(formatGraphJson(targets))
      return 0
    default:
      throw usageFailure(`--format ${format}: graph knows mermaid, dot, svg and json`)
  }
}

/** Light or dark as the page that shows it. */
const style = `<style>@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } g.node path, g.edge path { stroke: #9da7b3 }
g.edge polygon { fill: #9da7b3; stroke: #9da7b3 } }</style>`

async function drawSvg(dot: string): Promise<string> {
  const { Graphviz } = await import('@hpcc-js/wasm-graphviz')
  const svg = (await Graphviz.load()).dot(dot)
  return svg.slice(svg.indexOf('<svg')).replace('>', `>${style}`)
}
