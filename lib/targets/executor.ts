/** Walks a graph as wide as its edges and limits allow, building what is not fresh. Its only output is its events. */
import { setImmediate } from 'node:timers/promises'
import type { LimitFunction } from 'p-limit'
import { Failure, isErrno } from '../failure.ts'
import { isRepair, type Reason } from '../reason.ts'
import type { Force, Graph, Lane, Target, TargetId, Verdict } from './graph.ts'
import type { Workspace } from './workspace.ts'

/** What became of a target; `stale` is a dry run's: what would be built. */
export type Outcome =
  | ({ readonly kind: 'fresh' | 'built' | 'stale' } & Verdict)
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
  const running = new Map<TargetId, Promise<Outcome>>()
  const outcomes = new Map<TargetId, Outcome>()
  for (const target of graph.values()) {
    const needs = Promise.all(target.needs.map((id) => running.get(id)))
    const settle = async () => {
      await needs
      const outcome = await attempt(target, outcomes, options)
      outcomes.set(target.id, outcome)
      options.emit({ type: 'ended', id: target.id, outcome })
      return outcome
    }
    running.set(target.id, settle())
  }
  return new Map(await Promise.all([...running].map(async ([id, ended]) => [id, await ended] as const)))
}

async function attempt(
  target: Target,
  outcomes: ReadonlyMap<TargetId, Outcome>,
  options: RunOptions,
): Promise<Outcome> {
  const needs = target.needs.map((id): [TargetId, Outcome | undefined] => [id, outcomes.get(id)])
  const lost = needs.filter(([, need]) => need?.kind === 'failed' || need?.kind === 'cancelled').map(([id]) => id)
  if (lost.length > 0 || options.signal.aborted) return { kind: 'cancelled', because: lost }
  const willChange = needs.filter(([, need]) => need?.kind === 'stale' && !isRepair(need.reasons)).map(([id]) => id)
  const limit: LimitedWork = target.lane ? options.limits[target.lane] : (work) => work()
  const look = (limited: LimitedWork) => lookAndBuild(target, willChange, options, limited)
  try {
    // Looking at a node is a connection, and counts as one; looking at a file is nothing to be limited.
    if (target.lane !== 'ssh') return await look(limit)
    return await limit(() => look((work) => work()).finally(() => target.release?.(options.at)))
  } catch (error) {
    if (options.signal.aborted) return { kind: 'cancelled', because: [] }
    return { kind: 'failed', failure: asFailure(error) }
  }
}

type LimitedWork = (work: () => Promise<Outcome>) => Promise<Outcome>

async function lookAndBuild(
  target: Target,
  willChange: readonly TargetId[],
  options: RunOptions,
  limited: LimitedWork,
): Promise<Outcome> {
  const { at, signal, emit } = options
  if (signal.aborted) return { kind: 'cancelled', because: [] }
  // Nothing is awaited between this question and the look: else all would ask first, and then look.
  while (isTurnOver()) await nextTurn()
  emit({ type: 'started', id: target.id })
  const force = options.forced.get(target.id)
  const verdict = await judge(target, willChange, force, at)
  const { reasons } = verdict
  if (reasons.length === 0 || options.dryRun || !target.build)
    return { kind: reasons.length === 0 ? 'fresh' : 'stale', ...verdict }
  return limited(async () => {
    while (isTurnOver()) await nextTurn()
    if (signal.aborted) return { kind: 'cancelled', because: [] }
    emit({ type: 'building', id: target.id, reasons })
    if (isRepair(reasons)) for (const reason of reasons) at.auth.setMode(reason.path, reason.asked)
    const warning = isRepair(reasons) ? undefined : await target.build?.(at, { reasons, force, signal })
    const told = warning ?? verdict.warning
    return { kind: 'built', reasons, ...(told !== undefined && { warning: told }) }
  })
}

/** Milliseconds that looking at files, and writing them, may hold the thread: then signals and the tree have their turn. */
const slice = 20
let turnBegan = performance.now()
let turn: Promise<void> | undefined

function isTurnOver(): boolean {
  return performance.now() - turnBegan > slice
}

function nextTurn(): Promise<void> {
  turn ??= setImmediate().then(() => {
    turnBegan = performance.now()
    turn = undefined
  })
  return turn
}

/** The target's own verdict, with what only the run knows: that it is forced, and that what it is made of will change. */
async function judge(
  target: Target,
  willChange: readonly TargetId[],
  force: Force | undefined,
  at: Workspace,
): Promise<Verdict> {
  if (force === 'replace') {
    for (const name of target.makes) if (at.auth.read(name)?.kind === 'folder') refuseFolder(at, name)
    return { reasons: [{ kind: 'forced', replaces: true }] }
  }
  const verdict = await check(target, willChange, at, force)
  for (const reason of verdict.reasons)
    if (reason.kind === 'not-a-file' && reason.isFolder) refuseFolder(at, reason.path)
  const needs: Reason[] =
    willChange.length > 0 && isRepair(verdict.reasons) ? [{ kind: 'need-rebuilt', ids: willChange }] : []
  const forced: Reason[] = force ? [{ kind: 'forced' }] : []
  return { ...verdict, reasons: [...verdict.reasons, ...needs, ...forced] }
}

/** A rename replaces anything but a folder, which may be the user's. */
function refuseFolder({ auth }: Workspace, name: string): never {
  throw new Failure(`a folder stands in the place of ${auth.path}/${name}`, {
    remedy: 'move it away, then run the same command again',
  })
}

/** A file that will be made anew is stale even where it can't be read; of a node that can't be reached nobody knows. */
async function check(target: Target, willChange: readonly TargetId[], at: Workspace, force?: Force): Promise<Verdict> {
  try {
    return await target.check(at, force)
  } catch (error) {
    const isFile = target.lane !== 'ssh'
    if (isFile && willChange.length > 0 && error instanceof Failure && error.kind === 'failed') return { reasons: [] }
    throw error
  }
}

/** What refuses to be replaced, asked of every irreplaceable target before the first build. */
export async function findRefusals(
  graph: Graph,
  at: Workspace,
  forced: ReadonlyMap<TargetId, Force>,
): Promise<[TargetId, Failure][]> {
  const refusals: [TargetId, Failure][] = []
  for (const target of graph.values()) {
    if (!target.irreplaceable) continue
    try {
      await judge(target, [], forced.get(target.id), at)
    } catch (error) {
      if (error instanceof Failure && error.kind === 'refused') refusals.push([target.id, error])
    }
  }
  return refusals
}

/** What is no Failure yet: the system's refusals of what nobody thought of, and mistakes in this code. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (isErrno(error)) return new Failure(error.message, { cause: String(error.code).toLowerCase() })
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  return new Failure(`a mistake in harderway itself: ${detail}`, {
    remedy: 'please report it, with the command you ran and what --json prints',
  })
}
