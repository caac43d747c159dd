/** `rotate … --dry-run`: its stages, what each changes and how long it waits, and the trial of each in memory. */

import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatIssues, notices } from '../../lib/show/rows.ts'
import { formatNames, wrap } from '../../lib/wording.ts'
import type { Rotation } from '../rotations/rotations.ts'
import { formatTried, notTried, type TriedStage, tryStages } from '../rotations/trial.ts'
import { readAuth } from '../run/access.ts'
import type { CommandRun } from '../run/command-run.ts'
import type { ExitCause } from '../run/exit-status.ts'
import { columnsOf } from '../run/host.ts'
import { backUp } from '../views/observe.ts'
import { checkedRotation, refuseOther, snapshotReminder, startOf } from './rotate.ts'

/** Throws a usage Failure before anything is printed. */
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
      `after each stage, ${backUp(run.auth)}`,
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
  for (const text of formatIssues({ rows: new Map(), notices: notices('after', ...toDo) }, { columns })) print(text)
}
