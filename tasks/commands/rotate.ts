import { Failure, refusal, runAgain, usageFailure } from '../../lib/failure.ts'
import { caName, timeOfBackup } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { notices } from '../../lib/show/reporter.ts'
import { day, formatDate, formatNames, joinClauses } from '../../lib/wording.ts'
import { refusalDuring } from '../auth/states.ts'
import { phases } from '../bootstrap.ts'
import { findRefusedList } from '../day2/revoked/revoked.ts'
import { surveyApiServers, surveyStage } from '../day2/rotations/api-servers.ts'
import { rewritePhase } from '../day2/rotations/encryption-key-rotation.ts'
import type { Rotating, Rotation, Stage } from '../day2/rotations/rotation.ts'
import { rotations, stageNumber, underWay } from '../day2/rotations/rotations.ts'
import { formatTried, tryStages } from '../day2/rotations/trial.ts'
import { writeAuth } from '../run/access.ts'
import type { CommandRun } from '../run/command-run.ts'
import { type ExitCause, exitStatus } from '../run/exit-status.ts'
import { type Options, usage } from '../run/options.ts'
import { walk } from '../run/walk.ts'
import { type ClusterGraph, type ClusterTarget, clusterGraph, type Run } from '../target.ts'
import { notesOnHolders } from '../views/holders.ts'
import { adviseAfter, adviseBackup, adviseOnRotations, backUp } from '../views/notices.ts'

/**
 * Milliseconds since a rotation was finished. Whoever types --finish later than that means another rotation, not the
 * one that they finished.
 */
const provenAgain = 7 * day

/** A rotation that is carried out. */
interface Drive {
  readonly options: Options
  readonly rotation: Rotation
  readonly rotating: Rotating
  /** Walks to the end of a stage; without one, to the end of the settled state. */
  readonly walk: (stage?: Stage) => Promise<readonly ExitCause[]>
  readonly say: (text: string) => void
  /** Has the user confirm what would be lost. Throws a refusal without a yes. */
  readonly confirm: (loss: string) => Promise<void>
}

/** What it takes to read from auth/ how far a rotation is. */
type Begun = Pick<Drive, 'options' | 'rotation'> & { readonly rotating: Pick<Rotating, 'run'> }

/** Throws a usage Failure before anything is printed or changed. */
export async function rotate(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checkedRotation(given)
  // Each walk has a reporter of its own; this one is for the text between them.
  const between = await given.reporterFor(new Map(), false)
  return writeAuth(given, {
    graph,
    reporter: between,
    isWhole: true,
    work: async (locked) => {
      const drive = driveOf(given, rotation, { locked, say: between.note })
      refuseOther(drive)
      return { causes: await (given.options.undo ? goBack(drive) : goForward(drive)) }
    },
    closing: async (_, run) => ({ notices: await adviseOnRotations(run) }),
  })
}

function driveOf(
  given: CommandRun,
  rotation: Rotation,
  { locked, say }: Pick<Drive, 'say'> & { readonly locked: CommandRun },
): Drive {
  const { options, signal } = given
  const rotating = { run: { ...locked, stagedBy: rotation.name }, signal, isForced: options.force }
  return {
    ...{ options, rotation, rotating, say },
    walk: (stage) => walkTo(given, rotating, stage),
    confirm: async (loss) =>
      (await import('./run.ts')).confirm(locked, loss, `${commandOf({ options, rotation })} --force`),
  }
}

const commandOf = ({ options, rotation }: Pick<Drive, 'options' | 'rotation'>) =>
  `rotate ${rotation.name}${options.finish ? ' --finish' : ''}`

