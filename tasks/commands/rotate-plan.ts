/**
 * `rotate … --dry-run`: the plan of a rotation. A plan is data, which is then printed as text or as JSON: what comes
 * before the stages, each stage, what was not tried, and what is left to do.
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import { fileAt } from '../../lib/node/state.ts'
import { asFindings, formatFinding } from '../../lib/results.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatToDo, joinFailures } from '../../lib/show/rows.ts'
import { wrap } from '../../lib/wording.ts'
import { notesOnMove } from '../auth/former-files.ts'
import { lookAtUnits, type UnitsFound } from '../day2/install/look-at-units.ts'
import { unsetOn } from '../day2/install/unreached.ts'
import { changedBy, type Rotation, type Stage } from '../day2/rotations/rotation.ts'
import { formatTried, type Tried } from '../day2/rotations/transition.ts'
import { notTried, type TriedStage, tryStages } from '../day2/rotations/trial.ts'
import { digestAt, isDrainedFor } from '../inspect/look.ts'
import type { Place } from '../layouts/layout.ts'
import { nodeFiles, nodeUnits, outageOf } from '../layouts/tables.ts'
import { readAuth } from '../run/access.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { columnsOf } from '../run/host.ts'
import type { Run } from '../target.ts'
import { backUp } from '../views/notices.ts'
import { checkedRotation, refuseOther, type Start, startOf } from './rotate.ts'

interface RotationPlan {
  readonly rotation: Rotation
  /** A sentence each. */
  readonly notes: readonly string[]
  /** The nodes that could not be inspected, by name. */
  readonly failures: readonly [string, Failure][]
  /** What the user has to change on nodes before the first stage: a sentence each. */
  readonly toChange: readonly string[]
  readonly stages: readonly PlannedStage[]
  /** What no trial covers. */
  readonly untried: readonly string[]
  readonly toDo: readonly string[]
  /** A connection would be refused, at some stage or before the first one. */
  readonly isRefused: boolean
}

interface PlannedStage extends Pick<Stage, 'name' | 'title' | 'proof'> {
  /** The first stage is 1. */
  readonly number: number
  readonly state: 'done' | 'under way' | 'to do' | 'with --finish'
  readonly canUndo: boolean
  readonly nodes: readonly { readonly node: ClusterNode; readonly units: readonly ChangingUnit[] }[]
  /** What users notice while units restart. */
  readonly outage: string | undefined
  /** What the trial found; undefined for a stage that is done. */
  readonly tried: Tried | undefined
}

/** A unit that loads a file of a stage, by a restart or without one. */
interface ChangingUnit {
  readonly unit: string
  readonly files: readonly Pick<Place, 'file' | 'path'>[]
  readonly restarts: boolean
  readonly isDrained: boolean
}

/** What a plan is computed from. */
interface Findings {
  readonly rotation: Rotation
  readonly start: Start
  readonly looks: Looks
  readonly trials: readonly TriedStage[]
}

/**
 * A look at each node, by its name: the command lines and versions that decide what restarts, or why there are none.
 */
type Looks = ReadonlyMap<string, UnitsFound | Failure>

/** Throws a usage Failure before anything is printed. */
export async function plan(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checkedRotation(given)
  const read = async (run: CommandRun) => {
    refuseOther({ options: given.options, rotation, rotating: { run } })
    const start = startOf(rotation, given.options, run)
    const rotating = { run, signal: run.signal, isForced: false }
    const trials = await tryStages(rotating, rotation, start.at)
    const looks = await inspectNodes(rotation, run)
    return () => printPlan(run, planRotation(run, { rotation, start, looks, trials }))
  }
  return readAuth(given, graph, read, { isPlan: true })
}

/** A rotation needs every node. */
async function inspectNodes(rotation: Rotation, run: Run): Promise<Looks> {
  const looks = await run.limits.node.map(run.cluster.nodes, async (node) => {
    const look = lookAtUnits({ ...run, stagedBy: rotation.name }, node)
    const found = await look.catch((error) => (error instanceof Failure ? error : Promise.reject(error)))
    await run.disconnect(node)
    return [node.name, found] as const
  })
  return new Map(looks)
}

function foundOn(looks: Looks, { name }: ClusterNode): UnitsFound | undefined {
  const found = looks.get(name)
  return found instanceof Failure ? undefined : found
}

function planRotation(run: CommandRun, findings: Findings): RotationPlan {
  const { rotation, start, looks, trials } = findings
  const { cluster } = run
  const changes = changedBy(rotation, cluster)
  const beforeFirst = trials.flatMap(({ stage, ...tried }) => (stage ? [] : formatTried(tried)))
  return {
    rotation,
    notes: [
      ...(start.note === undefined ? [] : [start.note]),
      ...notesOnMove(run).map(formatFinding),
      ...beforeFirst.map((line) => `before the first stage: ${line}`),
    ],
    failures: [...looks].flatMap(([node, found]) => (found instanceof Failure ? [[node, found]] : [])),
    toChange: cluster.nodes.flatMap((node) => {
      const found = foundOn(looks, node)
      return found ? unsetOn(found, changes).map((what) => `${node.name}: ${what}`) : []
    }),
    stages: rotation.stages.map((stage, i) => planStage(run, { stage, number: i + 1, ...findings })),
    untried: [...notTried(cluster), ...rotation.unseen(cluster)].map((each) => `not tried: ${each}`),
    toDo: leftToDo(run, findings),
    isRefused: trials.some(({ refused }) => refused.length > 0),
  }
}

interface StageFindings extends Findings {
  readonly stage: Stage
  readonly number: number
}

