import type { Run } from '../../target.ts'
import { caRotation, etcdCaRotation } from './ca-rotation.ts'
import { encryptionKeyRotation } from './encryption-key-rotation.ts'
import type { Rotation } from './rotation.ts'
import { serviceAccountRotation } from './service-account-rotation.ts'

export const rotations: readonly Rotation[] = [
  caRotation,
  etcdCaRotation,
  serviceAccountRotation,
  encryptionKeyRotation,
]

/** The number of its stage, from 1; 0 if none is under way. Throws a refusal if its files do not fit together. */
export function stageNumber({ stages, stageOf }: Rotation, run: Run): number {
  const at = stageOf(run)
  return stages.findIndex(({ name }) => name === at) + 1
}

/** A rotation that has begun, as it is reported. */
export type UnderWay = Readonly<ReturnType<typeof underWay>[number]>

/** Throws a refusal if the files of one do not fit together. */
export function underWay(run: Run, some: readonly Rotation[] = rotations) {
  return some.flatMap((rotation) => {
    const { name, what, stages } = rotation
    const number = stageNumber(rotation, run)
    const stage = stages[number - 1]
    /** True if the old one is no longer trusted after the next stage, which only --finish does. */
    const isLastNext = stages[number]?.isLast === true
    return stage ? [{ name, what, title: stage.title, stage: number, of: stages.length, isLastNext }] : []
  })
}
