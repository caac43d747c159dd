/** Targets that do nothing but what a test tells them, and stop where the test wants to look. */
import { setImmediate } from 'node:timers/promises'
import pLimit from 'p-limit'
import { execute, type RunOptions } from '../../lib/graph/executor.ts'
import { buildGraph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Event, Force, Outcome, Target } from '../../lib/graph/target.ts'
import type { Look } from '../../lib/reason.ts'

export const stale: Look = { reasons: [{ kind: 'missing', path: 'file' }] }
export const fresh: Look = { reasons: [] }

/** Stale, without needs, in a phase of its own, built at once: unless told otherwise. */
export function fakeTarget(id: string, told: Partial<Target> = {}): Target {
  const [phase = id] = id.split('/')
  return {
    id,
    phase,
    needs: [],
    makes: [],
    where: 'auth',
    check: () => stale,
    build: async () => undefined,
    ...told,
  }
}

/** No fake target looks at it. */
export const nowhere = {} as Run

export interface FakeRun {
  readonly events: Event[]
  /** "started a", "building a", "built a", in the order in which they came. */
  readonly told: string[]
  readonly outcomes: Promise<Map<string, Outcome>>
  readonly abort: AbortController
}

export interface FakeRunOptions {
  readonly dryRun?: boolean
  readonly foresees?: boolean
  readonly forced?: Readonly<Record<string, Force>>
  readonly auth?: number
  readonly node?: number
  readonly onEvent?: (event: Event) => void
}

export function runFakes(targets: readonly Target[], options: FakeRunOptions = {}): FakeRun {
  const events: Event[] = []
  const told: string[] = []
  const abort = new AbortController()
  const limits: RunOptions['limits'] = {
    auth: pLimit(options.auth ?? 100),
    node: pLimit(options.node ?? 100),
    kubeconfig: pLimit(1),
  }
  const outcomes = execute(buildGraph(targets), {
    run: nowhere,
    dryRun: options.dryRun ?? false,
    foresees: options.foresees ?? false,
    forced: new Map(Object.entries(options.forced ?? {})),
    limits,
    signal: abort.signal,
    emit: (event) => {
      events.push(event)
      told.push(`${event.type === 'ended' ? event.outcome.kind : event.type} ${event.id}`)
      options.onEvent?.(event)
    },
  })
  return { events, told, outcomes, abort }
}

/** Until everything that can go on by itself has done so: no test has more targets than these turns of the event loop. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await setImmediate()
}
