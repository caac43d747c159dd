/** What every view of a run has in common: the tree, plain lines, --json and the plan read the same events. */
import type { ListrRendererFactory } from 'listr2'
import type { Failure } from '../failure.ts'
import type { Event, Rows, Target } from '../graph/target.ts'
import { texts } from '../results.ts'

export interface Reporter {
  /** The tree, as listr2 draws it; all other views are made of the events alone. */
  readonly renderer?: ListrRendererFactory
  event(event: Event): void
  /** Information that belongs to no target: a wait for a lock, a mode that was tightened. */
  note(text: string): void
  /** Before anything can run: bad usage, a bad cluster.yaml, a refusal. */
  problem(failure: Failure, id?: string): void
  end(summary: Summary): Promise<void>
}

/** What a command tells beside its targets. */
export interface Notice {
  /** `todo`: left to the user, and the command ends with 4. `after`: what comes next, once the command has done all its own. */
  readonly kind: 'note' | 'todo' | 'after'
  readonly text: string
}

/** One of each text that there is. */
export function notices(kind: Notice['kind'], ...all: readonly (string | false | undefined)[]): Notice[] {
  return texts(...all).map((text) => ({ kind, text }))
}

/** The end of a run. */
export interface Summary {
  /** Empty if it could not begin. */
  readonly rows: Rows
  readonly seconds: number
  readonly exit: number
  /** Beside targets; the notes have been printed. */
  readonly notices?: readonly Notice[]
  /** The command that continues an interrupted run. */
  readonly goOn?: string | undefined
  /** The next step, with its command. */
  readonly next?: string | undefined
  /** Of a plan whose targets could all be looked at. */
  readonly planHash?: string | undefined
}

/** The targets of each phase, by its title. */
export type Phases = ReadonlyMap<string, readonly Target[]>
