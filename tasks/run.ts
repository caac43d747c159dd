/** One run: the lock, the refusals, the graph, and what is told of it. */
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import pLimit from 'p-limit'
import { AuthDir } from '../lib/auth-dir.ts'
import type { Cluster } from '../lib/cluster.ts'
import { execute, findRefusals, type Outcome } from '../lib/executor.ts'
import { closure, type TargetId } from '../lib/graph.ts'
import { takeLock } from '../lib/lock.ts'
import { type PhaseView, type Reporter, summarise, viewPhases } from '../lib/reporter.ts'
import type { Ssh } from '../lib/ssh.ts'
import type { Workspace } from '../lib/workspace.ts'
import type { Options } from './options.ts'
import { clusterGraph, phases } from './phases.ts'
import { select } from './selection.ts'

export interface RunRequest {
  readonly cluster: Cluster
  /** The cluster.yaml in use: auth/ is beside it. */
  readonly file: string
  readonly options: Options
  readonly kubeconfigs: readonly string[]
  readonly signal: AbortSignal
  readonly report: (phases: readonly PhaseView[]) => Promise<Reporter>
}

/** The exit status, signals aside. Throws a Failure where nothing could be begun. */
export async function run({ cluster, file, options, kubeconfigs, signal, report }: RunRequest): Promise<number> {
  const started = performance.now()
  const { ids, forced } = select(clusterGraph(cluster), options)
  const graph = closure(clusterGraph(cluster), ids)
  const reporter = await report(viewPhases(phases, graph))
  const auth = new AuthDir(join(dirname(file), 'auth'))
  const { connect, disconnect } = connector(cluster, dirname(file), signal)
  const at: Workspace = { cluster, auth, now: new Date(), folder: dirname(file), kubeconfigs, connect, options }
  const release = options.dryRun ? () => {} : await holdAuth(auth, options, signal, reporter)
  let outcomes: ReadonlyMap<TargetId, Outcome> = new Map()
  try {
    const refusals = await findRefusals(graph, at, forced)
    if (refusals.size > 0 && !options.dryRun) {
      for (const [id, failure] of refusals) reporter.problem(failure, id)
      return 3
    }
    if (!options.dryRun && auth.tightenFolder()) reporter.note(`${auth.path} was open to others: its mode is now 0700`)
    const limits = { cpu: pLimit(availableParallelism()), ssh: pLimit(options.concurrency ?? cluster.ssh.concurrency) }
    outcomes = await execute(graph, { at, dryRun: options.dryRun, forced, limits, signal, emit: reporter.event })
    return exitStatus(outcomes)
  } finally {
    await disconnect()
    release()
    const seconds = (performance.now() - started) / 1000
    await reporter.end(summarise(outcomes, seconds, exitStatus(outcomes)))
  }
}

/** zx is loaded by the first connection: most commands make none. */
function connector(
  cluster: Cluster,
  folder: string,
  signal: AbortSignal,
): { connect: Workspace['connect']; disconnect: () => Promise<void> } {
  let ssh: Promise<Ssh> | undefined
  const open = async () => new (await import('../lib/ssh.ts')).Ssh(cluster, folder)
  return {
    connect: async (node) => {
      ssh ??= open()
      return (await ssh).connection(node, signal)
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

function exitStatus(outcomes: ReadonlyMap<TargetId, Outcome>): number {
  const all = [...outcomes.values()]
  if (all.some((outcome) => outcome.kind === 'failed' && outcome.failure.kind === 'refused')) return 3
  if (all.some(({ kind }) => kind === 'failed' || kind === 'cancelled')) return 1
  return all.some(({ kind }) => kind === 'stale') ? 4 : 0
}
