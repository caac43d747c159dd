/** Targets and the edges between them. Pure. */
import type { Target } from './target.ts'

/** Each target after all that it needs or comes after. */
export type Graph = ReadonlyMap<string, Target>

/** Throws an Error (a mistake in the table of targets) for a repeated id or file, an unknown edge or a cycle. */
export function buildGraph(targets: readonly Target[]): Graph {
  const byId = new Map<string, Target>()
  const makers = new Map<string, string>()
  for (const target of targets) {
    const { id, makes } = target
    if (byId.has(id)) throw new Error(`two targets are called ${id}`)
    byId.set(id, target)
    for (const file of makes) {
      if (makers.has(file)) throw new Error(`${makers.get(file)} and ${id} both make ${file}`)
      makers.set(file, id)
    }
  }
  for (const { id, needs, after = [] } of targets)
    for (const edge of [...needs, ...after])
      if (!byId.has(edge)) throw new Error(`${id} needs or comes after ${edge}, which does not exist`)
  return inOrder(byId, byId.keys())
}

/** The targets and all that they need, in an order that all edges between them allow, else in the one given. */
export function closure(graph: Graph, ids: Iterable<string>): Graph {
  const roots = [...ids]
  const wanted = new Map<string, Target>()
  const reach = (id: string): void => {
    const target = graph.get(id)
    if (!target) throw new Error(`${id} does not exist`)
    if (wanted.has(id)) return
    wanted.set(id, target)
    target.needs.forEach(reach)
  }
  roots.forEach(reach)
  return inOrder(wanted, roots)
}

/** Depth first along needs and after; edges to other targets are ignored. */
function inOrder(targets: Graph, ids: Iterable<string>): Graph {
  const ordered = new Map<string, Target>()
  const visiting: string[] = []
  const visit = (id: string): void => {
    const target = targets.get(id)
    if (!target || ordered.has(id)) return
    if (visiting.includes(id)) throw new Error(`targets need each other: ${[...visiting, id].join(' > ')}`)
    visiting.push(id)
    for (const edge of edgesOf(target)) visit(edge)
    visiting.pop()
    ordered.set(id, target)
  }
  for (const id of ids) visit(id)
  return ordered
}

/** The targets that must end before it begins. */
export function edgesOf({ needs, after = [] }: Target): readonly string[] {
  return after.length === 0 ? needs : [...needs, ...after]
}
