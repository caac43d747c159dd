/** One run: a walk over the graph, and what it reports at its end. */
import { frontProxyCaName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { byPhase, closure, type Force, isDone, isFailedOrSkipped } from '../../lib/graph/target.ts'
import { hasVerb } from '../../lib/results.ts'
import { type Notice, notices } from '../../lib/show/rows.ts'
import { formatNames, joinClauses } from '../../lib/wording.ts'
import { phases } from '../bootstrap.ts'
import { type ClusterGraph, type ClusterRow, type ClusterRows, clusterGraph, type Run } from '../cluster-target.ts'
import { frontProxyOutage } from '../phases/ca.ts'
import { type CommandRun, walk, writeAuth } from '../run/command-run.ts'
import { confirm, type ExitCause } from '../run/host.ts'
import { formatTask, select } from '../run/options.ts'
import { adviseAfter, adviseOnRotations, findBeside, hasNewKubeconfig, noteOnNewIdentity } from '../views/observe.ts'

export async function run(given: CommandRun): Promise<readonly ExitCause[]> {
  const { command, options, signal } = given
  const graph = await clusterGraph(phases, given.cluster)
  const { ids, forced } = select(given, graph)
  const desired = closure(graph, ids)
  const replaced = [...forced].flatMap(([id, force]) => (force === 'replace' ? id : []))
  const frontProxyCa = `ca/${frontProxyCaName}`
  const breaking = replaced.filter((id) => id !== frontProxyCa)
  const loss = joinClauses(
    breaking.length > 0 &&
      `replacing ${formatNames(breaking)} breaks everything that uses the current one (rotate replaces it without an outage)`,
    replaced.includes(frontProxyCa) && `after replacing ${frontProxyCa}, ${frontProxyOutage}`,
    options.replaceIdentity && '--replace-identity overwrites any other cluster identity',
  )
  if (loss) await confirm(given, loss, formatTask(options))
  const shown = byPhase(phases, desired)
  const reporter = await given.reporterFor(shown, false)
  return writeAuth(given, {
    graph: desired,
    reporter,
    work: async (run) => {
      const isPlanned = options.expectPlan !== undefined
      const planned = isPlanned ? await (await import('./plan.ts')).readPlanned(run, desired, forced) : desired
      const walked = await walk(planned, { phases: shown, run, signal, forced, reporter })
      if (walked.rows.size === 0) reporter.note('no file was created or changed')
      return walked
    },
    closing: async (rows, run) => {
      const scope = { all: graph, forced, rows }
      return {
        notices: await findAfter(run, scope),
        goOn: signal.aborted ? command(nextTask(run, scope)) : undefined,
      }
    },
  })
}

interface RunScope {
  readonly all: ClusterGraph
  readonly forced: ReadonlyMap<string, Force>
  readonly rows: ClusterRows
}

/** After an interruption only what must not wait for the next run. */
async function findAfter(given: CommandRun, scope: RunScope): Promise<Notice[]> {
  const { signal } = given
  const { rows } = scope
  const all = [...rows.values()]
  const reachesNodes = all.some(({ target }) => target.where === 'node')
  const isIdle = !reachesNodes && all.every(({ state }) => state === 'fresh')
  return [
    ...notices('note', noteOnNewIdentity(rows)),
    ...adviseAfter(given, rows),
    ...notices('after', ...(signal.aborted ? [] : [...adviseUsers(given, rows), ...adviseOthers(given, scope)])),
    ...findBeside(given, rows, { isIdle }),
    ...(await adviseOnRotations(given)),
  ]
}

function adviseUsers({ cluster }: Run, rows: ClusterRows): string[] {
  const names = cluster.users.flatMap(({ name }) => (hasNewKubeconfig(rows, name) ? [name] : []))
  if (names.length === 0) return []
  return [`give ${names.length === 1 ? names[0] : 'each user'} the new ${formatNames(names.map(kubeconfigFile))}`]
}

/** After a phase that was run alone: what still has the old files. After a failed --force: what makes nothing twice. */
function adviseOthers(run: CommandRun, scope: RunScope): string[] {
  const { command, options } = run
  const { all, rows } = scope
  const left = [...all.values()].filter(({ id }) => !rows.has(id))
  const needed = left.flatMap(({ needs }) => needs.flatMap((id) => rows.get(id) ?? []))
  const isUsed = (isMade: (row: ClusterRow) => boolean) => needed.some((row) => row.state === 'built' && isMade(row))
  // A replaced identity has a warning of its own, which says what comes next.
  const isRemade = ({ diffs, target }: ClusterRow) =>
    target.where === 'auth' &&
    !hasVerb(diffs, 'make') &&
    hasVerb(diffs, 'renew', 'change', ...(target.irreplaceable ? [] : (['replace'] as const)))
  if (isUsed(isRemade)) return [`kubeconfigs or nodes have the old files until you run:\n    ${command('bootstrap')}`]
  if (isUsed(({ diffs }) => hasVerb(diffs, 'copy', 'update')))
    return [`units do not have the new files until you run:\n    ${command('bootstrap')}`]
  const isStopped = (options.force || options.renew) && [...rows.values()].some(isFailedOrSkipped)
  return isStopped ? [`run:\n    ${command(nextTask(run, scope))}`] : []
}

/** The same command without the CA or key that it has replaced; `bootstrap` once all is replaced. */
function nextTask({ options }: CommandRun, { all, forced, rows }: RunScope): string {
  const hasMade = [...rows.values()].some(({ state }) => state === 'built')
  if (forced.size === 0 || !hasMade) return formatTask(options)
  const isLeft = [...forced.keys()].some((id) => all.get(id)?.where === 'auth' && !isDone(rows.get(id)))
  const isReplaced = (name: string) => forced.get(name) === 'replace' && isDone(rows.get(name))
  if (isLeft) return formatTask({ ...options, names: options.names.filter((name) => !isReplaced(name)) })
  return ['bootstrap', ...options.nodes.map((node) => `--node ${node}`)].join(' ')
}
