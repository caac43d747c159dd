/** Walks a graph as wide as its needs and limits allow, building what is not fresh. Its only output is its events. */

import { setImmediate } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import { asFailure, Failure, toRunRest } from '../failure.ts'
import type { Check, Diff } from '../results.ts'
import {
  type AnyRun,
  type BuildContext,
  type Earlier,
  type Event,
  type Force,
  type Graph,
  isFailedOrSkipped,
  type Outcome,
  type Row,
  type Rows,
  Skipped,
  type Target,
} from './target.ts'

export interface RunOptions<Run extends AnyRun = AnyRun> {
  readonly run: Run
  /** `look`: only checks. `plan`: builds what is planned in memory, and checks all else against that. */
  readonly mode: 'run' | 'plan' | 'look'
  readonly forced: ReadonlyMap<string, Force>
  readonly signal: AbortSignal
  readonly emit: (event: Event) => void
}

export interface Walk<Of extends Target = Target> {
  /** Begins what the target needs, then the target, once. A failure cancels what needs it. */
  start(id: string): Promise<Row<Of>>
  rows(): Promise<Rows<Of>>
}

export function openWalk<Run extends AnyRun, Of extends Target<Run>>(
  graph: Graph<Of>,
  options: RunOptions<Run>,
): Walk<Of> {
  const started = new Map<string, Promise<Row<Of>>>()
  const known: Known = {
    rows: new Map(),
    findings: new Map(),
    begun: new Set(),
    whenEnded: (id) => (graph.has(id) ? start(id) : undefined),
  }
  const settle = async (target: Of) => {
    await Promise.all(target.needs.flatMap((id) => (graph.has(id) ? start(id) : [])))
    const row: Row<Of> = { diffs: [], ...(await attempt(target, known, options)), id: target.id, target }
    known.rows.set(target.id, row)
    options.emit({ type: 'ended', id: target.id, row })
    return row
  }
  const start = (id: string) => {
    const target = graph.get(id)
    if (!target) throw new Error(`${id} does not exist`)
    const row = started.get(id) ?? settle(target)
    started.set(id, row)
    return row
  }
  return {
    start,
    rows: async () => new Map(await Promise.all([...graph.keys()].map(async (id) => [id, await start(id)] as const))),
  }
}

interface Known extends Earlier {
  readonly rows: Map<string, Row>
  readonly findings: Map<string, unknown>
  readonly begun: Set<string>
}

async function attempt<Run extends AnyRun>(
  target: Target<Run>,
  known: Known,
  options: RunOptions<Run>,
): Promise<Outcome> {
  const lost = target.needs.filter((id) => isFailedOrSkipped(known.rows.get(id)))
  if (lost.length > 0) return { state: 'skipped', because: lost }
  const limit = options.run.limits[target.where] as LimitFunction
  try {
    return await limit(() => lookAndBuild(target, known, options).finally(() => target.release?.(options.run)))
  } catch (error) {
    if (error instanceof Skipped) return { state: 'skipped', because: error.because }
    const isBegun = known.begun.has(target.id) && ({ isBegun: true } as const)
    if (options.signal.aborted) return { state: 'skipped', because: [], ...isBegun }
    const failure = asFailure(error)
    const isForced = options.forced.size > 0 && options.mode === 'run'
    return { state: 'failed', failure: isForced ? toRunRest(failure) : failure, ...isBegun }
  }
}

/** Each target begins in a turn of its own, so that signals and the tree are served in between. */
const turns = pLimit(1)

async function lookAndBuild<Run extends AnyRun>(
  target: Target<Run>,
  known: Known,
  { run, mode, forced, signal, emit }: RunOptions<Run>,
): Promise<Outcome> {
  const { id, where, build } = target
  await turns(() => setImmediate())
  if (signal.aborted) return { state: 'skipped', because: [] }
  emit({ type: 'started', id })
  const force = forced.get(id)
  const look = async () => {
    const checked = await checkForced(target, known, force, run)
    known.findings.set(id, checked.findings)
    return checked
  }
  let checked = await look()
  if (checked.diffs.length === 0) return { state: 'fresh', ...checked }
  const isInMemory = mode === 'plan' && where === run.builtInPlan
  if (!build || (mode !== 'run' && !isInMemory)) return { state: 'stale', ...checked }
  const wait = () => emit({ type: 'queued', id })
  if (await target.waitForTurn?.({ diffs: checked.diffs, force, earlier: known, wait })) {
    checked = await look()
    if (checked.diffs.length === 0) return { state: 'fresh', ...checked }
  }
  if (signal.aborted) return { state: 'skipped', because: [] }
  const { findings, diffs, until, note, ...told } = checked
  const tell: BuildContext['tell'] = (step) => emit({ type: 'step', id, step })
  emit({ type: 'building', id, diffs })
  known.begun.add(id)
  known.findings.delete(id)
  const built = await build.call(target, run, { findings, diffs, force, signal, earlier: known, tell })
  // What a plan builds is not there: only what there would be is told.
  if (isInMemory) return { state: 'stale', diffs, ...told, note: built?.note }
  const { warn = [], ...rest } = built ?? {}
  return { state: 'built', diffs, ...told, ...rest, ...(warn.length > 0 && { warn }) }
}

async function checkForced<Run extends AnyRun>(
  target: Target<Run>,
  known: Known,
  force: Force | undefined,
  run: Run,
): Promise<Check> {
  const checked = await target.check(run, force, known)
  // What is replaced says so itself.
  if (!force || force === 'replace' || checked.hasNothing) return checked
  const forced: Diff = { what: force === 'renew' ? 'renewed with the same key' : 'forced', verb: 'renew' }
  return { ...checked, diffs: [...checked.diffs, forced] }
}

export async function findRefusals<Run extends AnyRun>(
  graph: Graph<Target<Run>>,
  run: Run,
  forced: RunOptions['forced'],
) {
  const refusals: [string, Failure][] = []
  for (const target of graph.values())
    try {
      await target.refuse?.(run, forced.get(target.id))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      if (error.kind === 'refused') refusals.push([target.id, error])
    }
  return refusals
}