async function walkTo(given: CommandRun, rotating: Rotating, stage?: Stage): Promise<readonly ExitCause[]> {
  const started = performance.now()
  const graph = await graphOf(rotating, stage)
  const shown = byPhase([...phases, proofPhase, rewritePhase], graph)
  const reporter = await given.reporterFor(shown, false)
  const run = { ...rotating.run, note: reporter.note }
  const { signal } = rotating
  const { rows, causes } = await walk(graph, { phases: shown, run, forced: new Map(), signal, reporter })
  const exit = exitStatus(causes, given.endedStatus())
  const seconds = (performance.now() - started) / 1000
  const backup = stage ? notices('after', backUp(run.auth)) : adviseBackup(run, rows)
  await reporter.end({ rows, seconds, exit, notices: [...adviseAfter(run, rows), ...backup] })
  return causes
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
  const known = rotations.map(({ name }) => name)
  const rotation = rotations.find(({ name }) => name === typed)
  if (!rotation) throw usage(`rotate needs one of ${known.join(', ')}${typed && `, not ${typed}`}`, 'rotate')
  const other = finish ? '--finish' : dryRun ? '--dry-run' : undefined
  if (undo && other) throw usage(`--undo and ${other} can't be combined`, 'rotate')
  return rotation
}

/**
 * Two rotations at once would each wait for what the other changes. If both are in progress nevertheless, either may
 * continue.
 */
export function refuseOther(begun: Begun): void {
  const { rotation, rotating } = begun
  if (presentStage(begun) > 0) return
  const others = rotations.filter((each) => each !== rotation)
  const [other] = underWay(rotating.run, others)
  if (!other) return
  throw refusalDuring(other.name, `a rotation of ${other.what} is in progress (${other.title})`, rotating.run)
}

/**
 * The number of the stage in progress, from 1; 0 if there is none. Throws a refusal if the files do not fit together,
 * unless an undo repairs them: then it is the first stage.
 */
function presentStage({ options, rotation, rotating: { run } }: Begun): number {
  try {
    return stageNumber(rotation, run)
  } catch (error) {
    const isUndone = options.undo && rotation.undoesUnclear
    if (isUndone && error instanceof Failure && error.kind === 'refused') return 1
    throw error
  }
}

/** Where a rotation goes forward from. */
export interface Start {
  /** The number of the stage in progress, from 1; 0 if there is none. */
  readonly at: number
  /** A sentence for the user. */
  readonly note?: string
}

export function startOf(rotation: Rotation, { finish }: Options, run: Run): Start {
  return finish ? startToFinish(rotation, run) : { at: stageNumber(rotation, run) }
}

/**
 * --finish goes forward from the stage in progress. The files do not tell whether the last stage was proven before the
 * run ended, so --finish proves that stage again, for a week by this machine's clock. Throws a refusal if no rotation
 * is in progress.
 */
function startToFinish(rotation: Rotation, run: Run): Start {
  const { name, what, stages } = rotation
  const at = stageNumber(rotation, run)
  if (at > 0) return { at }
  const folder = rotation.finishedIn(run)
  const time = folder === undefined ? undefined : timeOfBackup(folder)
  const last = time && `the last one finished on ${formatDate(time)}`
  if (time && run.now.getTime() - time.getTime() < provenAgain)
    return {
      at: stages.length,
      note: `no rotation of ${what} is in progress; ${last}, and its last stage is checked again`,
    }
  throw refusal(joinClauses(`no rotation of ${what} is in progress`, last), [
    `begin one:\n    ${run.command(`rotate ${name}`)}`,
  ])
}

/**
 * True unless all that is left is for the user to change, on nodes that are otherwise up to date: a rotation waits for
 * such a change only if one of its stages needs it (mayBegin).
 */
const isStopped = (causes: readonly ExitCause[]) => causes.some((cause) => cause !== 'unfinished')

const unitsAlone =
  'the rotation sees the units of cluster.yaml, and nothing else: whatever else reads these files gets the new ones from you'

/** Goes up to the last stage but one; with --finish through the last one. */
async function goForward(drive: Drive): Promise<readonly ExitCause[]> {
  const { options, rotation, rotating, say } = drive
  const { stages } = rotation
  const { at, note } = startOf(rotation, options, rotating.run)
  if (note !== undefined) say(note)
  if (at === 0) rotation.prepare?.(rotating.run)
  let stage = stages[at - 1]
  for (const next of [...stages.slice(at), undefined]) {
    say(heading(rotation, stage))
    const causes = await drive.walk(stage)
    if (isStopped(causes) || rotating.signal.aborted || !next) return causes
    if (next.isLast) for (const { text } of notesOnHolders(rotating.run)) say(text)
    if (next.isLast && !options.finish) return causes
    if (!(await mayBegin(drive, next))) return ['stale']
    if (next === stages[at]) await tryFirst(drive, at)
    if (next === stages[0]) say(unitsAlone)
    if (rotation.reminder !== undefined && next === stages[0]) say(rotation.reminder)
    await next.begin(rotating)
    stage = next
  }
  return []
}

