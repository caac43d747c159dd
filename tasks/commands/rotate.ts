/**
 * `rotate NAME`: everything is brought up to date; then stage after stage, each is one write in auth/, one walk that
 * rolls it out, and a proof on each node; the next begins when all of that has succeeded, everywhere.
 *
 *   rotate             all stages but the last, from the one that is in progress
 *   rotate --finish    the last one too: from then on the old CA or key is no longer trusted
 *   rotate --undo      back to the previous stage
 *   rotate --dry-run   says all this, and tries each stage in memory
 *
 * Before a stage begins, a survey shows what stands in its way (mayBegin). Before the first that a run begins, all
 * that are left are tried in memory.
 */
import { Failure, refusal, runAgain, usageFailure } from '../../lib/failure.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatIssues, notices } from '../../lib/show/rows.ts'
import { formatNames, wrap } from '../../lib/wording.ts'
import { notesOnHolders } from '../auth/accepted.ts'
import { refusalDuring } from '../auth/states.ts'
import { phases } from '../bootstrap.ts'
import { type ClusterGraph, type ClusterTarget, clusterGraph } from '../cluster-target.ts'
import { findRefusedList } from '../revoked/revoked.ts'
import { rewritePhase } from '../rotations/encryption-key-rotation.ts'
import { type Rotating, type Rotation, rotations, type Stage, stageNumber, underWay } from '../rotations/rotations.ts'
import { survey } from '../rotations/survey.ts'
import { formatTried, notTried, type TriedStage, tryStages } from '../rotations/trial.ts'
import { type CommandRun, readAuth, walk, writeAuth } from '../run/command-run.ts'
import { columnsOf, confirm, type ExitCause, exitStatus } from '../run/host.ts'
import { type Options, usage } from '../run/options.ts'
import { adviseAfter, adviseBackup, adviseOnRotations, backupAdvice } from '../views/observe.ts'

interface Drive extends Rotating {
  readonly rotation: Rotation
  readonly run: CommandRun
  readonly say: (text: string) => void
}

export async function rotate(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checkedRotation(given)
  const { options, signal } = given
  // Each walk has a reporter of its own; this one is for the text between them.
  const between = await given.reporterFor(new Map(), false)
  return writeAuth(given, {
    graph,
    reporter: between,
    work: async (locked) => {
      const run = { ...locked, stagedBy: rotation.name }
      const drive = { rotation, run, signal, isForced: options.force, say: between.note }
      refuseOther(rotation, run)
      return { causes: await (options.undo ? goBack(drive) : goForward(drive)) }
    },
    closing: async (_, run) => ({ notices: await adviseOnRotations(run) }),
  })
}

/** The rotation that is named. Throws a Failure where cluster.yaml or auth/ allow none. */
export async function checkedRotation(given: CommandRun) {
  const { auth, cluster, command, options } = given
  const rotation = namedRotation(options)
  rotation.refuse?.(given)
  if (!cluster.install)
    throw usageFailure(
      'a rotation needs install in cluster.yaml; components must load each stage before the next begins',
      `set install: true, then run:\n    ${command('bootstrap')}`,
    )
  if (!auth.read(auth.files.certificate(caName)))
    throw usageFailure(`nothing to rotate: ${auth.path} has no CA yet`, `create one:\n    ${command('bootstrap')}`)
  const refusedList = findRefusedList(given)
  if (refusedList) throw refusedList
  return { rotation, graph: await clusterGraph(phases, cluster) }
}

function namedRotation({ names, finish, undo, dryRun }: Options): Rotation {
  const typed = names.slice(1).join(' ')
  const rotation = rotations.find(({ name }) => name === typed)
  if (!rotation) {
    const known = rotations.map(({ name }) => name).join(', ')
    throw usage(`rotate needs one of ${known}${typed && `, not ${typed}`}`, 'rotate')
  }
  const other = finish ? '--finish' : dryRun ? '--dry-run' : undefined
  if (undo && other) throw usage(`--undo and ${other} can't be combined`, 'rotate')
  return rotation
}

/** Two rotations at once would each wait for the other. Where both are in progress, either may continue. */
export function refuseOther(rotation: Rotation, run: CommandRun): void {
  if (presentStage(rotation, run) > 0) return
  const others = rotations.filter((each) => each !== rotation)
  const [other] = underWay(run, others)
  if (other) throw refusalDuring(other.name, `a rotation of ${other.what} is in progress (${other.title})`, run)
}

