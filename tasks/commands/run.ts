/** One run: the lock, the refusals, the graph, and what is told of it. */

import { asFailure } from '../../lib/failure.ts'
import type { Lock } from '../../lib/files/lock.ts'
import { execute, findRefusals, type Outcome } from '../../lib/targets/executor.ts'
import { closure } from '../../lib/targets/graph.ts'
import type { TargetId } from '../../lib/targets/target.ts'
import { joinFailures, summarise, viewPhases } from '../../lib/views/reporter.ts'
import { formerNodes } from '../nodes/former-nodes.ts'
import { bootstrapTable, clusterGraph, verifyTable } from '../phases.ts'
import { select } from '../request/selection.ts'
import { checkConfigFile, lockAuth, openWorkspace, type Request } from '../request/session.ts'

/** The exit status. Throws a usage Failure, before anything is told or touched. */
export async function run(request: Request): Promise<number> {
  const { cluster, options, signal, reporterFor } = request
  const started = performance.now()
  const table = options.names.includes('verify') ? verifyTable : bootstrapTable
  const dryRun = options.dryRun || table.looksOnly === true
  const graph = clusterGraph(cluster, table)
  const { ids, forced } = select(cluster, graph, table, options)
  const wanted = closure(graph, ids)
  checkConfigFile(request, wanted)
  const reporter = await reporterFor(viewPhases(table.phases, wanted), options.dryRun && !table.looksOnly)
  const { at, limits, close } = openWorkspace(request, reporter.note)
  const { auth } = at

  let outcomes: ReadonlyMap<TargetId, Outcome> = new Map()
  let status = 1
  let lock: Lock | undefined
  try {
    if (!dryRun) {
      auth.make()
      lock = await lockAuth(auth, request, reporter.note)
    }
    const refusals = dryRun ? [] : await findRefusals(wanted, at, forced)
    for (const [id, failure] of joinFailures(refusals)) reporter.problem(failure, id)
    if (refusals.length > 0) status = 3
    else {
      if (!dryRun) auth.keepOutOfGit()
      if (!dryRun && auth.tightenFolder()) reporter.note(`${auth.path} was open to others: its mode is now 0700`)
      const ended = lock ? AbortSignal.any([signal, lock.lost]) : signal
      outcomes = await execute(wanted, { at, dryRun, forced, limits, signal: ended, emit: reporter.event })
      status = exitStatus(outcomes)
      if (lock?.lost.aborted) {
        reporter.problem(asFailure(lock.lost.reason))
        status = 1
      }
      if (ids.some((id) => wanted.get(id)?.where === 'node'))
        for (const former of formerNodes(at)) reporter.note(former)
    }
  } catch (error) {
    if (!signal.aborted) reporter.problem(asFailure(error))
  } finally {
    await close()
    lock?.release()
  }
  const exit = request.endedStatus() ?? status
  await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit))
  return exit
}

function exitStatus(outcomes: ReadonlyMap<TargetId, Outcome>): number {
  const all = [...outcomes.values()]
  if (all.some((outcome) => outcome.kind === 'failed' && outcome.failure.kind === 'refused')) return 3
  if (all.some(({ kind }) => kind === 'failed' || kind === 'cancelled')) return 1
  return all.some(({ kind }) => kind === 'stale') ? 4 : 0
}
