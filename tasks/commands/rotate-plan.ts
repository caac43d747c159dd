/** `rotate … --dry-run`: its stages, what each changes and how long it waits, and the trial of each in memory. */

import { formatJsonLine } from '../../lib/show/lines.ts'
import { notices } from '../../lib/show/reporter.ts'
import { formatToDo } from '../../lib/show/rows.ts'
import { formatNames, wrap } from '../../lib/wording.ts'
import type { Rotation, Stage } from '../day2/rotations/rotation.ts'
import { formatTried, notTried, type Tried, type TriedStage, tryStages } from '../day2/rotations/trial.ts'
import { readAuth } from '../run/access.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { columnsOf } from '../run/host.ts'
import { backUp } from '../views/notices.ts'
import { checkedRotation, refuseOther, type Start, startOf } from './rotate.ts'

interface PlannedStage extends Pick<Stage, 'name' | 'title' | 'proof'> {
  /** The first stage is 1. */
  readonly number: number
  readonly of: number
  readonly state: 'done' | 'under way' | 'to do' | 'with --finish'
  /** Whether it can be undone. */
  readonly undo: boolean
  /** Files of auth/ that change when it begins. */
  readonly files: readonly string[]
  /** What the trial found; undefined for a stage that is done. */
  readonly tried?: Tried | undefined
}

/** Throws a usage Failure before anything is printed. */
export async function plan(given: CommandRun): Promise<readonly ExitCause[]> {
  const { rotation, graph } = await checkedRotation(given)
  const read = async (run: CommandRun) => {
    refuseOther({ options: given.options, rotation, rotating: { run } })
    const start = startOf(rotation, given.options, run)
    const trials = await tryStages({ run, signal: run.signal, isForced: false }, rotation, start.at)
    const files = [...graph.values()].flatMap(({ where, makes }) => (where === 'auth' ? makes : []))
    const stages = rotation.stages.map((stage, i): PlannedStage => {
      const trial = trials.find((each) => each.stage === stage)
      return {
        ...{ name: stage.name, title: stage.title, proof: stage.proof, undo: stage.undo !== undefined },
        ...{ number: i + 1, of: rotation.stages.length, state: stateOf(run, rotation, start, i + 1) },
        files: files.filter((file) => stage.changes(file, run.cluster)),
        ...(trial && { tried: triedOf(trial) }),
      }
    })
    const before = trials.flatMap(({ stage, ...tried }) => (stage ? [] : formatTried(tried)))
    const notes = [start.note ?? [], before.map((line) => `before the first stage: ${line}`)].flat()
    return async (): Promise<readonly ExitCause[]> => {
      print(run, rotation, { notes, stages, toDo: leftToDo(run, rotation, start) })
      return trials.some(({ refused }) => refused.length > 0) ? ['refused'] : ['stale']
    }
  }
  return readAuth(given, graph, read, { isPlan: true })
}

const triedOf = ({ stage: _, ...tried }: TriedStage): Tried => tried

function stateOf({ options }: CommandRun, { stages }: Rotation, start: Start, number: number): PlannedStage['state'] {
  if (number < start.at) return 'done'
  if (number === start.at) return 'under way'
  return number < stages.length || options.finish ? 'to do' : 'with --finish'
}

/** Without --finish a run completes and proves the last stage but one, and goes no further. */
function leftToDo(
  { auth, command, options }: CommandRun,
  { name, stages, reminder }: Rotation,
  start: Start,
): string[] {
  const isFinishLeft = start.at >= stages.length - 1 && !options.finish
  return [
    ...(start.at === 0 && reminder !== undefined ? [reminder] : []),
    `after each stage, ${backUp(auth)}`,
    ...(isFinishLeft ? [`complete the rotation:\n    ${command(`rotate ${name} --finish`)}`] : []),
  ]
}

interface Printed {
  readonly notes: readonly string[]
  readonly stages: readonly PlannedStage[]
  readonly toDo: readonly string[]
}

function print({ cluster, command, host, options, print }: CommandRun, rotation: Rotation, planned: Printed): void {
  const { notes, stages, toDo } = planned
  const untried = [...notTried(cluster), ...rotation.unseen(cluster)].map((each) => `not tried: ${each}`)
  if (options.json) {
    for (const stage of stages) print(formatJsonLine({ type: 'stage', rotation: rotation.name, ...stage }))
    for (const message of [...notes, ...untried, ...toDo]) print(formatJsonLine({ type: 'note', message }))
    return
  }
  const columns = columnsOf(host.stdout)
  const undo = command(`rotate ${rotation.name} --undo`)
  for (const note of notes) print(`${wrap(note, columns, 4)}\n`)
  for (const stage of stages) {
    print(wrap(headingOf(stage), columns, 4))
    for (const text of detailsOf(stage)) print(wrap(`  ${text}`, columns, 6))
    print(`  undo: ${stage.undo ? undo : 'not possible'}\n`)
  }
  for (const text of untried) print(wrap(text, columns, 4))
  for (const text of formatToDo({ rows: new Map(), notices: notices('after', ...toDo) }, columns)) print(text)
}

function headingOf({ number, of, state, title }: PlannedStage): string {
  return `Stage ${number} of ${of} (${state === 'under way' ? 'in progress' : state}): ${title}`
}

function detailsOf({ files, tried, proof }: PlannedStage): string[] {
  return [
    ...(files.length > 0 ? [`changes ${formatNames(files)}`] : []),
    ...(tried ? formatTried(tried) : []),
    `check: ${proof}`,
  ]
}