/** The undo of a first stage may also repair files that do not fit together, which are refused otherwise. */
function presentStage(rotation: Rotation, run: CommandRun): number {
  try {
    return stageNumber(rotation, run)
  } catch (error) {
    if (run.options.undo && rotation.undoesUnclear && error instanceof Failure && error.kind === 'refused') return 1
    throw error
  }
}

/** The stage in progress, and a note. Whether the last one was proven is in no file: --finish proves it again. */
export function startOf(rotation: Rotation, run: CommandRun): { at: number; note?: string } {
  const { name, what, stages } = rotation
  const at = stageNumber(rotation, run)
  if (at > 0 || !run.options.finish) return { at }
  const begin = `begin one:\n    ${run.command(`rotate ${name}`)}`
  if (!rotation.wasRun(run)) throw usageFailure(`no rotation of ${what} is in progress`, begin)
  return {
    at: stages.length,
    note: `no rotation of ${what} is in progress, and its last stage is checked again; to ${begin}`,
  }
}

export const snapshotReminder = `take a snapshot of etcd first, to restore lost data from (with the --endpoints, --cacert, --cert and --key of a control node):\n    etcdctl snapshot save FILE`

const unitsAlone =
  'the rotation sees the units of cluster.yaml, and nothing else: whatever else reads these files gets the new ones from you'

/** True unless all that is left is for the user to change, on nodes that are otherwise up to date. */
const isStopped = (causes: readonly ExitCause[]) => causes.some((cause) => cause !== 'unfinished')

async function goForward(drive: Drive): Promise<readonly ExitCause[]> {
  const { rotation, run, signal, say } = drive
  const { stages } = rotation
  const { at, note } = startOf(rotation, run)
  if (note !== undefined) say(note)
  if (at === 0) rotation.prepare?.(run)
  for (let done = at; ; done++) {
    const [stage, next] = [stages[done - 1], stages[done]]
    say(heading(rotation, stage))
    const causes = await walkTo(drive, stage)
    if (isStopped(causes) || signal.aborted || !next) return causes
    if (next === stages.at(-1)) {
      for (const { text } of notesOnHolders(run)) say(text)
      if (!run.options.finish) return causes
    }
    if (!(await mayBegin(drive, next))) return ['stale']
    if (done === at) await tryFirst(drive, at)
    if (done === 0) say(unitsAlone)
    if (done === 0 && rotation.needsSnapshot) say(snapshotReminder)
    await next.begin(drive)
  }
}

function heading({ stages, what }: Rotation, stage: Stage | undefined): string {
  if (!stage) return `${what}: bringing everything up to date before the rotation`
  return `${what}, stage ${stages.indexOf(stage) + 1} of ${stages.length}: ${stage.title}`
}

const typedAgain = ({ rotation, run }: Drive) => `rotate ${rotation.name}${run.options.finish ? ' --finish' : ''}`

/** Tries all stages that are left, before the first. Throws a refusal if a connection would be refused. */
async function tryFirst(drive: Drive, at: number): Promise<void> {
  const { rotation, run, say, isForced } = drive
  const refused: string[] = []
  for (const { stage, tried } of await tryStages(drive, rotation, at)) {
    const where = stage ? `stage ${rotation.stages.indexOf(stage) + 1}` : 'before the first stage'
    const [sum, ...lines] = formatTried(tried)
    say(`${where}: ${sum}`)
    refused.push(...lines.map((line) => `${where}, ${line}`))
  }
  if (refused.length === 0) return
  const loss = `connections would be refused: ${refused.join('; ')}`
  if (isForced) return confirm(run, loss, `${typedAgain(drive)} --force`)
  throw refusal(loss, [
    `show all stages:\n    ${run.command(`rotate ${rotation.name} --dry-run`)}`,
    `or rotate anyway:\n    ${run.command(`${typedAgain(drive)} --force`)}`,
  ])
}

