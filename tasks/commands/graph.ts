/** `graph`: draws the graph that a run walks. */
import { closure, nameInPhase } from '../../lib/graph/target.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { phases, phaseTitles } from '../bootstrap.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { usage } from '../run/options.ts'
import { selectNodes } from '../run/selection.ts'
import { type ClusterGraph, type ClusterTarget, clusterGraph } from '../target.ts'

/** Throws a usage Failure for an unknown format. */
export async function graph(run: CommandRun): Promise<readonly ExitCause[]> {
  const { cluster, options, print } = run
  const all = await clusterGraph(phases, cluster)
  const chosen = selectNodes(run, [...all.values()]).map(({ id }) => id)
  const wanted = closure(all, chosen)
  if (options.json) {
    for (const { id, phase, node, needs, makes } of wanted.values())
      print(formatJsonLine({ type: 'target', id, phase, node, needs, makes }))
    return []
  }
  const boxes = drawBoxes(wanted, phaseTitles, !options.verbose)
  const { format = 'mermaid' } = options
  const draw = formats.get(format)
  if (!draw) throw usage(`--format ${format}: expected ${[...formats.keys()].join(' or ')}`, 'graph')
  print(draw(boxes))
  return []
}

/** Targets of one phase with needs of the same kinds are drawn as one box if there are more than this. */
const mostAlike = 2

type Box = ReturnType<typeof drawBoxes>[number]

export function drawBoxes(graph: ClusterGraph, titles: ReadonlyMap<string, string>, fold: boolean) {
  const kinds = kindsOf(graph)
  const groups = groupAlike(graph.values(), ({ id }) => kinds.get(id)).flatMap(
    (group): [ClusterTarget, ...ClusterTarget[]][] =>
      fold && group.length > mostAlike ? [group] : group.map((target) => [target]),
  )
  const boxOf = new Map(groups.flatMap((group) => group.map(({ id }) => [id, idOf(group)])))
  const needsOf = (group: readonly ClusterTarget[]) =>
    new Set(group.flatMap(({ needs }) => needs.flatMap((id) => boxOf.get(id) ?? [])))
  const needs = new Map(groups.map((group) => [idOf(group), needsOf(group)]))
  return groups.map((group) => ({
    id: idOf(group),
    title: titles.get(group[0].phase) ?? '',
    // None if the phase has one target.
    names: group.filter(({ id, phase }) => id !== phase).map(nameInPhase),
    isIrreplaceable: group.some(({ irreplaceable }) => irreplaceable),
    needs: withoutImplied(needs, idOf(group)),
  }))
}

function idOf([first]: readonly [ClusterTarget, ...ClusterTarget[]]): string {
  return first.id.replace(/\W/g, '_')
}

/** Targets are of one kind if they are in one phase, are equally irreplaceable, and need the same kinds. */
function kindsOf(graph: ClusterGraph): Map<string, string> {
  const kinds = new Map<string, string>()
  const numbers = new Map<string, string>()
  for (const { id, phase, needs, irreplaceable = '' } of graph.values()) {
    const description = [phase, irreplaceable, ...new Set(needs.map((need) => kinds.get(need)).sort())].join(' ')
    const number = numbers.get(description) ?? `${phase}#${numbers.size}`
    numbers.set(description, number)
    kinds.set(id, number)
  }
  return kinds
}

/** The transitive reduction of its needs: the boxes that it needs, without those that another of them needs. */
function withoutImplied(needs: ReadonlyMap<string, ReadonlySet<string>>, id: string): string[] {
  const direct = [...(needs.get(id) ?? [])]
  const implied = new Set<string>()
  const imply = (need: string) => {
    for (const further of needs.get(need) ?? [])
      if (!implied.has(further)) {
        implied.add(further)
        imply(further)
      }
  }
  for (const need of direct) imply(need)
  return direct.filter((need) => !implied.has(need))
}

/** https://mermaid.js.org/syntax/flowchart.html */
function formatMermaid(boxes: readonly Box[]): string {
  return [
    'flowchart LR',
    ...boxes.map(({ id, title, names }) => `  ${id}["${[title, formatNames(names)].filter(Boolean).join('<br>')}"]`),
    ...boxes.flatMap(({ id, needs }) => needs.map((need) => `  ${need} --> ${id}`)),
    '  classDef irreplaceable stroke-width:3px',
    `  class ${boxes.flatMap(({ id, isIrreplaceable }) => (isIrreplaceable ? [id] : [])).join(',')} irreplaceable`,
  ].join('\n')
}

/** https://graphviz.org/doc/info/lang.html */
function formatDot(boxes: readonly Box[]): string {
  return [
    'digraph harderway {',
    '  graph [rankdir=LR, bgcolor=transparent, fontname="sans-serif"]',
    '  node [shape=box, style=rounded, fontname="sans-serif", fontsize=11]',
    ...boxes.map(({ id, title, names, isIrreplaceable }) => {
      const label = [title, formatNames(names)].filter(Boolean).join('\\n')
      return `  ${id} [label="${label}"${isIrreplaceable ? ', penwidth=3' : ''}]`
    }),
    ...boxes.flatMap(({ id, needs }) => needs.map((need) => `  ${need} -> ${id}`)),
    '}',
  ].join('\n')
}

export const formats = new Map([
  ['mermaid', formatMermaid],
  ['dot', formatDot],
])
