/** Walks a graph as wide as its edges and limits allow, building what is not fresh. Its only output is its events. */

import { setImmediate } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import { asFailure, Failure, toRunRest } from '../failure.ts'
import { type CheckResult, isRepair, type Reason } from '../results.ts'
import {
  type AnyRun,
  type Event,
  edgesOf,
  type Force,
  type Graph,
  isLost,
  type Outcome,
  type Row,
  type Rows,
  rowOf,
  type Target,
  type Waiting,
  type Work,
} from './target.ts'

export interface RunOptions<Run extends AnyRun = AnyRun> {
  readonly run: Run
  /** Only look, and say what would be built. */
  readonly dryRun: boolean
  /** In a dry run: checks the targets that use what would be built as if it had been. */
  readonly foresees?: boolean
  readonly forced: ReadonlyMap<string, Force>
  readonly signal: AbortSignal
  readonly emit: (event: Event) => void
}

/** A run over a graph, in which nothing begins by itself. */
export interface Walk<Of extends Target = Target> {
  /**
   * Begins what the target needs or comes after, then the target; a second call begins nothing. A failure is the
   * target's outcome, and cancels what needs it.
   */
  start(id: string): Promise<Row<Of>>
  /** All of them, once they have ended. Throws an Error for a target that nobody has started. */
  rows(): Promise<Rows<Of>>
}

export function openWalk<Run extends AnyRun, Of extends Target<Run>>(
  graph: Graph<Of>,
  options: RunOptions<Run>,
): Walk<Of> {
  const started = new Map<string, Promise<Row<Of>>>()
  const known = nothingKnown()
  const settle = async (target: Of) => {
    await Promise.all(edgesOf(target).flatMap((id) => (graph.has(id) ? start(id) : [])))
    const row = rowOf(target, await attempt(target, known, options))
    known.outcomes.set(target.id, row)
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
    rows: async () => {
      const rows = new Map<string, Row<Of>>()
      for (const id of graph.keys()) {
        const row = await started.get(id)
        if (!row) throw new Error(`${id} was not started`)
        rows.set(id, row)
      }
      return rows
    },
  }
}

/** The results of the targets so far. */
type Known = ReturnType<typeof nothingKnown>

const nothingKnown = () => ({
  outcomes: new Map<string, Row>(),
  /** What the checks found, of targets that were not built since. */
  found: new Map<string, unknown>(),
  /** Targets whose build has begun. */
  begun: new Set<string>(),
  /** In a plan: files that would be written. */
  pending: new Set<string>(),
})

/** The ids of the targets that hold it back. `checked`: the result of its own check. */
function heldBy(target: Target, { outcomes, begun }: Known, checked: Pick<Waiting, 'reasons' | 'found'> = {}) {
  const hasStopped = (id: string): boolean => {
    const outcome = outcomes.get(id)
    return isLost(outcome) && (begun.has(id) || (outcome?.kind === 'cancelled' && outcome.because.some(hasStopped)))
  }
  const lost = (ids: readonly string[] = []) => ids.filter((id) => isLost(outcomes.get(id)))
  if (!target.waitsFor) return lost(edgesOf(target))
  return [...lost(target.needs), ...target.waitsFor({ outcomes, hasStopped, ...checked })]
}

async function attempt<Run extends AnyRun>(
  target: Target<Run>,
  known: Known,
  options: RunOptions<Run>,
): Promise<Outcome> {
  const held = heldBy(target, known)
  if (held.length > 0) return { kind: 'cancelled', because: held }
  const { limits, remote } = options.run
  const limit = limits[target.where] as LimitFunction
  const free: LimitedWork = (work) => work()
  const inTurn: LimitedWork = (work) => {
    if (limit.activeCount >= limit.concurrency) options.emit({ type: 'queued', id: target.id })
    return limit(work)
  }
  // The check takes a slot too where it needs a connection; that of a file is cheap.
  const [whole, building] = target.where === remote ? [limit, free] : [free, inTurn]
  try {
    return await whole(() =>
      lookAndBuild(target, known, options, building).finally(() => target.release?.(options.run)),
    )
  } catch (error) {
    if (options.signal.aborted)
      return { kind: 'cancelled', because: [], ...(known.begun.has(target.id) && { isBegun: true }) }
    const failure = asFailure(error)
    return { kind: 'failed', failure: options.forced.size > 0 && !options.dryRun ? toRunRest(failure) : failure }
  }
}