/**
 * Tries all stages that are left, before the first of them begins. Throws a refusal if a connection would be refused.
 */
async function tryFirst(drive: Drive, at: number): Promise<void> {
  const { options, rotation, rotating, say, confirm } = drive
  const refused: string[] = []
  for (const { stage, ...tried } of await tryStages(rotating, rotation, at)) {
    const where = stage ? `stage ${rotation.stages.indexOf(stage) + 1}` : 'before the first stage'
    const [sum, ...lines] = formatTried(tried)
    say(`${where}: ${sum}`)
    refused.push(...lines.map((line) => `${where}, ${line}`))
  }
  if (refused.length === 0) return
  const loss = `connections would be refused: ${refused.join('; ')}`
  if (options.force) return confirm(loss)
  const { command } = rotating.run
  throw refusal(loss, [
    `show all stages:\n    ${command(`rotate ${rotation.name} --dry-run`)}`,
    `or rotate anyway:\n    ${command(`${commandOf(drive)} --force`)}`,
  ])
}

/** The heading of a stage, or of the state before all stages. */
function heading({ stages, what }: Rotation, stage: Stage | undefined): string {
  if (!stage) return `${what}: bringing everything up to date before the rotation`
  return `${what}, stage ${stages.indexOf(stage) + 1} of ${stages.length}: ${stage.title}`
}

/**
 * What stands in the way of a stage, in the order in which it is looked for. --force goes past the last three, unless
 * data would be lost.
 *
 *   what was found                                                          then
 *   ----------------------------------------------------------------------  -----------------------------
 *   components that the rotation needs, and does not reach                  refused
 *   settings that only the user can change on the nodes                     the run waits: false
 *   API servers that may not have loaded this stage (not for the first      refused, but for --force
 *     stage, which only adds)
 *   units of cluster.yaml that systemd does not know                        refused, but for --force
 *   who still uses what the stage ends                                      refused, but for --force
 */
async function mayBegin(drive: Drive, next: Stage): Promise<boolean> {
  const { rotation, rotating, say } = drive
  const { unreached, absent, unknown, toChange } = await surveyStage(rotating, rotation)
  refuseUnreached(unreached)
  for (const sentence of toChange) say(sentence)
  if (toChange.length > 0) {
    const again = rotating.run.command(commandOf(drive))
    say(`the rotation waits for these changes; make them, then run:\n    ${again}`)
    return false
  }
  const refuse = (blockers: Blockers) => refuseUnlessForced(drive, next, blockers)
  refuse({
    who: next === rotation.stages[0] ? [] : unknown,
    what: "can't verify that each API server has loaded this stage:",
    remedy: 'repair the API server',
    force: 'begin the next stage anyway',
  })
  refuse({
    who: absent,
    what: 'systemd does not know all units of cluster.yaml:',
    remedy:
      'install them, or set install.units in cluster.yaml (UNIT: { unit: NAME }, or UNIT: false for what you do yourself)',
    force: 'rotate without them',
  })
  refuse({
    who: (await next.heldBy?.(rotating)) ?? [],
    what: 'the old CA or key is still used by',
    remedy: 'give them the new one',
  })
  return true
}

/** Whoever a stage would cut off, or may. `remedy`: what the user does first; `force`: what --force does. */
interface Blockers {
  readonly who: readonly string[]
  readonly what: string
  readonly remedy: string
  readonly force?: string
}

