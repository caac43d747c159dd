/**
 * `rotate` drives a rotation: each stage is an ordinary walk over all targets, and is proven before the next begins.
 */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain, usageFailure } from '../../lib/failure.ts'
import { caName, timeOfBackup } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase, clusterGraph, type Graph, type Run, type Target } from '../../lib/graph/target.ts'
import { pinnedUsers } from '../../lib/kubernetes/revocation.ts'
import { fileAt } from '../../lib/node/state.ts'
import { asFindings, formatFinding } from '../../lib/results.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { adviseAfter, formatToDo, joinFailures } from '../../lib/show/rows.ts'
import { day, formatDate, formatNames, joinClauses, wrap } from '../../lib/wording.ts'
import { notesOnMove } from '../auth/former-files.ts'
import { refusalDuring } from '../auth/states.ts'
import { findUndecided } from '../auth/undecided.ts'
import { phases } from '../bootstrap.ts'
import { installId } from '../day2/install/install.ts'
import { lookAtUnits, type UnitsFound } from '../day2/install/look-at-units.ts'
import { unsetOn } from '../day2/install/unreached.ts'
import { surveyApiServers, surveyStage } from '../day2/rotations/api-servers.ts'
import { rewritePhase } from '../day2/rotations/encryption-key-rotation.ts'
import { changedBy, type Rotating, type Rotation, type Stage } from '../day2/rotations/rotation.ts'
import { findUses, rotations, stageNumber, underWay } from '../day2/rotations/rotations.ts'
import { formatTried } from '../day2/rotations/transition.ts'
import { notTried, type TriedStage, tryStages } from '../day2/rotations/trial.ts'
import { digestAt, installOf } from '../inspect/look.ts'
import type { Place } from '../layouts/layout.ts'
import { nodeFiles, nodeUnits, outageOf } from '../layouts/tables.ts'
import { unlisted } from '../phases/certs.ts'
import { readAuth, writeAuth } from '../run/access.ts'
import type { CommandRun } from '../run/command-run.ts'
import { type ExitCause, exitStatus } from '../run/exit-status.ts'
import { columnsOf } from '../run/host.ts'
import { type Options, usage } from '../run/options.ts'
import { walk } from '../run/walk.ts'
import { notesOnHolders } from '../views/holders.ts'
import { adviseBackup, adviseOnRotations, backUp, formatUses } from '../views/notices.ts'

/** Milliseconds: whoever types --finish later than that means another rotation than the one which they finished. */
const provenAgain = 7 * day

/** A rotation that is carried out. */
interface Drive {
  readonly options: Options
  readonly rotation: Rotation
  readonly rotating: Rotating
  /** Walks to the end of a stage, or of the settled state. */
  readonly walk: (stage?: Stage) => Promise<readonly ExitCause[]>
  readonly say: (text: string) => void
  /** Asks its user, with what would happen. Throws a refusal unless that is wanted. */
  readonly confirm: (loss: string) => Promise<void>
}

/** What its user has to change holds only the rotation that needs it: mayBegin. All else does. */
const isHeld = (causes: readonly ExitCause[]) => causes.some((cause) => cause !== 'unfinished')

/** What its files are read for. */
type Begun = Pick<Drive, 'options' | 'rotation'> & { readonly rotating: Pick<Rotating, 'run'> }

/** Throws a usage Failure before anything is printed or changed. */
export async function rotate(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checked(given)
  const { options, signal } = given
  // For what is said between the walks: each walk has a reporter of its own.
  const between = await given.reporterFor(new Map(), false)
  return writeAuth(given, {
    graph,
    reporter: between,
    isWhole: true,
    work: async (locked) => {
      const rotating = {
        run: { ...locked, stagedBy: rotation.name },
        signal,
        isForced: options.force,
      }
      const walkTo = async (stage?: Stage) => {
        const started = performance.now()
        const graph = await graphOf(rotating, stage)
        const shown = byPhase([...phases, proofPhase, rewritePhase], graph)
        const reporter = await given.reporterFor(shown, false)
        const run = { ...rotating.run, note: reporter.note }
        const { rows, causes } = await walk(graph, { phases: shown, run, forced: new Map(), signal, reporter })
        const exit = exitStatus(causes, given.endedStatus())
        const seconds = (performance.now() - started) / 1000
        const backup = stage ? asFindings([backUp(run.auth)], { owner: 'afterwards' }) : adviseBackup(run, rows)
        await reporter.end({ rows, seconds, exit, findings: [...adviseAfter(rows), ...backup] })
        return causes
      }
      const again = `rotate ${rotation.name}${options.finish ? ' --finish' : ''} --force`
      const confirm = async (loss: string) => (await import('./run.ts')).confirm(locked, loss, again)
      const drive: Drive = { options, rotation, rotating, walk: walkTo, say: between.note, confirm }
      refuseOther(drive)
      return { causes: await (options.undo ? goBack(drive) : goForward(drive)) }
    },
    closing: async () => ({ findings: await adviseOnRotations(given) }),
  })
}

