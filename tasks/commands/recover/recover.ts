/** `recover`: an auth/ that was lost, brought back from the nodes, or from a backup. Nothing there is overwritten. */
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { usageFailure } from '../../../lib/failure.ts'
import { fileMode } from '../../../lib/files/names.ts'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { count } from '../../../lib/wording.ts'
import type { Writing } from '../../looks/job.ts'
import { closeFolder } from '../../looks/walk.ts'
import { clusterGraph } from '../../phases/table.ts'
import { usage } from '../../request/options.ts'
import { checkNodes } from '../../request/selection.ts'
import type { Request, Session } from '../../request/session.ts'
import { checkFound, rotationFiles, type Taken } from './found.ts'
import { readFolder, readNodes, type Sources } from './holding.ts'

/** Throws a usage Failure before anything is changed. */
export async function recover(request: Request): Promise<Writing> {
  const source = sourceOf(request)
  const { pathOf, signal } = request
  const graph = clusterGraph(request.cluster)
  const targets = [...graph.values()].filter(({ where }) => where === 'auth')
  const read = async ({ workspace, limits }: Session): Promise<Sources> => {
    if (typeof source !== 'string') return readNodes(workspace, source, limits.node, signal)
    return { main: readFolder(pathOf(source), [...targets.flatMap(({ makes }) => makes), ...rotationFiles]) }
  }
  return {
    ...(typeof source !== 'string' && { graph }),
    reporter: await request.reporterFor([], false),
    work: async (session) => {
      const taken = await checkFound(session.workspace, targets, await read(session))
      signal.throwIfAborted()
      take(session.workspace, taken)
      return { outcomes: new Map(), findings: [] }
    },
  }
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
