/** What targets work with, passed in so that they depend on neither the path of auth/ nor the clock. */
import type { Cluster, ClusterNode } from '../cluster/cluster.ts'
import type { AuthDir } from '../files/auth-dir.ts'
import type { Node } from '../node/node.ts'

export interface Run {
  readonly cluster: Cluster
  readonly auth: AuthDir
  /** One moment for the whole run. */
  readonly now: Date
  /** This machine's. */
  clock(): Date
  /** The user's kubeconfig, or kubectl's list of them, in kubectl's order. */
  readonly kubeconfigs: () => readonly string[]
  /** The node, by the one connection that its first command opens. */
  connect(node: ClusterNode): Promise<Node>
  /** Closes it, where it was opened. Never throws. */
  disconnect(node: ClusterNode): Promise<void>
  /** A command for the user to type, for the cluster.yaml in use: `ca --force`. */
  command(task: string): string
  /** Reports something that belongs to no target. */
  note(text: string): void
  /** By `status` and `report`, which also ask what no target is made of. */
  readonly isObserved?: true
  /** In a plan: files of auth/ that would be written, so that every copy of them counts as different. */
  readonly pending?: ReadonlySet<string>
  /**
   * Throws a Failure if this machine's clock, by which certificates are dated, is not that of the nodes which the run deploys to. They
   * are asked once, and only if something is made.
   */
  readonly checkClocks?: () => Promise<void>
  /** The rotation that this run drives, as it is typed: what that replaces need not match cluster.yaml yet. */
  readonly rotating?: string
  readonly options: {
    readonly replaceIdentity: boolean
    readonly prune: boolean
    /** Phases and targets, as they were typed. */
    readonly names: readonly string[]
  }
}

/** Whether less than certificates.renewBefore is left until then. */
export function endsSoon({ now, cluster }: Pick<Run, 'now' | 'cluster'>, end: Date): boolean {
  return end.getTime() - now.getTime() <= cluster.certificates.renewBefore
}
