/** `rotate`: one stage after the other, each an ordinary walk over all targets, and proven before the next begins. */
import { asFailure, Failure, refusal, usageFailure } from '../../../lib/failure.ts'
import type { Lock } from '../../../lib/files/lock.ts'
import { caName, certificateFile } from '../../../lib/files/names.ts'
import { suggest } from '../../../lib/suggest.ts'
import { buildGraph, type Graph } from '../../../lib/targets/graph.ts'
import type { Target } from '../../../lib/targets/target.ts'
import { adviseAfter } from '../../../lib/views/advice.ts'
import { viewPhases } from '../../../lib/views/phase-view.ts'
import type { Reporter } from '../../../lib/views/reporter.ts'
import { summarise } from '../../../lib/views/summary.ts'
import { formatNames } from '../../../lib/wording.ts'
import { exitStatus, type Finding } from '../../looks/exit-status.ts'
import { walk } from '../../looks/walk.ts'
import { clusterGraph, phases } from '../../phases/table.ts'
import { formatCommand } from '../../request/command.ts'
import { usage } from '../../request/options.ts'
import { authBeside, checkConfigFile, lockAuth, openWorkspace, type Request } from '../../request/session.ts'
import { rewritePhase } from '../../rotations/rewrite.ts'
import type { Rotating, Rotation, Stage } from '../../rotations/rotation.ts'
import { rotations, underWay } from '../../rotations/table.ts'
import { planRotation } from './plan.ts'
import { proofPhase, proofTargets } from './proof.ts'

/** Throws a usage Failure before anything is printed or changed. */
export async function rotate(request: Request): Promise<readonly Finding[]> {
  const rotation = asked(request)
  const { install } = request.cluster
  if (!install)
    throw usageFailure(
      'a rotation needs install in cluster.yaml: what runs must have loaded one stage before the next begins',
      'set install: guide, then bootstrap',
    )
  const auth = authBeside(request.file)
  if (!auth.read(certificateFile(caName)))
    throw usageFailure(
      `${auth.path} has no CA yet: there is nothing to rotate`,
      formatCommand('bootstrap', { config: request.options.config, clone: request.clone }),
    )
  checkConfigFile(request, clusterGraph(request.cluster))
  if (request.options.dryRun) return planRotation(request, rotation, install)
  const notes: string[] = []
  let say = (text: string) => {
    notes.push(text)
  }
  const { workspace, limits, close } = openWorkspace(request, (text) => say(text))
  let lock: Lock | undefined
  let findings: readonly Finding[] = ['failed']
  const run: Run = {
    request,
    rotation,
    rotating: { workspace, install, signal: request.signal, isForced: request.options.force },
    walk: async (stage) => {
      const graph = graphOf(request, run.rotating, stage)
      const reporter = await request.reporterFor(viewPhases([...phases, proofPhase, rewritePhase], graph), false)
      say = reporter.note
      for (const note of notes.splice(0)) reporter.note(note)
      const started = performance.now()
      const lost = lock?.lost ?? request.signal
      const { outcomes, findings } = await walk(graph, {
        workspace,
        forced: new Map(),
        limits,
        signal: request.signal,
        lost,
        reporter,
      })
      const exit = exitStatus(findings, request.endedStatus())
      const closing = { advice: adviseAfter([...graph.values()], outcomes), nextToExpire: undefined }
      await reporter.end(summarise(outcomes, (performance.now() - started) / 1000, exit, closing))
      say = (text) => {
        notes.push(text)
      }
      return findings
    },
    say: (text) => say(text),
  }
  try {
    workspace.auth.make()
    lock = await lockAuth(workspace.auth, request, (text) => say(text))
    refuseOther(run)
    findings = await (request.options.undo ? goBack(run) : goOn(run))
  } catch (error) {
    const failure = asFailure(error)
    findings = [failure.kind]
    if (!request.signal.aborted) await tellFailure(request, failure)
  } finally {
    await close()
    lock?.release()
  }
  if (notes.length > 0) await tellNotes(request, notes)
  return findings
}

