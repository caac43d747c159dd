/**
 * A rotation is tried before it begins. Its stages are made by the code of the run, in an auth/ in memory: nothing is
 * written, and no node is contacted.
 */
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import type { AuthDir } from '../../../lib/files/auth-dir.ts'
import { openWalk } from '../../../lib/graph/executor.ts'
import { byPhase, closure } from '../../../lib/graph/target.ts'
import { count } from '../../../lib/wording.ts'
import { phases, runPhases } from '../../bootstrap.ts'
import { type ClusterGraph, clusterGraph, type Run } from '../../target.ts'
import type { Rotating, Rotation, Stage } from './rotation.ts'
import { stepsOf, type Tried } from './transition.ts'

/**
 * Nodes and users of a larger cluster are alike: all control nodes are tried, and so many of each other role, and of
 * the users.
 */
const [manyNodes, manyUsers, ofEach] = [200, 40, 20]

/** With the nodes and users that a trial has time for. */
export function sampleOf(cluster: Cluster): Cluster {
  const { nodes, users } = cluster
  const byRole = Map.groupBy(nodes, ({ role }) => role)
  const some = [...byRole].flatMap(([role, all]) => (role === 'control' ? all : all.slice(0, ofEach)))
  return {
    ...cluster,
    nodes: nodes.length > manyNodes ? some : nodes,
    users: users.length > manyUsers ? users.slice(0, ofEach) : users,
  }
}

export function notTried(cluster: Cluster): string[] {
  const sample = sampleOf(cluster)
  const nodes = cluster.nodes.length - sample.nodes.length
  const users = cluster.users.length - sample.users.length
  return [
    ...(nodes > 0 ? [`${count(nodes, 'node')} beyond ${ofEach} of each role, which are alike`] : []),
    ...(users > 0 ? [`${count(users, 'user')} beyond the first ${ofEach}`] : []),
    'certificates and kubeconfigs not created by harderway, and CA bundles of webhooks and APIServices',
    'the moment between writing a new certificate and its key, when handshakes fail',
    'RBAC, networks, clocks, and whether files are loaded, which each stage checks',
  ]
}

/** Everything in auth/ as a run would make it, beside the files that are there. Throws the Failure of a target. */
export async function makeInMemory(
  run: Run,
  graph: ClusterGraph,
  from: AuthDir,
  signal: AbortSignal,
): Promise<AuthDir> {
  const auth = from.inMemory()
  const isOurs = (file: string) => ![undefined, 'authorization'].includes(auth.files.parse(file)?.kind)
  const made = [...graph.values()].filter(({ where, makes }) => where === 'auth' && makes.some(isOurs))
  const ids = made.map(({ id }) => id)
  const wanted = closure(graph, ids)
  const walk = openWalk(wanted, {
    ...{ run: { ...run, auth, note: () => {} }, mode: 'run', forced: new Map(), signal, emit: () => {} },
  })
  const rows = await runPhases(byPhase(phases, wanted), walk)
  signal.throwIfAborted()
  for (const { failure } of rows.values()) if (failure) throw failure
  return auth
}

/** Undefined for the walk that comes before the first stage. */
export type TriedStage = Tried & { readonly stage: Stage | undefined }

/**
 * What is left to be made before the stage after that number, and then each stage. What is under way was tried before
 * it began.
 */
export async function tryStages({ run, signal }: Rotating, rotation: Rotation, at: number): Promise<TriedStage[]> {
  const cluster = sampleOf(run.cluster)
  const trying = { ...run, cluster, stagedBy: rotation.name, note: () => {} }
  const graph = await clusterGraph(phases, cluster)
  const tryStep = stepsOf(trying)
  const start = run.auth.inMemory()
  if (at === 0) rotation.prepare?.({ ...trying, auth: start })
  let before = await makeInMemory(trying, graph, start, signal)
  const first = await tryStep({ before: run.auth, after: before })
  const tried: TriedStage[] = [{ stage: rotation.stages[at - 1], ...first }]
  for (const stage of rotation.stages.slice(at)) {
    const begun = before.inMemory()
    await stage.begin({ run: { ...trying, auth: begun }, signal, isForced: true })
    const after = await makeInMemory(trying, graph, begun, signal)
    tried.push({ stage, ...(await tryStep({ before, after, isLast: stage.isLast === true })) })
    before = after
  }
  return tried
}
