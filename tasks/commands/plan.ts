/** A dry run: what a run would do, and why; and the look of a run that is to do just that. */
import { hash } from 'node:crypto'
import { Failure } from '../../lib/failure.ts'
import { byPhase, closure, isFailedOrSkipped } from '../../lib/graph/target.ts'
import { type Diff, formatDiffs } from '../../lib/results.ts'
import { formatFailures, notices } from '../../lib/show/rows.ts'
import { filesToMove } from '../auth/accepted.ts'
import { phases } from '../bootstrap.ts'
import { type ClusterGraph, type ClusterRows, type ClusterTarget, clusterGraph, type Run } from '../cluster-target.ts'
import { type CommandRun, readAuth, refusalsBefore } from '../run/command-run.ts'
import { type ExitCause, exitStatus } from '../run/host.ts'
import { formatTask, type Selection, select, usage } from '../run/options.ts'
import {
  adviseOnRotations,
  findBeside,
  noteOnNewIdentity,
  type Observation,
  observe,
  showObservation,
  stagesIn,
} from '../views/observe.ts'

export async function plan(given: CommandRun): Promise<readonly ExitCause[]> {
  if (given.options.expectPlan !== undefined) throw usage("--expect-plan and --dry-run can't be combined")
  const all = await clusterGraph(phases, given.cluster)
  const { ids, forced } = select(given, all)
  const graph = closure(all, ids)
  const read = async (run: CommandRun) => {
    const warnings: string[] = []
    const noting = { ...run, note: (text: string) => void warnings.push(text) }
    const tell = run.host.stdout.isTTY && !run.options.quiet ? run.printError : () => {}
    const refusals = await refusalsBefore(graph, { run: noting, forced, tell })
    if (refusals.length > 0) return reportRefusals(run, graph, refusals)
    const seen = await observe(run, graph, { forced, mode: 'plan' })
    return show(run, seen, warnings)
  }
  return readAuth(given, graph, read, { isPlan: true })
}

async function reportRefusals(
  { reporterFor, endedStatus }: CommandRun,
  graph: ClusterGraph,
  refusals: readonly [string | undefined, Failure][],
): Promise<readonly ExitCause[]> {
  const reporter = await reporterFor(byPhase(phases, graph), true)
  for (const [id, failure] of refusals) reporter.problem(failure, id)
  await reporter.end({ rows: new Map(), seconds: 0, exit: exitStatus(['refused'], endedStatus()) })
  return ['refused']
}

async function show(given: CommandRun, seen: Observation, warnings: readonly string[]) {
  const { run, rows } = seen
  const all = [...rows.values()]
  const told = [
    ...notices('note', noteOnNewIdentity(rows), ...warnings),
    ...findBeside(run, rows),
    ...(await adviseOnRotations(run)),
  ]
  const isMoving = filesToMove(run).length > 0
  const isToDo = isMoving || all.some(({ state }) => state === 'stale')
  const task = given.command(formatTask(given.options))
  // Failures have ways out of their own.
  const next = isToDo && !all.some(isFailedOrSkipped) ? `To carry it out:\n    ${task}` : undefined
  const planHash = planIn(given, run, rows)?.hash
  const beside: ExitCause[] = isMoving ? ['stale'] : []
  return showObservation(given, seen, { isPlan: true, beside, notices: told, planHash, next })
}

/** `--expect-plan`: the same targets, which do nothing else. Throws a refusal if that is another plan. */
export async function readPlanned(
  given: CommandRun,
  graph: ClusterGraph,
  forced: Selection['forced'],
): Promise<ClusterGraph> {
  const { run, rows } = await observe(given, graph, { forced, mode: 'plan' })
  const plan = planIn(given, run, rows)
  const task = formatTask(given.options)
  if (!plan)
    throw otherPlan(['the plan is incomplete, so nothing was done:', ...formatFailures(rows)].join('\n'), run, task)
  if (plan.hash !== given.options.expectPlan)
    throw otherPlan(`the plan has changed to ${plan.hash}; nothing was done`, run, task)
  return keepTo(plan, graph, task)
}

type Plan = Readonly<NonNullable<ReturnType<typeof planIn>>>

/** Undefined if a target could not be looked at. Rotations in progress and files that a run moves are part of it. */
function planIn({ cluster }: CommandRun, run: Run, rows: ClusterRows) {
  const all = [...rows.values()]
  if (all.some(isFailedOrSkipped)) return undefined
  const actions = all.filter(({ state }) => state === 'stale').flatMap(({ target, diffs }) => actionsOf(target, diffs))
  const whole = JSON.stringify([cluster.name, ...stagesIn(run), ...filesToMove(run), ...actions.toSorted()])
  return { hash: hash('sha256', whole), actions: new Set(actions) }
}

/** The same targets; each refuses to be built if that is not in the plan. */
function keepTo({ actions }: Plan, graph: ClusterGraph, task: string): ClusterGraph {
  const kept = (target: ClusterTarget): ClusterTarget => ({
    ...target,
    build: async (run, work) => {
      if (actionsOf(target, work.diffs).some((action) => !actions.has(action)))
        throw otherPlan(`not in the plan: ${formatDiffs(work.diffs)}`, run, task)
      return target.build?.(run, work)
    },
  })
  return new Map([...graph].map(([id, target]) => [id, target.build ? kept(target) : target]))
}

function otherPlan(what: string, { command }: Pick<Run, 'command'>, task: string): Failure {
  const remedy = `make a new plan:\n    ${command(`${task} --dry-run`)}`
  return new Failure(what, { kind: 'refused', code: 'other-plan', remedy })
}

/** The target, its desired values, each file and unit. The user's own kubeconfig is part of no plan. */
function actionsOf({ id, where, desired }: ClusterTarget, diffs: readonly Diff[]): string[] {
  if (where === 'kubeconfig') return []
  const works = diffs.flatMap(({ verb, names = [''] }) => (verb ? names.map((name) => `${verb} ${name}`) : []))
  return ['', ...works].map((what) => JSON.stringify([id, desired, what]))
}
