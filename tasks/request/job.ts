/** What a command does once its request is valid: it works while it holds auth/, or reads while nobody does. */
import type { Outcome } from '../../lib/graph/executor.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { TargetId } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import type { Reporter } from '../../lib/show/reporter.ts'
import type { Closing } from '../../lib/show/summary.ts'
import type { Finding } from './exit-status.ts'
import type { Session } from './session.ts'

/** Works while no other run can change auth/. */
export interface Writing {
  /** With the nodes that may be contacted. */
  readonly graph?: Graph
  /** Without one, a failure ends the command, and a wait for another run is reported on stderr. */
  readonly reporter?: Pick<Reporter, 'note' | 'problem' | 'end'>
  readonly work: (session: Locked) => Promise<Worked>
  /** After the work, whether or not it failed. */
  readonly closing?: (workspace: Workspace, outcomes: Worked['outcomes']) => Closing
}

interface Locked extends Session {
  /** Aborted if the lock is lost. */
  readonly lost: AbortSignal
}

export interface Worked {
  readonly outcomes: ReadonlyMap<TargetId, Outcome>
  readonly findings: readonly Finding[]
}

/** Reads while no run holds auth/, and once more if one began meanwhile. */
export interface Reading {
  /** With the nodes that may be contacted. */
  readonly graph?: Graph
  /** Returns what shows the findings: it is called when they are certain. */
  readonly read: (session: Session) => Promise<() => Promise<readonly Finding[]>>
}
