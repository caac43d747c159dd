/** Phases as they are shown, and the states of their targets during a run. */
import type { Graph } from '../graph/graph.ts'
import type { Event, Outcome, Target } from '../graph/target.ts'

export interface PhaseView {
  readonly name: string
  readonly title: string
  readonly targets: readonly Target[]
}

/** True if its targets are only checked. */
export function areChecks({ targets }: PhaseView): boolean {
  return targets.every(({ build }) => !build)
}

export function viewPhases(phases: readonly { name: string; title: string }[], graph: Graph): PhaseView[] {
  return phases
    .map(({ name, title }) => ({ name, title, targets: [...graph.values()].filter(({ phase }) => phase === name) }))
    .filter(({ targets }) => targets.length > 0)
}

/** The outcome of a target that has ended; before that, what is being done with it. */
export type TargetState = 'checking' | 'making' | (Event & { type: 'step' })['step'] | Outcome

/** What is known of a phase. A target that was not begun has no state. */
export interface PhaseState {
  readonly view: PhaseView
  readonly states: ReadonlyMap<string, TargetState>
  /** Since its first target was begun; undefined before. */
  readonly seconds: number | undefined
}

/** The one fold of a run's events. */
export class PhaseProgress implements PhaseState {
  readonly view: PhaseView
  readonly states = new Map<string, TargetState>()
  /** Targets without an outcome: a counter, since a scan at every event would be quadratic. */
  left: number
  readonly done = Promise.withResolvers<void>()
  #begun: number | undefined
  #ended: number | undefined

  constructor(view: PhaseView) {
    this.view = view
    this.left = view.targets.length
  }

  get seconds(): number | undefined {
    return this.#begun === undefined ? undefined : ((this.#ended ?? performance.now()) - this.#begun) / 1000
  }

  apply(event: Event): void {
    this.#begun ??= performance.now()
    this.states.set(event.id, stateAfter(event))
    if (event.type !== 'ended' || --this.left > 0) return
    this.#ended = performance.now()
    this.done.resolve()
  }
}

function stateAfter(event: Event): TargetState {
  if (event.type === 'ended') return event.outcome
  return event.type === 'step' ? event.step : event.type === 'started' ? 'checking' : 'making'
}

export function trackPhases(views: readonly PhaseView[]) {
  const phases = views.map((view) => new PhaseProgress(view))
  const places = new Map(
    phases.flatMap((phase) => phase.view.targets.map((target) => [target.id, { phase, target }] as const)),
  )
  return {
    phases,
    /** The event's target and its phase; undefined if it is in none of these. */
    apply: (event: Event) => {
      const place = places.get(event.id)
      place?.phase.apply(event)
      return place
    },
  }
}
