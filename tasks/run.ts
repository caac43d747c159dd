/** One run: the lock, the refusals, the graph, and what is told of it. */
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import pLimit from 'p-limit'
import { AuthDir } from '../lib/auth-dir.ts'
import type { Cluster } from '../lib/cluster.ts'
import { execute, findRefusals, type Outcome } from '../lib/executor.ts'
import { Failure } from '../lib/failure.ts'
import { closure, type TargetId } from '../lib/graph.ts'
import { takeLock } from '../lib/lock.ts'
import { type PhaseView, type Reporter, summarise, viewPhases } from '../lib/reporter.ts'
import type { Ssh, SshPlace } from '../lib/ssh.ts'
import type { Workspace } from '../lib/workspace.ts'
import type { Options } from './options.ts'
import { bootstrapTable, clusterGraph, verifyTable } from './phases.ts'
import { select } from './selection.ts'

export interface RunRequest {
  readonly cluster: Cluster
  /** The cluster.yaml in use: auth/ is beside it. */
  readonly file: string
  readonly options: Options
  readonly kubeconfigs: readonly string[]
  readonly signal: AbortSignal
  /** 128 + signal, where a signal has ended the run. */
  readonly endedStatus: () => number | undefined
  readonly report: (phases: readonly PhaseView[]) => Promise<Reporter>
}

type Outcomes = ReadonlyMap<TargetId, Outcome>

/** The exit status. Throws a usage Failure, before anything is told or touched. */
export async function run(request: RunRequest): Promise<number> {
  const { cluster, file, options, kubeconfigs, signal, report } = request
  const started = performance.now()
  const table = options.names.includes('verify') ? verifyTable : bootstrapTable
  const dryRun = options.dryRun || table === verifyTable
  const graph = clusterGraph(cluster, table)
  const { ids, forced } = select(graph, table, options)
  const wanted = closure(graph, ids)
  const reporter = await report(viewPhases(table.phases, wanted))
  const folder = dirname(file)
  const auth = new AuthDir(join(folder, 'auth'))
  const { connect, disconnect } = connector(cluster, { folder, signal, waitNodes: options.waitNodes })
  const at: Workspace = { cluster, auth, now: new Date(), kubeconfigs, connect, note: reporter.note, options }

  const refuse = (refusals: ReadonlyMap<TargetId, Failure>): Outcomes => {
    for (const [id, failure] of refusals) reporter.problem(failure, id)
    return new Map()
  }
  const work = async (): Promise<{ outcomes: Outcomes; status: number }> => {
    const release = dryRun ? () => {} : await holdAuth(auth, options, signal, reporter)
    try {
      const refusals = await findRefusals(wanted, at, forced)
      if (refusals.size > 0 && !dryRun) return { outcomes: refuse(refusals), status: 3 }
      if (!dryRun && auth.tightenFolder()) reporter.note(`${auth.path} was open to others: its mode is now 0700`)
      const limits = {
        cpu: pLimit(availableParallelism()),
        ssh: pLimit(options.concurrency ?? cluster.ssh.concurrency),
      }
      const outcomes = await execute(wanted, {
        at,
        dryRun,
        forced,
        limits,
        signal,
        emit: reporter.event,
      })
      return { outcomes, status: exitStatus(outcomes) }
    } finally {
      await disconnect()
      release()
    }
  }
  const { outcomes, status } = await work().catch((error: unknown) => {
    if (!signal.aborted && !(error instanceof Failure)) throw error
    if (!signal.aborted) reporter.problem(error as Failure)
    return { outcomes: new Map(), status: 1 }
  })
  const exit = request.endedStatus() ?? status
  await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit))
  return exit
}

/** zx is loaded by the first connection: most commands make none. */
function connector(
  cluster: Cluster,
  place: SshPlace,
): { connect: Workspace['connect']; disconnect: () => Promise<void> } {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../lib/ssh.ts')).Ssh(cluster, place)
  return {
    connect: async (node) => {
      ssh ??= open()
      return (await ssh).connection(node)
    },
    disconnect: async () => (await ssh)?.end(),
  }
}

async function holdAuth(auth: AuthDir, options: Options, signal: AbortSignal, reporter: Reporter): Promise<() => void> {
  auth.make()
  const wait = options.lockWait ? Number.POSITIVE_INFINITY : 0
  const release = await takeLock(join(auth.path, '.lock'), {
    signal,
    wait,
    waitForNameless: 10_000,
    onWait: reporter.note,
  })
  auth.sweep()
  return release
}

function exitStatus(outcomes: Outcomes): number {
  const all = [...outcomes.values()]
  if (all.some((outcome) => outcome.kind === 'failed' && outcome.failure.kind === 'refused')) return 3
  if (all.some(({ kind }) => kind === 'failed' || kind === 'cancelled')) return 1
  return all.some(({ kind }) => kind === 'stale') ? 4 : 0
}
