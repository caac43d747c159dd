/** One run: the lock, the refusals, the graph, and what is told of it. */
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import pLimit from 'p-limit'
import { AuthDir } from '../lib/auth-dir.ts'
import type { Cluster } from '../lib/cluster.ts'
import { asFailure, execute, findRefusals, type Outcome } from '../lib/executor.ts'
import { closure, type TargetId } from '../lib/graph.ts'
import { takeLock } from '../lib/lock.ts'
import { quote } from '../lib/node-files.ts'
import { type PhaseView, type Reporter, summarise, viewPhases } from '../lib/reporter.ts'
import type { Ssh, SshRun } from '../lib/ssh.ts'
import type { Workspace } from '../lib/workspace.ts'
import { formerNodes } from './deploy.ts'
import type { Options } from './options.ts'
import { bootstrapTable, clusterGraph, verifyTable } from './phases.ts'
import { select } from './selection.ts'

export interface RunRequest {
  readonly cluster: Cluster
  /** The cluster.yaml in use: auth/ is beside it. */
  readonly file: string
  readonly options: Options
  readonly kubeconfigs: () => readonly string[]
  readonly signal: AbortSignal
  /** 128 + signal, where a signal has ended the run. */
  readonly endedStatus: () => number | undefined
  readonly report: (phases: readonly PhaseView[], isPlan: boolean) => Promise<Reporter>
}

/** The exit status. Throws a usage Failure, before anything is told or touched. */
export async function run(request: RunRequest): Promise<number> {
  const { cluster, file, options, kubeconfigs, signal, report } = request
  const started = performance.now()
  const table = options.names.includes('verify') ? verifyTable : bootstrapTable
  const dryRun = options.dryRun || table.looksOnly === true
  const graph = clusterGraph(cluster, table)
  const { ids, forced } = select(graph, table, options)
  const wanted = closure(graph, ids)
  const reporter = await report(viewPhases(table.phases, wanted), options.dryRun && !table.looksOnly)
  const folder = dirname(file)
  const auth = new AuthDir(join(folder, 'auth'))
  const { connect, disconnect } = connector(cluster, { folder, signal, waitNodes: options.waitNodes })
  const config = options.config === undefined ? '' : ` --config ${quote(options.config)}`
  const command = (task: string) => {
    const words = task.replace(/^bootstrap ?/, '') + config
    return task.startsWith('bootstrap')
      ? `npm run bootstrap${words && ` -- ${words.trim()}`}`
      : `npm run task -- ${words}`
  }
  const at: Workspace = { cluster, auth, now: new Date(), kubeconfigs, connect, command, note: reporter.note, options }

  let outcomes: ReadonlyMap<TargetId, Outcome> = new Map()
  let status = 1
  let release = () => {}
  try {
    if (!dryRun) release = await holdAuth(auth, options, signal, reporter)
    const refusals = dryRun ? [] : await findRefusals(wanted, at, forced)
    for (const [id, failure] of refusals) reporter.problem(failure, id)
    if (refusals.length > 0) status = 3
    else {
      if (!dryRun && auth.tightenFolder()) reporter.note(`${auth.path} was open to others: its mode is now 0700`)
      // One more than there are cores: while a certificate is signed, every core goes on making keys.
      const limits = {
        cpu: pLimit(availableParallelism() + 1),
        ssh: pLimit(options.concurrency ?? cluster.ssh.concurrency),
      }
      outcomes = await execute(wanted, { at, dryRun, forced, limits, signal, emit: reporter.event })
      status = exitStatus(outcomes)
      if (ids.some((id) => id.startsWith('deploy/'))) for (const former of formerNodes(at)) reporter.note(former)
    }
  } catch (error) {
    if (!signal.aborted) reporter.problem(asFailure(error))
  } finally {
    await disconnect()
    release()
  }
  const exit = request.endedStatus() ?? status
  await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit))
  return exit
}

/** zx is loaded by the first connection: most commands make none. */
function connector(
  cluster: Cluster,
  place: SshRun,
): { connect: Workspace['connect']; disconnect: () => Promise<void> } {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../lib/ssh.ts')).Ssh(cluster, place)
  return {
    connect: async (node) => {
      ssh ??= open()
      return (await ssh).connection(node)
    },
    // Where it could not be opened, that has been said.
    disconnect: async () => (await ssh?.catch(() => undefined))?.end(),
  }
}

async function holdAuth(auth: AuthDir, options: Options, signal: AbortSignal, reporter: Reporter): Promise<() => void> {
  auth.make()
  const [wait, waitForNameless] = options.lockWait ? [Number.POSITIVE_INFINITY, 10_000] : [0, 0]
  const release = await takeLock(join(auth.path, '.lock'), {
    signal,
    wait,
    waitForNameless,
    onWait: reporter.note,
  })
  try {
    auth.sweep()
  } catch (error) {
    release()
    throw error
  }
  return release
}

function exitStatus(outcomes: ReadonlyMap<TargetId, Outcome>): number {
  const all = [...outcomes.values()]
  if (all.some((outcome) => outcome.kind === 'failed' && outcome.failure.kind === 'refused')) return 3
  if (all.some(({ kind }) => kind === 'failed' || kind === 'cancelled')) return 1
  return all.some(({ kind }) => kind === 'stale') ? 4 : 0
}