interface Run {
  readonly request: Request
  readonly rotation: Rotation
  readonly rotating: Rotating
  /** To the end of a stage, or of the settled state. */
  readonly walk: (stage: Stage | undefined) => Promise<readonly Finding[]>
  readonly say: (text: string) => void
}

function asked({ options: { names, finish, undo, dryRun } }: Request): Rotation {
  const [, name = '', ...more] = names
  const known = rotations.map((each) => each.name)
  if (name === '') throw usage(`rotate needs a name: ${known.join(', ')}`, 'rotate')
  if (more.length > 0) throw usage(`rotate takes one name at a time, not ${[name, ...more].join(', ')}`, 'rotate')
  const rotation = rotations.find((each) => each.name === name)
  if (!rotation) throw usage(`rotate ${name}: ${suggest(name, known) || `it can be ${known.join(', ')}`}`, 'rotate')
  if (finish && undo) throw usage("--finish and --undo can't be combined", 'rotate')
  if (dryRun && undo) throw usage("--undo and --dry-run can't be combined", 'rotate')
  return rotation
}

function graphOf(request: Request, rotating: Rotating, stage: Stage | undefined): Graph {
  const targets = [...clusterGraph(request.cluster).values()]
  const proofs = stage ? proofTargets(rotating, stage, targets) : []
  const after = proofs.map(({ id }) => id)
  const work = stage?.targets?.(rotating) ?? []
  const more = work.map((target): Target => ({ ...target, after: [...(target.after ?? []), ...after] }))
  return buildGraph([...targets, ...proofs, ...more])
}

/** Two at once would each wait for what the other changes; one that has begun all the same is led to its end. */
function refuseOther(run: Run): void {
  const { rotation, rotating } = run
  const { workspace } = rotating
  if (standing(run) > 0) return
  const [other] = underWay(
    workspace,
    rotations.filter((each) => each !== rotation),
  )
  if (!other) return
  throw refusal(`a rotation of ${other.what} is under way: ${other.title}`, [
    `finish it: ${workspace.command(`rotate ${other.name} --finish`)}`,
    `or take it back: ${workspace.command(`rotate ${other.name} --undo`)}`,
  ])
}

/** Its number among the stages, from 1; 0 where none is under way. Throws where the files do not fit together, unless that is undone. */
function standing({ request, rotation, rotating: { workspace } }: Run): number {
  const stageOf = () => rotation.stageOf(workspace)
  const name = request.options.undo && rotation.undoesUnclear ? orUnclear(stageOf, rotation) : stageOf()
  return rotation.stages.findIndex((stage) => stage.name === name) + 1
}

async function goOn(run: Run): Promise<readonly Finding[]> {
  const { request, rotation, rotating, say } = run
  const { stages } = rotation
  const { finish } = request.options
  let at = standing(run)
  // What finishes it may have been ended before it was proven.
  const isOver = at === 0 && finish
  if (isOver)
    say(
      `no rotation of ${rotation.what} is under way (${rotating.workspace.command(`rotate ${rotation.name}`)} begins one); where one was finished, what it promised is proven again`,
    )
  let stage = isOver ? stages.at(-1) : stages[at - 1]
  for (;;) {
    if (!isOver) say(heading(rotation, stage))
    const findings = await run.walk(stage)
    if (findings.length > 0 || request.signal.aborted) return findings
    if (stage?.isLast) return []
    const next = stages[at]
    if (!next) return []
    if (next.isLast && !finish) {
      await tellWhatIsLeft(run, next)
      return []
    }
    await holdBack(run, next)
    await next.begin(rotating)
    at += 1
    stage = next
  }
}

function heading({ stages, what }: Rotation, stage: Stage | undefined): string {
  const number = stage ? stages.indexOf(stage) + 1 : 0
  return stage
    ? `${what}, stage ${number} of ${stages.length}: ${stage.title}`
    : `${what}: before it is rotated, everything is to be as cluster.yaml asks`
}

