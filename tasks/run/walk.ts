/** One walk over targets while auth/ is locked: the refusals first, then the builds. */
import type { Failure } from '../../lib/failure.ts'
import { type AuthDir, authorizationConfigFile } from '../../lib/files/auth-dir.ts'
import { findRefusals, openWalk, type RunOptions } from '../../lib/graph/executor.ts'
import type { Phases, Reporter } from '../../lib/show/reporter.ts'
import { joinFailures } from '../../lib/show/rows.ts'
import { setAside } from '../auth/former-files.ts'
import { runPhases } from '../bootstrap.ts'
import type { ClusterGraph, ClusterRows, Run } from '../target.ts'
import { causesOf, type ExitCause } from './exit-status.ts'

export async function walk(
  graph: ClusterGraph,
  {
    phases,
    reporter,
    ...options
  }: Pick<RunOptions<Run>, 'run' | 'forced' | 'signal'> & { readonly phases: Phases; readonly reporter: Reporter },
): Promise<{ rows: ClusterRows; causes: readonly ExitCause[] }> {
  const { run } = options
  const { auth } = run
  const refusals = await refusalsBefore(graph, { ...options, run, tell: run.note })
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  if (refusals.length > 0) return { rows: new Map(), causes: ['refused'] }
  closeFolder(auth, reporter.note)
  setAside({ ...run, note: reporter.note })
  const opened = openWalk(graph, { ...options, run, mode: 'run', emit: reporter.event })
  const rows = await runPhases(phases, opened, reporter.renderer)
  return { rows, causes: causesOf(rows.values()) }
}

/** What stops a run before it builds anything, and so a plan. */
export async function refusalsBefore(
  graph: ClusterGraph,
  { run, forced, tell }: Pick<RunOptions<Run>, 'run' | 'forced'> & { readonly tell: Run['note'] },
): Promise<[string | undefined, Failure][]> {
  const list = run.auth.read(authorizationConfigFile) && (await import('../revoked/revoked.ts')).findRefusedList(run)
  if (list) return [['revoked', list]]
  const refusals = await findRefusals(graph, run, forced)
  if (![...graph.values()].some(({ where }) => where === 'node')) return joinFailures(refusals)
  const { findOtherCluster } = await import('../deploy/other-cluster.ts')
  const other = await findOtherCluster(run, graph, tell)
  return joinFailures(other ? [...refusals, other] : refusals)
}

export function closeFolder(auth: AuthDir, note: (text: string) => void): void {
  auth.keepOutOfGit()
  if (auth.tightenFolder() && auth.hasFiles()) note(`permissions of ${auth.path} were too open; its mode is now 0700`)
}