/** False if the rotation waits for settings that only the user can change. Throws a refusal where it is blocked. */
async function mayBegin(drive: Drive, next: Stage): Promise<boolean> {
  const { rotation, run, say } = drive
  const { outOfReach, absent, unknown, toChange } = await survey(drive)
  if (outOfReach.length > 0)
    throw refusal(`the rotation can't reach all that need the change: ${outOfReach.join('\n')}`, [runAgain])
  for (const sentence of toChange) say(sentence)
  if (toChange.length > 0) {
    say(`the rotation waits for these changes; make them, then run:\n    ${run.command(typedAgain(drive))}`)
    return false
  }
  // The first stage only adds.
  if (unknown.length > 0 && next !== rotation.stages[0])
    refuseUnlessForced(drive, next, {
      reason: `can't verify that each API server has loaded this stage: ${unknown.join('; ')}`,
      remedy: 'repair the API server',
      force: 'begin the next stage anyway',
    })
  if (absent.length > 0)
    refuseUnlessForced(drive, next, {
      reason: `systemd does not know all units of cluster.yaml: ${absent.join('; ')}`,
      remedy:
        'install them, or set install.units in cluster.yaml (UNIT: { unit: NAME }, or UNIT: false for what you do yourself)',
      force: 'rotate without them',
    })
  const users = (await next.usedBy?.(drive)) ?? []
  if (users.length > 0)
    refuseUnlessForced(drive, next, {
      reason: `the old CA or key is still used by ${users.join('; ')}`,
      remedy: 'give them the new one',
      force: 'end their access',
    })
  return true
}

function refuseUnlessForced(
  { rotation, run, isForced, say }: Drive,
  next: Stage,
  { reason, remedy, force }: Readonly<Record<'reason' | 'remedy' | 'force', string>>,
): void {
  if (isForced && !next.isNeverForced) {
    say(`forced, although ${reason}`)
    return
  }
  const isLast = next === rotation.stages.at(-1)
  const forced = run.command(`rotate ${rotation.name}${isLast ? ' --finish' : ''} --force`)
  throw refusal(reason, [`${remedy}, then ${runAgain}`, ...(next.isNeverForced ? [] : [`or ${force}:\n    ${forced}`])])
}

/** Goes back to the previous stage. Throws a refusal where that is impossible, or where something would be lost by it. */
async function goBack(drive: Drive): Promise<readonly ExitCause[]> {
  const { rotation, run, signal, say } = drive
  const { name, what, stages } = rotation
  const number = presentStage(rotation, run)
  const stage = stages[number - 1]
  // What a finished rotation has left to roll out is for bootstrap.
  if (!stage)
    throw refusal(`nothing to undo: no rotation of ${what} is in progress`, [
      `to complete a finished or undone rotation:\n    ${run.command('bootstrap')}`,
    ])
  if (!stage.undo)
    throw refusal(`undo is not possible: ${stage.title}`, [`finish it:\n    ${run.command(`rotate ${name} --finish`)}`])
  if (stage.undoBreaks) {
    // What depends on a stage is known once that stage is complete.
    say(`undoing ${heading(rotation, stage)}`)
    const causes = await walkTo(drive)
    if (isStopped(causes) || signal.aborted) return causes
    const dependents = await stage.undoBreaks(drive)
    if (dependents.length > 0)
      throw refusal(`both keys stay in use because of ${formatNames(dependents)}`, [
        `continue:\n    ${run.command(`rotate ${name}`)}`,
      ])
  }
  await stage.undo(drive)
  const causes = await walkTo(drive)
  if (!isStopped(causes)) say(`undid ${number > 1 ? `stage ${number} of ` : ''}the rotation of ${what}`)
  return causes
}

/** Walks to the end of a stage; without one, to the end of the settled state. */
async function walkTo(drive: Drive, stage?: Stage): Promise<readonly ExitCause[]> {
  const { run, signal } = drive
  const started = performance.now()
  const graph = await graphOf(drive, stage)
  const shown = byPhase([...phases, proofPhase, rewritePhase], graph)
  const reporter = await run.reporterFor(shown, false)
  const walked = { ...run, note: reporter.note }
  const { rows, causes } = await walk(graph, { phases: shown, run: walked, forced: new Map(), signal, reporter })
  const exit = exitStatus(causes, run.endedStatus())
  const seconds = (performance.now() - started) / 1000
  const backup = stage ? notices('after', backupAdvice(run.auth)) : adviseBackup(run, rows)
  await reporter.end({ rows, seconds, exit, notices: [...adviseAfter(run, rows), ...backup] })
  return causes
}

/** All targets, then the proofs of the stage on each node, then the further work of the stage. */
async function graphOf(drive: Drive, stage: Stage | undefined): Promise<ClusterGraph> {
  const targets = [...(await clusterGraph(phases, drive.run.cluster)).values()]
  const proofs = stage ? proofTargets(drive, stage, targets) : []
  const proven = proofs.map(({ id }) => id)
  const work = stage?.targets?.(drive) ?? []
  const more = work.map((target): ClusterTarget => ({ ...target, needs: [...target.needs, ...proven] }))
  return buildGraph([...targets, ...proofs, ...more])
}

const proofPhase = { name: 'proof', title: 'Checks' }