/** The same, with --dry-run. */
export async function plan(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checked(given)
  const read = async (run: CommandRun) => {
    refuseOther({ options: given.options, rotation, rotating: { run } })
    const from = begins(rotation, given.options, run)
    const tried = await tryStages({ run, signal: run.signal, isForced: false }, rotation, {
      ...from,
      graphOf: graphFor,
    })
    const seen = await lookAtAll(rotation, run)
    return () => planRotation(run, rotation, { ...from, seen, tried })
  }
  return readAuth(given, graph, read, { isPlan: true })
}

const graphFor = (cluster: Cluster) => clusterGraph(phases, cluster)

async function checked(given: CommandRun) {
  const { auth, cluster, command, options } = given
  const rotation = namedRotation(options)
  rotation.refuse?.(given)
  if (!cluster.install)
    throw usageFailure(
      'a rotation needs install in cluster.yaml; components must load each stage before the next begins',
      `set install: true, then run ${command('bootstrap')}`,
    )
  if (!auth.read(auth.files.certificate(caName)))
    throw usageFailure(`nothing to rotate: ${auth.path} has no CA yet`, command('bootstrap'))
  const undecided = findUndecided(given)
  if (undecided) throw undecided
  if (cluster.revoked === undefined && pinnedUsers(auth).length > 0) throw unlisted(given, 'no rotation begins')
  return { rotation, graph: await graphFor(cluster) }
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

/** Two at once would each wait for what the other changes. If both are under way nevertheless, either may continue. */
function refuseOther(drive: Begun): void {
  const { rotation, rotating } = drive
  if (presentStage(drive) > 0) return
  const others = rotations.filter((each) => each !== rotation)
  const [other] = underWay(rotating.run, others)
  if (!other) return
  throw refusalDuring(other.name, `a rotation of ${other.what} is in progress (${other.title})`, rotating.run)
}

/**
 * Its number, from 1; 0 if none is under way. Throws a refusal if the files do not fit together, unless the undo
 * repairs that.
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

/** The number of the stage from which it goes forward, and what is said of that. */
function begins(rotation: Rotation, { finish }: Options, run: Run): ReturnType<typeof stageToFinish> {
  return finish ? stageToFinish(rotation, run) : { at: stageNumber(rotation, run) }
}

/** Up to the last stage but one; with --finish through the last one. */
async function goForward(drive: Drive): Promise<readonly ExitCause[]> {
  const { options, rotation, rotating, say } = drive
  const { stages } = rotation
  const { finish } = options
  const { at, note } = begins(rotation, options, rotating.run)
  if (note !== undefined) say(note)
  if (at === 0) rotation.prepare?.(rotating.run)
  let stage = stages[at - 1]
  for (const next of [...stages.slice(at), undefined]) {
    say(heading(rotation, stage))
    const causes = await drive.walk(stage)
    if (isHeld(causes) || rotating.signal.aborted || !next) return causes
    if (next.isLast) for (const note of notesOnHolders(rotating.run)) say(formatFinding(note))
    if (next.isLast && !finish) {
      for (const sentence of formatUses(await findUses(rotating, rotation))) say(sentence)
      return causes
    }
    if (!(await mayBegin(drive, next))) return ['stale']
    if (next === stages[at]) await tryFirst(drive, at)
    if (rotation.reminder !== undefined && next === stages[0]) say(rotation.reminder)
    await next.begin(rotating)
    stage = next
  }
  return []
}

/** All stages that are left, before the first of them begins. Throws a refusal if a connection would be refused. */
async function tryFirst({ options, rotation, rotating, say, confirm }: Drive, at: number): Promise<void> {
  const lines = (await tryStages(rotating, rotation, { at, graphOf: graphFor })).flatMap(({ stage, ...tried }) => {
    const where = stage ? `stage ${rotation.stages.indexOf(stage) + 1}` : 'before the first stage'
    const [sum, ...refused] = formatTried(tried)
    say(`${where}: ${sum}`)
    return refused.map((line) => `${where}, ${line}`)
  })
  if (lines.length === 0) return
  const loss = `connections would be refused: ${lines.join('; ')}`
  if (options.force) return confirm(loss)
  const { command } = rotating.run
  throw refusal(loss, [
    `show all stages: ${command(`rotate ${rotation.name} --dry-run`)}`,
    `or rotate anyway: ${command(`rotate ${rotation.name}${options.finish ? ' --finish' : ''} --force`)}`,
  ])
}

/** The heading of a stage, or of the state before all stages. */
function heading({ stages, what }: Rotation, stage: Stage | undefined): string {
  if (!stage) return `${what}: bringing everything up to date before the rotation`
  return `${what}, stage ${stages.indexOf(stage) + 1} of ${stages.length}: ${stage.title}`
}

/** False if the user has to change something first. Throws a refusal if somebody would be cut off. */
async function mayBegin({ options, rotation, rotating, say }: Drive, next: Stage): Promise<boolean> {
  const { command } = rotating.run
  const { unreached, unknown, ofRoot, ofUsers, toChange } = await surveyStage(rotating, rotation)
  refuseUnreached(unreached)
  for (const each of ofUsers) say(`${each}; the rotation does not wait for it`)
  for (const sentence of toChange) say(sentence)
  if (toChange.length > 0) {
    say(
      `the rotation waits for these changes; make them, then run ${command(`rotate ${rotation.name}${options.finish ? ' --finish' : ''}`)}`,
    )
    return false
  }
  const hold = (found: readonly string[], what: string, remedy: string, force: string) => {
    if (found.length === 0) return
    const reason = `${what} ${found.join('; ')}`
    const forced = `or ${force}: ${command(`rotate ${rotation.name}${next.isLast ? ' --finish' : ''} --force`)}`
    if (!rotating.isForced || next.isNeverForced)
      throw refusal(reason, [`${remedy}, then ${runAgain}`, ...(next.isNeverForced ? [] : [forced])])
    say(`forced, although ${reason}`)
  }
  hold(ofRoot, "the rotation can't reach", 'handle each', 'end their access')
  // The first stage only adds, so it breaks nothing.
  const unproven = next === rotation.stages[0] ? [] : unknown
  const what = "can't verify that each API server has loaded this stage:"
  hold(unproven, what, 'repair the API server', 'begin the next stage anyway')
  const held = (await next.heldBy?.(rotating)) ?? []
  hold(held, 'the old CA or key is still used by', 'give them the new one', 'end their access')
  const used = (await next.usedBy?.(rotating, say)) ?? []
  const way = 'give each its new files (a thief with old ones can cause this too)'
  hold(used, "can't rule out use of the old CA:", way, 'end their access')
  return true
}

function refuseUnreached(unreached: readonly string[]): void {
  if (unreached.length > 0)
    throw refusal(`the rotation can't reach all that need the change: ${unreached.join('; ')}`, [runAgain])
}

/**
 * To the state before the rotation, as far as nothing is lost by it. Throws a refusal if not even one step is possible.
 */
async function goBack(drive: Drive): Promise<readonly ExitCause[]> {
  const { rotation, rotating, say } = drive
  const { command } = rotating.run
  const present = presentStage(drive)
  // The rest of a finished rotation is not rolled out by this.
  if (present === 0)
    throw refusal(`nothing to undo: no rotation of ${rotation.what} is in progress`, [
      `to complete a finished or undone rotation: ${command('bootstrap')}`,
    ])
  for (const stage of rotation.stages.slice(0, present).toReversed()) {
    if (!stage.undo)
      throw refusal(`undo is not possible: ${stage.title}`, [
        `finish it: ${command(`rotate ${rotation.name} --finish`)}`,
      ])
    const isFirstStep = stage === rotation.stages[present - 1]
    // Only a completed stage shows what depends on it.
    if (stage.undoHeldBy || !isFirstStep) {
      say(`undoing ${heading(rotation, stage)}`)
      const causes = await drive.walk()
      if (isHeld(causes) || rotating.signal.aborted) return causes
    }
    const held = (await stage.undoHeldBy?.(rotating)) ?? []
    if (held.length > 0) {
      const remains = `both keys stay in use because of ${formatNames(held)}`
      const on = `continue: ${command(`rotate ${rotation.name}`)}`
      if (isFirstStep) throw refusal(remains, [on])
      say(`${remains}; ${on}`)
      return []
    }
    refuseUnreached((await surveyApiServers(rotating)).unreached)
    await stage.undo(rotating)
  }
  const causes = await drive.walk()
  if (!isHeld(causes)) say(`undid the rotation of ${rotation.what}`)
  return causes
}

async function graphOf(rotating: Rotating, stage: Stage | undefined): Promise<Graph> {
  const targets = [...(await graphFor(rotating.run.cluster)).values()]
  const proofs = stage ? proofTargets(rotating, stage, targets) : []
  const after = proofs.map(({ id }) => id)
  const work = stage?.targets?.(rotating) ?? []
  const more = work.map((target): Target => ({ ...target, after: [...(target.after ?? []), ...after] }))
  return buildGraph([...targets.map((target) => watched(rotating, stage, target)), ...proofs, ...more])
}

function watched(rotating: Rotating, stage: Stage | undefined, target: Target): Target {
  const { build, id } = target
  const watch = build && stage?.watch
  const node = watch && rotating.run.cluster.nodes.find((each) => each.role === 'control' && id === installId(each))
  if (!node) return target
  return {
    ...target,
    build: async (run, work) => {
      const watchers = { ...rotating, run, signal: work.signal }
      const check = await watch(watchers, node)
      const built = await build(run, work)
      await check()
      return built
    },
  }
}

const proofPhase = { name: 'proof', title: 'Checks' }

function proofTargets(rotating: Rotating, { prove, proof }: Stage, earlier: readonly Target[]): Target[] {
  if (!prove) return []
  const { name: phase } = proofPhase
  const after = earlier.filter(({ where }) => where === 'node').map(({ id }) => id)
  return rotating.run.cluster.nodes
    .filter(({ role }) => role !== 'gateway')
    .map((node) => ({
      id: `${phase}/${node.name}`,
      phase,
      node: node.name,
      needs: [],
      after,
      makes: [],
      where: 'node',
      // A proof may write, so it is a build.
      check: () => ({ reasons: [{ kind: 'rotation', what: proof }] }),
      build: async (_, { signal, tell }) => ({
        change: { kind: 'proven', units: await prove({ ...rotating, signal }, node, tell) },
      }),
      release: (run) => run.disconnect(node),
    }))
}

/** By a node's name: the command lines and versions that decide what restarts, or why it could not be inspected. */
type Looks = ReadonlyMap<string, UnitsFound | Failure>

/** Of all nodes: a rotation needs each. */
async function lookAtAll(rotation: Rotation, run: Run): Promise<Looks> {
  const looks = await run.limits.node.map(run.cluster.nodes, async (node) => {
    const look = lookAtUnits({ ...run, stagedBy: rotation.name }, node)
    const found = await look.catch((error) => (error instanceof Failure ? error : Promise.reject(error)))
    await run.disconnect(node)
    return [node.name, found] as const
  })
  return new Map(looks)
}

async function planRotation(
  run: CommandRun,
  rotation: Rotation,
  {
    at,
    note,
    seen,
    tried,
  }: ReturnType<typeof begins> & { readonly seen: Looks; readonly tried: readonly TriedStage[] },
): Promise<readonly ExitCause[]> {
  const { options, cluster, host, print } = run
  const { stages } = rotation
  const end = options.finish ? stages.length : stages.length - 1
  const columns = columnsOf(host.stdout)
  const say = (text: string, indent = 0) => print(wrap(' '.repeat(indent) + text, columns, indent + 4))
  const linesOf = (of: Stage | undefined) =>
    tried.flatMap(({ stage, ...each }) => (stage === of ? formatTried(each) : []))
  const before = linesOf(undefined).map((line) => `before the first stage: ${line}`)
  for (const message of [...(note === undefined ? [] : [note]), ...notesOnMove(run).map(formatFinding), ...before])
    print(options.json ? formatJsonLine({ type: 'note', message }) : `${message}\n`)
  const changes = changedBy(rotation, cluster)
  const failures = [...seen].flatMap(([id, found]): [string, Failure][] =>
    found instanceof Failure ? [[id, found]] : [],
  )
  const reporter = await run.reporterFor(new Map(), true)
  for (const [, failure] of joinFailures(failures)) reporter.problem(failure)
  const foundOn = ({ name }: ClusterNode) => {
    const found = seen.get(name)
    return found instanceof Failure ? undefined : found
  }
  const toChange = cluster.nodes.flatMap((node) => {
    const found = foundOn(node)
    return found ? unsetOn(found, changes).map((what) => `${node.name}: ${what}`) : []
  })
  if (toChange.length > 0 && !options.json) print(['Before the first stage:', ...toChange, ''].join('\n'))
  for (const [i, stage] of stages.entries()) {
    const state = i < at ? (i === at - 1 ? 'under way' : 'done') : i < end ? 'to do' : 'with --finish'
    const onNodes = cluster.nodes.map((node) => ({ node, units: changingUnits(run, node, stage, foundOn(node)) }))
    const { name, title, proof, undo } = stage
    const position = { number: i + 1, state, of: stages.length }
    if (options.json) {
      const row = { type: 'stage', rotation: rotation.name, name, title, ...position, proof, undo: undo !== undefined }
      const { stage: _, ...found } = tried.find((each) => each.stage === stage) ?? {}
      const nodes = onNodes.map(({ node: { name: node }, units }) => ({ node, units }))
      print(formatJsonLine({ ...row, nodes, ...('states' in found && { tried: found }) }))
      continue
    }
    if (i > 0) print('')
    say(`Stage ${position.number} of ${position.of} (${state === 'under way' ? 'in progress' : state}): ${title}`)
    const restartsOf = (of: typeof onNodes) =>
      of.flatMap(({ units }) => units.flatMap(({ unit, restarts }) => (restarts ? unit : [])))
    for (const [role, of] of Map.groupBy(onNodes, ({ node }) => node.role)) {
      const restarts = [...new Set(restartsOf(of))]
      if (restarts.length > 0) say(`restarts on ${role} nodes: ${restarts.join(', ')}`, 2)
    }
    const outage = outageOf(cluster, restartsOf(onNodes))
    if (outage) say(outage, 2)
    for (const line of linesOf(stage)) say(line, 2)
    say(`check: ${proof}`, 2)
    print(`  undo: ${undo ? run.command(`rotate ${rotation.name} --undo`) : 'not possible'}`)
  }
  const untried = [...notTried(cluster), ...rotation.unseen(cluster)].map((each) => `not tried: ${each}`)
  // Then the present stage is completed, and proven once more.
  const isFinishLeft = at >= end && !options.finish
  const toDo = [
    `after each stage, ${backUp(run.auth)}`,
    ...(isFinishLeft ? [`complete the rotation: ${run.command(`rotate ${rotation.name} --finish`)}`] : []),
  ]
  const lines = options.json
    ? [...untried, ...toDo].map((message) => formatJsonLine({ type: 'note', message }))
    : ['', ...formatToDo({ rows: new Map(), findings: asFindings(toDo, { owner: 'afterwards' }) }, columns)]
  if (!options.json) for (const line of ['', ...untried]) say(line)
  for (const line of lines) print(line)
  return tried.some(({ refused }) => refused.length > 0) ? ['refused'] : ['stale']
}

/** The units of a node that load a file of the stage, by a restart or without one. */
function changingUnits(run: Run, node: ClusterNode, stage: Stage, found: UnitsFound | undefined) {
  const { cluster } = run
  const deployed = new Set(nodeFiles(cluster, node))
  // One that names its CA by a file stays as it is.
  const stays = (place: Place) =>
    place.part === 'kubeconfig' && found && fileAt(found.places, place.path)?.sha256 === digestAt(run, place)
  return (found?.units ?? nodeUnits(cluster, node)).flatMap(({ unit, files, isDrained = false }) => {
    const changed = files.filter(
      (place) =>
        deployed.has(place.file) && place.part !== 'pair' && !stays(place) && stage.changes(place.file, cluster),
    )
    const restarts = changed.some(({ loads }) => loads === 'restart')
    if (changed.length === 0) return []
    const isToDrain = restarts && isDrained && installOf(run).drain !== ''
    return [{ unit, files: changed.map(({ file, path }) => ({ file, path })), restarts, isDrained: isToDrain }]
  })
}

/**
 * Where --finish begins: in the present stage. Files do not tell whether the last stage was proven before the run
 * ended, so --finish proves it again for a week. Throws a refusal if nothing is under way.
 */
function stageToFinish(rotation: Rotation, run: Run): { readonly at: number; readonly note?: string } {
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
    `begin one: ${run.command(`rotate ${name}`)}`,
  ])
}
