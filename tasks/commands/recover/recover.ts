/** `recover`: an auth/ that was lost, brought back from the nodes, or from a backup. Nothing there is overwritten. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { usageFailure } from '../../../lib/failure.ts'
import type { Lock } from '../../../lib/files/lock.ts'
import { fileMode } from '../../../lib/files/names.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { summarise } from '../../../lib/show/summary.ts'
import { count } from '../../../lib/wording.ts'
import type { Finding } from '../../looks/exit-status.ts'
import { closeFolder } from '../../looks/walk.ts'
import { clusterGraph } from '../../phases/table.ts'
import { usage } from '../../request/options.ts'
import { checkNodes } from '../../request/selection.ts'
import { checkConfigFile, lockAuth, openWorkspace, type Request } from '../../request/session.ts'
import { checkFound, rotationFiles, type Taken } from './found.ts'
import { readFolder, readNodes, type Sources } from './holding.ts'

/** Throws a Failure where nothing is taken. */
export async function recover(request: Request): Promise<readonly Finding[]> {
  const source = sourceOf(request)
  const { reporterFor, cluster, pathOf, signal } = request
  const graph = clusterGraph(cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  if (typeof source !== 'string') checkConfigFile(request, graph)
  const reporter = await reporterFor([], false)
  const { workspace, limits, close } = openWorkspace(request, reporter.note)
  const read = async (): Promise<Sources> => {
    if (typeof source !== 'string') return readNodes(workspace, source, limits.node, signal)
    return { main: readFolder(pathOf(source), [...targets.flatMap(({ makes }) => makes), ...rotationFiles]) }
  }
  let lock: Lock | undefined
  try {
    workspace.auth.make()
    lock = await lockAuth(workspace.auth, request, reporter.note)
    const taken = await checkFound(workspace, targets, await read())
    signal.throwIfAborted()
    take(workspace, taken)
  } finally {
    await close()
    lock?.release()
  }
  await reporter.end(summarise(new Map(), 0, 0))
  return []
}

/** The folder, or the control node. Throws a usage Failure where it is not one of them. */
function sourceOf({ options: { nodes, from }, cluster }: Request): string | ClusterNode {
  const [name, ...more] = nodes
  if (more.length > 0 || (name === undefined) === (from === undefined))
    throw usage('recover needs one place to recover from: --node NAME or --from DIR', 'recover')
  if (from !== undefined) return from
  checkNodes(cluster, nodes)
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const node = controls.find((each) => each.name === name)
  if (node) return node
  throw usageFailure(
    `--node ${name}: no control node: only they hold the CA's key`,
    `one of: ${controls.map(({ name }) => name).join(', ')}`,
  )
}

/** Each is whole, or not there: this may be killed at any moment, and run again. */
function take({ auth, note }: Workspace, { files, notes }: Taken): void {
  closeFolder(auth, note)
  const missing = [...files].filter(([name]) => !auth.tryBytes(name))
  for (const [name, bytes] of missing) auth.write(name, bytes, fileMode(name), { durable: true })
  const present = files.size - missing.length
  note(
    `${auth.path}: restored ${count(missing.length, 'file')}; ${present} ${present === 1 ? 'was' : 'were'} already present`,
  )
  for (const each of notes) note(each)
}