function proofTargets(drive: Drive, { prove, proof }: Stage, earlier: readonly ClusterTarget[]): ClusterTarget[] {
  if (!prove) return []
  const { name: phase } = proofPhase
  const needs = earlier.filter(({ where }) => where === 'node').map(({ id }) => id)
  return drive.run.cluster.nodes
    .filter(({ role }) => role !== 'gateway')
    .map((node) => ({
      id: `${phase}/${node.name}`,
      phase,
      node: node.name,
      needs,
      makes: [],
      where: 'node',
      // A proof may write, and only a build may.
      check: () => ({ diffs: [{ what: proof, verb: 'verify' }] }),
      build: async (_, { signal, tell }) => {
        const units = await prove({ ...drive, signal }, node, tell)
        return { note: units.length > 0 ? `asked ${formatNames(units)}` : 'nothing to check' }
      },
      release: (run) => run.disconnect(node),
    }))
}

export async function plan(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checkedRotation(given)
  const { name, stages } = rotation
  const read = async (run: CommandRun): Promise<readonly ExitCause[]> => {
    refuseOther(rotation, run)
    const { at, note } = startOf(rotation, run)
    const trials = await tryStages({ run, signal: run.signal, isForced: false }, rotation, at)
    const planned = plannedStages(run, rotation, { at, trials })
    const before = trials.flatMap(({ stage, tried }) => (stage ? [] : formatTried(tried)))
    const notes = [...(note === undefined ? [] : [note]), ...before.map((line) => `before the first stage: ${line}`)]
    // Without --finish a run completes and proves the last stage but one, and goes no further.
    const isFinishLeft = at >= stages.length - 1 && !run.options.finish
    const toDo = [
      ...(at === 0 && rotation.needsSnapshot ? [snapshotReminder] : []),
      `after each stage, ${backupAdvice(run.auth)}`,
      ...(isFinishLeft ? [`complete the rotation:\n    ${run.command(`rotate ${name} --finish`)}`] : []),
    ]
    if (run.options.json) printJson(run, planned, [...notes, notTried, ...toDo])
    else printText(run, planned, { notes, toDo })
    return trials.some(({ tried }) => tried.refused.length > 0) ? ['refused'] : ['stale']
  }
  return readAuth(given, graph, read, { isPlan: true })
}

type PlannedStage = ReturnType<typeof plannedStages>[number]

function plannedStages(
  { options }: CommandRun,
  { name: rotation, stages }: Rotation,
  { at, trials }: { readonly at: number; readonly trials: readonly TriedStage[] },
) {
  const stateOf = (number: number) => {
    if (number < at) return 'done'
    if (number === at) return 'under way'
    return number < stages.length || options.finish ? 'to do' : 'with --finish'
  }
  return stages.map((stage, i) => {
    const { name, title, proof, undo } = stage
    const trial = trials.find((each) => each.stage === stage)
    return {
      ...{ rotation, name, title, proof, undo: undo !== undefined },
      ...{ number: i + 1, of: stages.length, state: stateOf(i + 1) },
      /** Files of auth/ that it changes; none of a stage that is done. */
      files: trial?.files ?? [],
      ...(trial && { tried: trial.tried }),
    }
  })
}

function printJson({ print }: CommandRun, stages: readonly PlannedStage[], messages: readonly string[]): void {
  for (const stage of stages) print(formatJsonLine({ type: 'stage', ...stage }))
  for (const message of messages) print(formatJsonLine({ type: 'note', message }))
}

function printText(
  { command, host, print }: CommandRun,
  stages: readonly PlannedStage[],
  { notes, toDo }: Readonly<Record<'notes' | 'toDo', readonly string[]>>,
): void {
  const columns = columnsOf(host.stdout)
  for (const note of notes) print(`${wrap(note, columns, 4)}\n`)
  for (const { rotation: name, number, of, state, title, files, tried, proof, undo } of stages) {
    print(wrap(`Stage ${number} of ${of} (${state === 'under way' ? 'in progress' : state}): ${title}`, columns, 4))
    if (files.length > 0) print(wrap(`  changes ${formatNames(files)}`, columns, 6))
    for (const text of tried ? formatTried(tried) : []) print(wrap(`  ${text}`, columns, 6))
    print(wrap(`  check: ${proof}`, columns, 6))
    print(`  undo: ${undo ? command(`rotate ${name} --undo`) : 'not possible'}\n`)
  }
  print(wrap(notTried, columns, 4))
  for (const text of formatIssues({ rows: new Map(), notices: notices('after', ...toDo) }, columns)) print(text)
}