function refuseUnlessForced(
  { rotation, rotating, say }: Drive,
  { isLast, isNeverForced }: Stage,
  { who, what, remedy, force = 'end their access' }: Blockers,
): void {
  if (who.length === 0) return
  const reason = `${what} ${who.join('; ')}`
  if (!rotating.isForced || isNeverForced) {
    const forced = rotating.run.command(`rotate ${rotation.name}${isLast ? ' --finish' : ''} --force`)
    throw refusal(reason, [`${remedy}, then ${runAgain}`, ...(isNeverForced ? [] : [`or ${force}:\n    ${forced}`])])
  }
  say(`forced, although ${reason}`)
}

function refuseUnreached(unreached: readonly string[]): void {
  if (unreached.length > 0)
    throw refusal(`the rotation can't reach all that need the change: ${unreached.join('\n')}`, [runAgain])
}

/**
 * Goes back to the state before the rotation, as far as nothing is lost by that. Throws a refusal if not even one step
 * is possible.
 */
async function goBack(drive: Drive): Promise<readonly ExitCause[]> {
  const { rotation, rotating, say } = drive
  const present = presentStage(drive)
  // What a finished rotation has left to roll out is for bootstrap.
  if (present === 0)
    throw refusal(`nothing to undo: no rotation of ${rotation.what} is in progress`, [
      `to complete a finished or undone rotation:\n    ${rotating.run.command('bootstrap')}`,
    ])
  for (const stage of rotation.stages.slice(0, present).toReversed()) {
    const ended = await undoStage(drive, stage, stage === rotation.stages[present - 1])
    if (ended) return ended
  }
  const causes = await drive.walk()
  if (!isStopped(causes)) say(`undid the rotation of ${rotation.what}`)
  return causes
}

/** Undoes a stage. Returns the causes with which the run ends where that is not possible now. */
async function undoStage(drive: Drive, stage: Stage, isFirstStep: boolean): Promise<readonly ExitCause[] | undefined> {
  const { rotation, rotating, say } = drive
  const { command } = rotating.run
  if (!stage.undo)
    throw refusal(`undo is not possible: ${stage.title}`, [
      `finish it:\n    ${command(`rotate ${rotation.name} --finish`)}`,
    ])
  // What depends on a stage is known once that stage is complete.
  if (stage.undoHeldBy || !isFirstStep) {
    say(`undoing ${heading(rotation, stage)}`)
    const causes = await drive.walk()
    if (isStopped(causes) || rotating.signal.aborted) return causes
  }
  const dependents = (await stage.undoHeldBy?.(rotating)) ?? []
  if (dependents.length > 0) {
    const remains = `both keys stay in use because of ${formatNames(dependents)}`
    const way = `continue:\n    ${command(`rotate ${rotation.name}`)}`
    if (isFirstStep) throw refusal(remains, [way])
    say(`${remains}; ${way}`)
    return []
  }
  refuseUnreached((await surveyApiServers(rotating)).unreached)
  await stage.undo(rotating)
  return undefined
}

/** All targets, then the proofs of the stage on each node, then the further work of the stage. */
async function graphOf(rotating: Rotating, stage: Stage | undefined): Promise<ClusterGraph> {
  const targets = [...(await clusterGraph(phases, rotating.run.cluster)).values()]
  const proofs = stage ? proofTargets(rotating, stage, targets) : []
  const proven = proofs.map(({ id }) => id)
  const work = stage?.targets?.(rotating) ?? []
  const more = work.map((target): ClusterTarget => ({ ...target, needs: [...target.needs, ...proven] }))
  return buildGraph([...targets, ...proofs, ...more])
}

const proofPhase = { name: 'proof', title: 'Checks' }

function proofTargets(rotating: Rotating, { prove, proof }: Stage, earlier: readonly ClusterTarget[]): ClusterTarget[] {
  if (!prove) return []
  const { name: phase } = proofPhase
  const needs = earlier.filter(({ where }) => where === 'node').map(({ id }) => id)
  return rotating.run.cluster.nodes
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
        const units = await prove({ ...rotating, signal }, node, tell)
        return { note: units.length > 0 ? `asked ${formatNames(units)}` : 'nothing to check' }
      },
      release: (run) => run.disconnect(node),
    }))
}
