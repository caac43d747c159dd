/** A phase as it is shown. */
import type { Graph } from '../graph/graph.ts'
import type { Target } from '../graph/target.ts'

export interface PhaseView {
  readonly name: string
  readonly title: string
  readonly targets: readonly Target[]
}

/** Nothing of it is ever made. */
export function areChecks({ targets }: PhaseView): boolean {
  return targets.every(({ build }) => !build)
}

export function viewPhases(phases: readonly { name: string; title: string }[], graph: Graph): PhaseView[] {
  return phases
    .map(({ name, title }) => ({ name, title, targets: [...graph.values()].filter(({ phase }) => phase === name) }))
    .filter(({ targets }) => targets.length > 0)
}