/**
 * Checking and writing thousands of files blocks the event loop: each target begins its work in a turn of its own, so
 * that signals and the tree are served in between.
 */
const turns = pLimit(1)

type LimitedWork = (work: () => Promise<Outcome>) => Promise<Outcome>

async function lookAndBuild<Run extends AnyRun>(
  target: Target<Run>,
  known: Known,
  options: RunOptions<Run>,
  limit: LimitedWork,
): Promise<Outcome> {
  const { signal, emit } = options
  const run = options.foresees ? { ...options.run, pending: known.pending } : options.run
  await turns(() => setImmediate())
  if (signal.aborted) return { kind: 'cancelled', because: [] }
  emit({ type: 'started', id: target.id })
  const force = options.forced.get(target.id)
  const { found, ...verdict } = await checkInRun(target, known, force, run)
  known.found.set(target.id, found)
  const { reasons } = verdict
  if (reasons.length === 0) return { kind: 'fresh', ...verdict }
  const held = heldBy(target, known, { reasons, found })
  if (held.length > 0) return { kind: 'cancelled', because: held }
  const work: Work = { found, reasons, force, signal, tell: (step) => emit({ type: 'step', id: target.id, step }) }
  if (options.dryRun || !target.build) {
    const change = options.foresees ? await foresee(target, known, work, run) : undefined
    return { kind: 'stale', ...verdict, ...(change && { change }) }
  }
  return limit(async () => {
    await setImmediate()
    if (signal.aborted) return { kind: 'cancelled', because: [] }
    emit({ type: 'building', id: target.id, reasons })
    known.begun.add(target.id)
    known.found.delete(target.id)
    const { change, findings: made = [] } = (await target.build?.(run, work)) ?? {}
    const findings = made.length > 0 ? made : verdict.findings
    return {
      ...{ kind: 'built', reasons },
      ...(findings && { findings }),
      ...(change && { change }),
    }
  })
}

async function foresee<Run extends AnyRun>(target: Target<Run>, { pending }: Known, work: Work, run: Run) {
  if (isRepair(work.reasons)) return undefined
  const change = await target.foresee?.(run, work)
  for (const file of change?.kind === 'made' ? change.files : target.makes) pending.add(file)
  return change
}

/**
 * The result of the target's own check, plus what only the run knows: it is forced, or one of its needs will be
 * rebuilt.
 */
async function checkInRun<Run extends AnyRun>(
  target: Target<Run>,
  before: Known,
  force: Force | undefined,
  run: Run,
): Promise<CheckResult> {
  // The present file will be replaced, so it is not checked: it may be unreadable.
  if (force === 'replace') {
    target.refuseReplacing?.(run)
    return { reasons: [{ kind: 'forced', replaces: true }] }
  }
  const isRemote = target.where === run.remote
  // In a plan it is compared with what would be written, so its own check says whether it would change.
  const needs = run.pending && isRemote ? [] : target.needs
  const willChange = needs.filter((id) => {
    const need = before.outcomes.get(id)
    return need?.kind === 'stale' && !isRepair(need.reasons)
  })
  let result: CheckResult = { reasons: [] }
  try {
    result = await target.check(run, force, before)
  } catch (error) {
    // A file that will be rebuilt anyway may be unreadable; what can't be reached is always a failure.
    const isRebuilt = !isRemote && willChange.length > 0
    if (!isRebuilt || !(error instanceof Failure) || error.kind !== 'failed') throw error
  }
  const { staysFresh = result.hasNothing, ...verdict } = result
  const rebuilt: Reason[] =
    willChange.length > 0 && !staysFresh && isRepair(verdict.reasons) ? [{ kind: 'need-rebuilt', ids: willChange }] : []
  const forced: Reason[] =
    force && !result.hasNothing ? [{ kind: 'forced', ...(force === 'renew' && { renews: true }) }] : []
  return { ...verdict, reasons: [...verdict.reasons, ...rebuilt, ...forced] }
}

/** The refusals that stop a run, collected before the first build. */
export async function findRefusals<Run extends AnyRun>(
  graph: Graph<Target<Run>>,
  run: Run,
  forced: RunOptions['forced'],
) {
  const refusals: [string, Failure][] = []
  for (const target of graph.values()) {
    if (!target.stopsRun) continue
    try {
      await checkInRun(target, nothingKnown(), forced.get(target.id), run)
    } catch (error) {
      if (error instanceof Failure && error.kind === 'refused') refusals.push([target.id, error])
    }
  }
  return refusals
}
