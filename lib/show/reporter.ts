/** What every view of a run has in common: the tree, plain lines, --json and the plan read the same events. */
import type { ListrRendererFactory } from 'listr2'
import type { Failure } from '../failure.ts'
import type { Event, Rows, Target } from '../graph/target.ts'
import { texts } from '../results.ts'

export interface Reporter {
  readonly renderer?: ListrRendererFactory
  event(event: Event): void
  /** Information that belongs to no target: a wait for a lock, a mode that was tightened. */
  note(text: string): void
  /** Before anything can run: bad usage, a bad cluster.yaml, a refusal. */
  problem(failure: Failure, id?: string): void
  end(summary: Summary): Promise<void>
}

export interface Notice {
  /** `todo`: left to the user, and the command ends with 4. `after`: what comes next, once the command has done all its own. */
  readonly kind: 'note' | 'todo' | 'after'
  readonly text: string
}

export function notices(kind: Notice['kind'], ...all: readonly (string | false | undefined)[]): Notice[] {
  return texts(...all).map((text) => ({ kind, text }))
}

export interface Summary {
  readonly rows: Rows
  readonly seconds: number
  readonly exit: number
  readonly notices?: readonly Notice[]
  readonly goOn?: string | undefined
  readonly next?: string | undefined
  /** Of a plan whose targets could all be looked at. */
  readonly planHash?: string | undefined
}

export type Phases = ReadonlyMap<string, readonly Target[]>
