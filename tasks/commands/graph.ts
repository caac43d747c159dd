/** `graph`: draws the graph that a run walks. */
import { closure } from '../../lib/graph/target.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { phases, phaseTitles } from '../bootstrap.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/host.ts'
import { selectNodes } from '../run/options.ts'
import { type ClusterTarget, clusterGraph } from '../target.ts'

export async function graph(run: CommandRun): Promise<readonly ExitCause[]> {
  const { cluster, options, print } = run
  const all = await clusterGraph(phases, cluster)
  const chosen = selectNodes(run, [...all.values()]).map(({ id }) => id)
  const targets = [...closure(all, chosen).values()]
  if (options.json)
    for (const { id, phase, node, needs, makes } of targets)
      print(formatJsonLine({ type: 'target', id, phase, node, needs, makes }))
  else print(formatMermaid(targets, options.verbose))
  return []
}

/** A box for each phase, or for each target: https://mermaid.js.org/syntax/flowchart.html */
function formatMermaid(targets: readonly ClusterTarget[], isWhole: boolean): string {
  const boxOf = ({ id, phase }: ClusterTarget) => (isWhole ? id : phase)
  const boxes = new Map(targets.map((target) => [target.id, boxOf(target)]))
  const word = (box: string) => box.replaceAll(/\W/g, '_')
  const needs = targets.flatMap((target) =>
    target.needs.flatMap((id) => {
      const need = boxes.get(id)
      return need === undefined || need === boxOf(target) ? [] : `  ${word(need)} --> ${word(boxOf(target))}`
    }),
  )
  const kept = targets.flatMap((target) => (target.irreplaceable ? word(boxOf(target)) : []))
  return [
    'flowchart LR',
    ...[...new Set(boxes.values())].map((box) => `  ${word(box)}["${phaseTitles.get(box) ?? box}"]`),
    ...new Set(needs),
    '  classDef irreplaceable stroke-width:3px',
    `  class ${[...new Set(kept)].join(',')} irreplaceable`,
  ].join('\n')
}
