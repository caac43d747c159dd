/** What can be rotated, a row each. */
import { tryTo } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { caRotation } from './ca.ts'
import { encryptionKeyRotation } from './encryption-key.ts'
import type { Rotating, Rotation } from './rotation.ts'
import { serviceAccountRotation } from './service-account.ts'

export const rotations: readonly Rotation[] = [caRotation, serviceAccountRotation, encryptionKeyRotation]

export interface UnderWay {
  /** As it is typed. */
  readonly name: string
  readonly what: string
  /** Of the stage at hand. */
  readonly title: string
  /** Its number, from 1, and how many there are. */
  readonly stage: number
  readonly of: number
  /** After the next one the earlier is worth nothing: it is for --finish alone. */
  readonly isLastNext: boolean
}

/** The number of its stage, from 1; 0 where none is under way. Throws a refusal where its files do not fit together. */
export function stageNumber({ stages, stageOf }: Rotation, workspace: Workspace): number {
  const at = stageOf(workspace)
  return stages.findIndex(({ name }) => name === at) + 1
}

/** Throws a refusal where the files of one do not fit together. */
export function underWay(workspace: Workspace, some: readonly Rotation[] = rotations): UnderWay[] {
  return some.flatMap((rotation) => {
    const { name, what, stages } = rotation
    const number = stageNumber(rotation, workspace)
    const stage = stages[number - 1]
    const isLastNext = stages[number]?.isLast === true
    return stage ? [{ name, what, title: stage.title, stage: number, of: stages.length, isLastNext }] : []
  })
}

/** For a look: files that do not fit together are told by the target that they belong to. */
export function rotationsIn(workspace: Workspace): UnderWay[] {
  return tryTo(() => underWay(workspace)) ?? []
}

/** A sentence for each. */
export function formatUnderWay({ name, what, title, stage, of, isLastNext }: UnderWay, { command }: Workspace): string {
  const on = command(`rotate ${name}${isLastNext ? ' --finish' : ''}`)
  return `a rotation of ${what} is under way, stage ${stage} of ${of}: ${title}; on: ${on}; back: ${command(`rotate ${name} --undo`)}`
}

/** A sentence for each who still uses what `--finish` ends, and for what is out of sight; none where a stage comes before that. */
export async function tellUses(rotating: Rotating, { name }: Pick<Rotation, 'name'>): Promise<string[]> {
  const { workspace } = rotating
  const rotation = rotations.find((each) => each.name === name)
  const next = rotation?.stages[stageNumber(rotation, workspace)]
  if (!rotation || !next?.isLast) return []
  const held = (await next.heldBy?.(rotating)) ?? []
  return [
    ...held.map((each) => `the earlier one is still used by ${each}`),
    ...rotation.unseen(workspace.cluster).map((each) => `what is not seen from here: ${each}`),
  ]
}
