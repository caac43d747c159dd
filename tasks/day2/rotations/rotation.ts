/**
 * What a rotation is: its stages in order. Each stage is a state of the files in auth/, which states.ts reads; the
 * stages say how each begins, is proven and is rolled back. `rotate` (tasks/commands/rotate.ts) drives them.
 */
import type { Cluster, ClusterNode } from '../../../lib/cluster/cluster.ts'
import type { Work } from '../../../lib/graph/target.ts'
import type { NodeRun } from '../../inspect/component.ts'
import type { ClusterTarget, Run } from '../../target.ts'

/** `isForced`: what still uses the old one has been listed, and may break. */
export type Rotating = Pick<NodeRun, 'run' | 'signal'> & { readonly isForced: boolean }

export interface Stage {
  readonly name: string
  /** What holds in it, in a few words. */
  readonly title: string
  /** Whether a file of auth/ changes when the stage begins. */
  changes(file: string, cluster: Cluster): boolean
  /** For the plan: the proof that completes the stage. */
  readonly proof: string
  /** Begins it from the previous stage: backs up what it replaces, then one write that counts. */
  begin(rotating: Rotating): Promise<void>
  /** Who still uses what it ends; it can't begin while there is anyone. */
  heldBy?(rotating: Rotating): Promise<readonly string[]>
  /**
   * Tries the components of a node that has loaded the stage, and may write a throw-away object for that; returns the units
   * that gave the right answer.
   */
  prove?(rotating: Rotating, node: ClusterNode, tell: Work['tell']): Promise<readonly string[]>
  /** Further work, after the proofs. */
  targets?(rotating: Rotating): ClusterTarget[]
  /** Rolls back to the previous stage; absent if that is impossible. */
  undo?(rotating: Rotating): Promise<void>
  /** What depends on the stage by now, and would break if it were rolled back. */
  undoHeldBy?(rotating: Rotating): Promise<readonly string[]>
  /** After it the old one is no longer trusted: only with --finish. */
  readonly isLast?: true
  /** What holds it back would be lost, so --force does not apply. */
  readonly isNeverForced?: true
}

export interface Rotation {
  /** As it is typed. */
  readonly name: string
  /** In a sentence. */
  readonly what: string
  /** Those after the settled state, in order. */
  readonly stages: readonly Stage[]
  /** What is said before it begins: its command is typed on a control node. */
  readonly reminder?: string
  /** Throws a usage Failure where cluster.yaml has none. */
  refuse?(run: Run): void
  /** Before the first walk, where none is under way. */
  prepare?(run: Run): void
  /**
   * The name of the present stage; `settled` if none is under way. Throws a refusal if the files do not fit together.
   */
  stageOf(run: Run): string
  /** The folder that its last --finish has left in auth/backup; undefined if what that made is not in use. */
  finishedIn(run: Pick<Run, 'auth'>): string | undefined
  /** True if the undo of its first stage also repairs files that do not fit together. */
  readonly undoesUnclear?: true
  /** API servers that it could not be proven for; each with what to do. */
  unreached?(rotating: Rotating): Promise<readonly string[]>
  /** Users of the old one that can't be seen from here. */
  readonly unseen: (cluster: Cluster) => readonly string[]
}

/** Whether a file of auth/ changes when one of its stages begins. */
export const changedBy =
  ({ stages }: Rotation, cluster: Cluster) =>
  (file: string): boolean =>
    stages.some((stage) => stage.changes(file, cluster))

export const snapshotReminder = `take a snapshot of etcd first, to restore lost data from (with the --endpoints, --cacert, --cert and --key of a control node):\n    etcdctl snapshot save FILE`