/** Refuses to end what somebody known still uses. */
async function holdBack({ rotation, rotating, say }: Run, next: Stage): Promise<void> {
  const held = (await next.heldBy?.(rotating)) ?? []
  if (held.length === 0) return
  if (rotating.isForced && !next.isNeverForced) {
    for (const each of held) say(`given up: ${each}`)
    return
  }
  throw refusal(`the earlier one is still used by ${held.join('; ')}`, [
    'have them take up the new one, then run the same command again',
    ...(next.isNeverForced
      ? []
      : [`or cut them off: ${rotating.workspace.command(`rotate ${rotation.name} --finish --force`)}`]),
  ])
}

async function tellWhatIsLeft({ rotation, rotating, say }: Run, next: Stage): Promise<void> {
  const { command } = rotating.workspace
  const held = (await next.heldBy?.(rotating)) ?? []
  for (const each of held) say(`the earlier one is still used by ${each}`)
  for (const each of rotation.unseen(rotating.workspace.cluster)) say(`what is not seen from here: ${each}`)
  say(`left to do: ${next.title}`)
  say(`    ${command(`rotate ${rotation.name} --finish`)}`)
  say('or back:')
  say(`    ${command(`rotate ${rotation.name} --undo`)}`)
}

function orUnclear(stageOf: () => string | undefined, { stages }: Rotation): string | undefined {
  try {
    return stageOf()
  } catch (error) {
    if (error instanceof Failure && error.kind === 'refused') return stages[0]?.name
    throw error
  }
}

async function goBack(run: Run): Promise<readonly Finding[]> {
  const { request, rotation, rotating, say } = run
  const { workspace } = rotating
  // Of one that was finished the rest is not to be rolled out by this.
  if (standing(run) === 0)
    throw refusal(`no rotation of ${rotation.what} is under way: there is nothing to take back`, [
      `what one that was finished, or taken back, has left to do is done by: ${workspace.command('bootstrap')}`,
    ])
  for (let at = standing(run), steps = 0; ; steps++) {
    const stage = rotation.stages[at - 1]
    if (!stage) {
      const findings = await run.walk(undefined)
      if (findings.length === 0) say(`the rotation of ${rotation.what} is taken back`)
      return findings
    }
    if (!stage.undo)
      throw refusal(`there is no way back: ${stage.title}`, [
        `finish it: ${workspace.command(`rotate ${rotation.name} --finish`)}`,
      ])
    // It is known only then what was made by it.
    if (stage.bound) {
      say(`back: ${heading(rotation, stage)}`)
      const findings = await run.walk(undefined)
      if (findings.length > 0 || request.signal.aborted) return findings
      const bound = await stage.bound(rotating)
      if (bound.length > 0) return stay(run, bound, steps)
    }
    await stage.undo(rotating)
    at -= 1
    if (at > 0 && !rotation.stages[at - 1]?.bound) {
      const findings = await run.walk(undefined)
      if (findings.length > 0 || request.signal.aborted) return findings
    }
  }
}

/** Refused where not even one step back was made. */
function stay(
  { rotation, rotating: { workspace }, say }: Run,
  bound: readonly string[],
  steps: number,
): readonly Finding[] {
  const remains = `both stay in use, for the sake of ${formatNames(bound)}`
  const on = `go on: ${workspace.command(`rotate ${rotation.name}`)}`
  if (steps === 0) throw refusal(remains, [on])
  say(`${remains}; ${on}`)
  return []
}

async function tellFailure({ reporterFor, endedStatus }: Request, failure: Failure): Promise<void> {
  const reporter = await reporterFor([], false)
  reporter.problem(failure)
  await reporter.end(summarise(new Map(), 0, exitStatus([failure.kind], endedStatus())))
}

async function tellNotes({ reporterFor }: Request, notes: readonly string[]): Promise<void> {
  const reporter: Reporter = await reporterFor([], false)
  for (const note of notes) reporter.note(note)
  await reporter.end(summarise(new Map(), 0, 0))
}
