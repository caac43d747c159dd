/** Walks a graph as wide as its edges and limits allow, building what is not fresh. Its only output is its events. */
import type { LimitFunction } from 'p-limit'
import { Failure } from './failure.ts'
import type { Force, Graph, Lane, Target, TargetId, Verdict } from './graph.ts'
import type { Reason } from './reason.ts'
import type { Workspace } from './workspace.ts'

/** What became of a target. */
export type Outcome =
  | { readonly kind: 'fresh'; readonly until?: Date; readonly warning?: string }
  | {
      readonly kind: 'built'
      readonly reasons: readonly Reason[]
      readonly repairOnly: boolean
      readonly warning?: string
    }
  /** In a dry run: what would be built. */
  | {
      readonly kind: 'stale'
      readonly reasons: readonly Reason[]
      readonly repairOnly: boolean
      readonly warning?: string
    }
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** A need failed, or the run was ended. */
  | { readonly kind: 'cancelled'; readonly because: readonly TargetId[] }

export type RunEvent =
  | { readonly type: 'started'; readonly id: TargetId }
  | { readonly type: 'building'; readonly id: TargetId; readonly reasons: readonly Reason[] }
  | { readonly type: 'ended'; readonly id: TargetId; readonly outcome: Outcome }

export interface RunOptions {
  readonly at: Workspace
  /** Only look, and say what would be built. */
  readonly dryRun: boolean
  readonly forced: ReadonlyMap<TargetId, Force>
  readonly limits: Readonly<Record<Lane, LimitFunction>>
  readonly signal: AbortSignal
  readonly emit: (event: RunEvent) => void
}

/** Every target's outcome. Never rejects: what goes wrong with a target is its outcome, and cancels what needs it. */
export async function execute(graph: Graph, options: RunOptions): Promise<Map<TargetId, Outcome>> {
  const outcomes = new Map<TargetId, Promise<Outcome>>()
  for (const target of graph.values()) {
    const needs = target.needs.map(
      async (id): Promise<[TargetId, Outcome]> => [id, await (outcomes.get(id) as Promise<Outcome>)],
    )
    outcomes.set(
      target.id,
      Promise.all(needs).then((ended) => settle(target, ended, options)),
    )
  }
  const settled = new Map<TargetId, Outcome>()
  for (const [id, outcome] of outcomes) settled.set(id, await outcome)
  return settled
}

async function settle(target: Target, needs: readonly [TargetId, Outcome][], options: RunOptions): Promise<Outcome> {
  const outcome = await attempt(target, needs, options)
  options.emit({ type: 'ended', id: target.id, outcome })
  return outcome
}

async function attempt(target: Target, needs: readonly [TargetId, Outcome][], options: RunOptions): Promise<Outcome> {
  const lost = needs.filter(([, { kind }]) => kind === 'failed' || kind === 'cancelled').map(([id]) => id)
  if (lost.length > 0 || options.signal.aborted) return { kind: 'cancelled', because: lost }
  const willChange = needs.filter(([, need]) => need.kind === 'stale' && !need.repairOnly).map(([id]) => id)
  const limit = options.limits[target.lane]
  try {
    // Looking at a node is a connection, and counts as one; looking at a file is nothing to be limited.
    if (target.lane === 'ssh')
      return await limit(() =>
        lookAndBuild(target, willChange, options, (work) => work()).finally(() => target.release?.(options.at)),
      )
    return await lookAndBuild(target, willChange, options, limit)
  } catch (error) {
    if (options.signal.aborted) return { kind: 'cancelled', because: [] }
    return { kind: 'failed', failure: asFailure(error) }
  }
}

async function lookAndBuild(
  target: Target,
  willChange: readonly TargetId[],
  options: RunOptions,
  limited: (work: () => Promise<Outcome>) => Promise<Outcome>,
): Promise<Outcome> {
  const { at, signal, emit, dryRun } = options
  if (signal.aborted) return { kind: 'cancelled', because: [] }
  emit({ type: 'started', id: target.id })
  const force = options.forced.get(target.id)
  const verdict = await judge(target, willChange, force, at)
  if (verdict.kind === 'fresh') return verdict
  const { reasons, repairOnly = false } = verdict
  if (dryRun) return { ...verdict, repairOnly }
  return limited(async () => {
    if (signal.aborted) return { kind: 'cancelled', because: [] }
    emit({ type: 'building', id: target.id, reasons })
    const warning = (await target.build(at, { reasons, force, signal })) ?? verdict.warning
    return { kind: 'built', reasons, repairOnly, ...(warning !== undefined && { warning }) }
  })
}

/** The target's own verdict, with what only the run knows: that it is forced, and that what it is made of will change. */
async function judge(
  target: Target,
  willChange: readonly TargetId[],
  force: Force | undefined,
  at: Workspace,
): Promise<Verdict> {
  if (force === 'replace' || force === 'renew') return { kind: 'stale', reasons: [{ kind: 'forced' }] }
  const verdict = await check(target, willChange, at)
  const own = verdict.kind === 'stale' ? verdict.reasons : []
  const extra: Reason[] = []
  if (force && own.length === 0) extra.push({ kind: 'forced' })
  if (willChange.length > 0 && (verdict.kind === 'fresh' || verdict.repairOnly))
    extra.push({ kind: 'need-rebuilt', ids: willChange })
  if (extra.length === 0) return verdict
  const { warning } = verdict
  return { kind: 'stale', reasons: [...own, ...extra], ...(warning !== undefined && { warning }) }
}

/** What will be made anew is stale even where it can't be looked at. */
async function check(target: Target, willChange: readonly TargetId[], at: Workspace): Promise<Verdict> {
  try {
    return await target.check(at)
  } catch (error) {
    if (willChange.length > 0 && error instanceof Failure && error.kind === 'failed') return { kind: 'fresh' }
    throw error
  }
}

/** What refuses to be replaced, asked of every irreplaceable target before the first build. */
export async function findRefusals(
  graph: Graph,
  at: Workspace,
  forced: ReadonlyMap<TargetId, Force>,
): Promise<Map<TargetId, Failure>> {
  const refusals = new Map<TargetId, Failure>()
  for (const target of graph.values()) {
    if (!target.irreplaceable) continue
    try {
      await judge(target, [], forced.get(target.id), at)
    } catch (error) {
      if (error instanceof Failure && error.kind === 'refused') refusals.set(target.id, error)
    }
  }
  return refusals
}

function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return new Failure(`a mistake in harderway itself: ${detail}`, {
    remedy: 'please report it, with the command you ran and what --json prints',
  })
}
