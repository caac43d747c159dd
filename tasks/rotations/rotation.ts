/** What a rotation is: its stages in order, each a state of the files in auth/, and what leads from one to the next. */
import type { Cluster, ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import type { Target } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'

/** What rotating works with; `isForced`: what still uses the old has been named, and is given up. */
export interface Rotating {
  readonly workspace: Workspace
  readonly install: Install
  readonly signal: AbortSignal
  readonly isForced: boolean
}

export interface Stage {
  readonly name: string
  /** What is so in it, in a few words. */
  readonly title: string
  /** Of files in auth/: those that change when it begins. */
  readonly changes: (file: string) => boolean
  /** What is asked, of whom, before it counts as reached; for the plan. */
  readonly proof: string
  /** Begins it from the stage before: one write that counts, after what it replaces was kept. */
  begin(rotating: Rotating): Promise<void>
  /** Why it can't begin yet: who still uses what it ends. */
  heldBy?(rotating: Rotating): Promise<readonly string[]>
  /** What is asked of the components of a node when they have loaded it: by which units it was answered, as it should be. */
  prove?(rotating: Rotating, node: ClusterNode): Promise<readonly string[]>
  /** Further work, after the proofs. */
  targets?(rotating: Rotating): Target[]
  /** Leads back to the stage before; absent where there is no way back. */
  undo?(rotating: Rotating): Promise<void>
  /** Why it can't be led back. */
  bound?(rotating: Rotating): Promise<readonly string[]>
  /** After it the old is worth nothing: only with --finish. */
  readonly isLast?: true
  /** What holds it back is lost by it: nothing is given up. */
  readonly isNeverForced?: true
}

export interface Rotation {
  /** As it is typed. */
  readonly name: string
  /** In a sentence. */
  readonly what: string
  /** Those after the settled state, in order. */
  readonly stages: readonly Stage[]
  /** The name of a stage; `settled` where none is under way. Throws a refusal where the files do not fit together. */
  stageOf(workspace: Workspace): string
  /** Whether the undo of its first stage puts in order files that do not fit together. */
  readonly undoesUnclear?: true
  /** What of the old is out of sight. */
  readonly unseen: (cluster: Cluster) => readonly string[]
}
