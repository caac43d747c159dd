/** What a target of this program is: the run that it is given, and its facts that a walk does not need. */
import type { LimitFunction } from 'p-limit'
import type { Cluster, ClusterNode, KeyKind } from '../lib/cluster/cluster.ts'
import type { AuthDir } from '../lib/files/auth-dir.ts'
import { type AnyRun, buildGraph, type Graph, type Row, type Rows, type Target } from '../lib/graph/target.ts'
import type { Node } from '../lib/node/node.ts'
import { type Check, isRepair, missing, namesOf } from '../lib/results.ts'

export interface Run extends AnyRun {
  readonly cluster: Cluster
  readonly auth: AuthDir
  /** One moment for the whole run. */
  readonly now: Date
  clock(): Date
  readonly waits: {
    /** Seconds that a process which was started meanwhile has to be healthy, at least. */
    readonly healthy: number
    /** Seconds after which a component that polls a file has read it. */
    readonly polled: number
  }
  readonly kubeconfig: () => string
  /** The node, by the one connection that its first command opens. */
  connect(node: ClusterNode): Promise<Node>
  /** How much is done at once. Nodes are queried through `limits.node`, but by a node's target, which has a slot. */
  readonly limits: Readonly<Record<'auth' | 'node' | 'kubeconfig', LimitFunction>>
  readonly builtInPlan: 'auth'
  /** Closes it, where it was opened and not all nodes may be connected at once. Never throws. */
  disconnect(node: ClusterNode): Promise<void>
  /** A command for the user to type, for the cluster.yaml in use: `ca --force`. */
  command(task: string): string
  note(text: string): void
  /** By `status` and `report`, which also ask what no target is made of. */
  readonly isObserved?: true
  /** In a plan `auth` is in memory, and this is what there is: components know these credentials. */
  readonly disk?: AuthDir
  /** In a plan: the kind of every new key, which is quick to make, and never written. */
  readonly planKey?: KeyKind
  /** The command that drives this run in stages, such as `rotate ca`: its CA or key may differ from cluster.yaml meanwhile. */
  readonly stagedBy?: string
  readonly options: {
    readonly replaceIdentity: boolean
    readonly prune: boolean
    readonly names: readonly string[]
    readonly onNodes?: boolean
  }
}

export function endsSoon({ now, cluster }: Pick<Run, 'now' | 'cluster'>, end: Date): boolean {
  return end.getTime() - now.getTime() <= cluster.certificates.renewBefore
}

export interface ClusterTarget<Findings = unknown> extends Target<Run, Findings> {
  /** The values that it is to have, by which plans are compared: without a time or a path of this machine. */
  readonly desired?: object
  /** Its purpose in a few letters: a column of a table. */
  readonly purpose?: string
  /** Losing it, or the key in it, breaks a running cluster: it refuses to be replaced before anything is built. */
  readonly irreplaceable?: 'whole' | 'key' | undefined
}

export type ClusterGraph = Graph<ClusterTarget>
export type ClusterRow = Row<ClusterTarget>
export type ClusterRows = Rows<ClusterTarget>

export interface Phase {
  readonly name: string
  readonly title: string
  readonly makes: string
  /** The module that has its targets; none if cluster.yaml does not use the phase. */
  targets(cluster: Cluster): Promise<PhaseFile> | false | undefined
}

export interface PhaseFile {
  /** `earlier`: the targets of the phases before it. */
  targets(cluster: Cluster, of: { readonly phase: string; readonly earlier: readonly ClusterTarget[] }): ClusterTarget[]
}

export async function clusterGraph(phases: readonly Phase[], cluster: Cluster): Promise<ClusterGraph> {
  const files = await Promise.all(phases.map((phase) => phase.targets(cluster)))
  const all: ClusterTarget[] = []
  for (const [i, { name }] of phases.entries()) {
    const file = files[i]
    if (file) all.push(...file.targets(cluster, { phase: name, earlier: all }))
  }
  return buildGraph(all)
}

/** Repairs modes, and skips the build if only they were wrong. What is to be replaced is not checked. */
export function authTarget<Findings>(target: ClusterTarget<Findings>): ClusterTarget<Findings> {
  return {
    ...target,
    check: (run, force, before) =>
      force === 'replace' ? checkReplaced(target, run) : target.check(run, force, before),
    build: async (run, work) => {
      for (const name of namesOf(work.diffs, 'chmod')) run.auth.setMode(name, run.auth.files.mode(name))
      return isRepair(work.diffs) ? undefined : target.build?.(run, work)
    },
  }
}

/** For a plan: what it makes is made in memory alone. */
export function inMemory<Of extends Run>(run: Of): Of {
  return { ...run, auth: run.auth.inMemory(), disk: run.auth, planKey: 'ecdsa-p256' }
}

export function diskOf({ auth, disk = auth }: Pick<Run, 'auth' | 'disk'>): AuthDir {
  return disk
}

function checkReplaced({ makes }: Pick<Target, 'makes'>, { auth }: Run): Check<never> {
  if (!makes.some((name) => auth.read(name))) return { diffs: missing(makes) }
  return { diffs: [{ what: 'replaces the old one, which is kept in auth/backup', verb: 'replace' }] }
}
