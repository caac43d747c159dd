/**
 * What a rotation is: its stages in order. Each stage is a state of the files in auth/, which states.ts reads; the
 * stages say how each begins, is proven and is rolled back. `rotate` (tasks/commands/rotate.ts) drives them.
 */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import type { ClusterTarget, Run } from '../cluster-target.ts'
import type { NodeRun } from '../inspect/component.ts'
import { caRotation, etcdCaRotation } from './ca-rotation.ts'
import { encryptionKeyRotation } from './encryption-key-rotation.ts'
import { serviceAccountRotation } from './service-account-rotation.ts'

/** `isForced`: what still uses the old one has been listed, and may break. */
export type Rotating = Pick<NodeRun, 'run' | 'signal'> & { readonly isForced: boolean }

export interface Stage {
  readonly name: string
  readonly title: string
  /** For the plan: the proof that completes the stage. */
  readonly proof: string
  /** Begins it from the previous stage: backs up what it replaces, then one write that counts. */
  begin(rotating: Rotating): Promise<void>
  /** Who still uses what it ends; it can't begin while there is anyone. */
  usedBy?(rotating: Rotating): Promise<readonly string[]>
  /** What holds it back would be lost, so --force does not apply. */
  readonly isNeverForced?: true
  /** Tries the components of a node that has loaded the stage; returns the units that gave the right answer. */
  prove?(rotating: Rotating, node: ClusterNode, tell: BuildContext['tell']): Promise<readonly string[]>
  targets?(rotating: Rotating): ClusterTarget[]
  /** Rolls back to the previous stage; absent if that is impossible. */
  undo?(rotating: Rotating): Promise<void>
  /** What depends on the stage by now, and would break if it were rolled back. */
  undoBreaks?(rotating: Rotating): Promise<readonly string[]>
}

export interface Rotation {
  readonly name: string
  readonly what: string
  /** Those after the settled state, in order. After the last, which only --finish begins, the old one is not trusted. */
  readonly stages: readonly Stage[]
  /** True if it may lose what etcd stores. */
  readonly needsSnapshot?: true
  /** Throws a usage Failure where cluster.yaml has none. */
  refuse?(run: Run): void
  /** Before the first walk, where none is under way. */
  prepare?(run: Run): void
  /** `settled` if none is under way. Throws a refusal if the files do not fit together. */
  stageOf(run: Run): string
  /** Whether auth/ has what an earlier one has left: only then there is a last stage to check again. */
  wasRun(run: Run): boolean
  /** True if the undo of its first stage also repairs files that do not fit together. */
  readonly undoesUnclear?: true
}

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

export type UnderWay = Readonly<ReturnType<typeof underWay>[number]>

/** Throws a refusal if the files of one do not fit together. */
export function underWay(run: Run, some: readonly Rotation[] = rotations) {
  return some.flatMap((rotation) => {
    const { name, what, stages } = rotation
    const number = stageNumber(rotation, run)
    const stage = stages[number - 1]
    /** True if the old one is no longer trusted after the next stage, which only --finish does. */
    const isLastNext = number === stages.length - 1
    return stage ? [{ name, what, title: stage.title, stage: number, of: stages.length, isLastNext }] : []
  })
}
