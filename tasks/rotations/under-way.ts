/** The rotations that are under way, for commands that report them beside their own work. */
import { type Failure, refusal, tryTo } from '../../lib/failure.ts'
import { caNames } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/target.ts'
import type { UnderWay, Uses } from './rotation.ts'
import { readCaState, readEncryptionState, readTokenState } from './states.ts'

const states = [...caNames.map((name) => (run: Run) => readCaState(run, name)), readTokenState, readEncryptionState]

/** Loads the stages only if a rotation is under way: most runs don't need them. */
export async function rotationsUnderWay(run: Run): Promise<UnderWay[]> {
  const stages = states.map((read) => tryTo(() => read(run)?.stage) ?? 'settled')
  if (stages.every((stage) => stage === 'settled')) return []
  const { underWay } = await import('./table.ts')
  // The target of files that do not fit together reports them.
  return tryTo(() => underWay(run)) ?? []
}

export function formatUnderWay({ name, what, title, stage, of, isLastNext }: UnderWay, { command }: Run): string {
  const on = command(`rotate ${name}${isLastNext ? ' --finish' : ''}`)
  return `a rotation of ${what} is under way, stage ${stage} of ${of}: ${title}; on: ${on}; back: ${command(`rotate ${name} --undo`)}`
}

export function formatUses({ sentences, failure }: Uses): string[] {
  return [...sentences, ...(failure ? [`who still uses the old one could not be looked at: ${failure.message}`] : [])]
}

/** What is refused while the rotation of that name is under way, with each way out. */
export function refusalDuring(name: string, what: string, { command }: Pick<Run, 'command'>): Failure {
  return refusal(what, [
    `finish it: ${command(`rotate ${name} --finish`)}`,
    `or take it back: ${command(`rotate ${name} --undo`)}`,
  ])
}