function planStage(run: CommandRun, findings: StageFindings): PlannedStage {
  const { stage, number, looks, trials } = findings
  const { name, title, proof, undo } = stage
  const nodes = run.cluster.nodes.map((node) => ({
    node,
    units: changingUnits(run, { node, stage, found: foundOn(looks, node) }),
  }))
  const trial = trials.find((each) => each.stage === stage)
  return {
    ...{ name, title, proof, number, nodes },
    state: stateOf(run, findings),
    canUndo: undo !== undefined,
    outage: outageOf(run.cluster, restartsOn(nodes)),
    tried: trial && triedOf(trial),
  }
}

const triedOf = ({ stage: _, ...tried }: TriedStage): Tried => tried

function stateOf({ options }: CommandRun, { rotation, start, number }: StageFindings): PlannedStage['state'] {
  if (number < start.at) return 'done'
  if (number === start.at) return 'under way'
  return number < rotation.stages.length || options.finish ? 'to do' : 'with --finish'
}

const restartsOn = (nodes: PlannedStage['nodes']): string[] =>
  nodes.flatMap(({ units }) => units.flatMap(({ unit, restarts }) => (restarts ? unit : [])))

/** The units of a node that load a file of the stage. */
function changingUnits(
  run: Run,
  { node, stage, found }: { node: ClusterNode; stage: Stage; found: UnitsFound | undefined },
): ChangingUnit[] {
  const { cluster } = run
  const deployed = new Set(nodeFiles(cluster, node))
  // A kubeconfig that names its CA by a file stays as it is.
  const isSame = (place: Place) =>
    place.part === 'kubeconfig' && found && fileAt(found.places, place.path)?.sha256 === digestAt(run, place)
  const isChanged = (place: Place) =>
    deployed.has(place.file) && place.part !== 'pair' && !isSame(place) && stage.changes(place.file, cluster)
  return (found?.units ?? nodeUnits(cluster, node)).flatMap((each) => {
    const { unit, files } = each
    const changed = files.filter(isChanged)
    if (changed.length === 0) return []
    const restarts = changed.some(({ loads }) => loads === 'restart')
    const isDrained = restarts && isDrainedFor(run, each)
    return [{ unit, files: changed.map(({ file, path }) => ({ file, path })), restarts, isDrained }]
  })
}

/** Without --finish a run completes and proves the last stage but one, and goes no further. */
function leftToDo({ auth, command, options }: CommandRun, { rotation, start }: Findings): string[] {
  const isFinishLeft = start.at >= rotation.stages.length - 1 && !options.finish
  return [
    ...(start.at === 0 && rotation.reminder !== undefined ? [rotation.reminder] : []),
    `after each stage, ${backUp(auth)}`,
    ...(isFinishLeft ? [`complete the rotation: ${command(`rotate ${rotation.name} --finish`)}`] : []),
  ]
}

async function printPlan(run: CommandRun, planned: RotationPlan): Promise<readonly ExitCause[]> {
  const { options, print } = run
  for (const message of planned.notes) print(options.json ? formatJsonLine({ type: 'note', message }) : `${message}\n`)
  const reporter = await run.reporterFor(new Map(), true)
  for (const [, failure] of joinFailures(planned.failures)) reporter.problem(failure)
  for (const line of options.json ? jsonLines(planned) : textLines(run, planned)) print(line)
  return planned.isRefused ? ['refused'] : ['stale']
}

function jsonLines({ rotation, stages, untried, toDo }: RotationPlan): string[] {
  const ofStages = stages.map(({ name, title, number, state, proof, canUndo, nodes, tried }) =>
    formatJsonLine({
      ...{
        type: 'stage',
        rotation: rotation.name,
        name,
        title,
        number,
        state,
        of: stages.length,
        proof,
        undo: canUndo,
      },
      nodes: nodes.map(({ node, units }) => ({ node: node.name, units })),
      ...(tried && { tried }),
    }),
  )
  return [...ofStages, ...[...untried, ...toDo].map((message) => formatJsonLine({ type: 'note', message }))]
}

function textLines(run: CommandRun, { rotation, toChange, stages, untried, toDo }: RotationPlan): string[] {
  const columns = columnsOf(run.host.stdout)
  const undo = run.command(`rotate ${rotation.name} --undo`)
  const findings = asFindings(toDo, { owner: 'afterwards' })
  return [
    ...(toChange.length > 0 ? [['Before the first stage:', ...toChange, ''].join('\n')] : []),
    ...stages.flatMap((stage, i) => [
      ...(i > 0 ? [''] : []),
      wrap(headingOf(stage, stages.length), columns, 4),
      ...detailsOf(stage).map((text) => wrap(`  ${text}`, columns, 6)),
      `  undo: ${stage.canUndo ? undo : 'not possible'}`,
    ]),
    ...['', ...untried].map((text) => wrap(text, columns, 4)),
    ...['', ...formatToDo({ rows: new Map(), findings }, columns)],
  ]
}

function headingOf({ number, state, title }: PlannedStage, of: number): string {
  return `Stage ${number} of ${of} (${state === 'under way' ? 'in progress' : state}): ${title}`
}

function detailsOf({ nodes, outage, tried, proof }: PlannedStage): string[] {
  const restarts = [...Map.groupBy(nodes, ({ node }) => node.role)].flatMap(([role, same]) => {
    const units = [...new Set(restartsOn(same))]
    return units.length > 0 ? [`restarts on ${role} nodes: ${units.join(', ')}`] : []
  })
  return [...restarts, ...(outage ? [outage] : []), ...(tried ? formatTried(tried) : []), `check: ${proof}`]
}
