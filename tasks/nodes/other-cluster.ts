/** Before a CA is made: whether the control nodes have one already, so that this auth/ is not the cluster's. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { caName, pairFiles } from '../../lib/files/names.ts'
import type { Graph } from '../../lib/targets/graph.ts'
import type { TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { identityFiles } from '../tables/files.ts'
import { recoverCommand } from './fetch-command.ts'
import { inspectNode } from './look.ts'

/**
 * Asked of a run that deploys, before its first build: at the deploy itself the new CA would be in auth/, and in the user's
 * kubeconfig. A node that can't be looked at stops nothing yet: its own deploy refuses it.
 */
export async function findOtherCluster(
  workspace: Workspace,
  graph: Graph,
  limit: LimitFunction,
): Promise<[TargetId, Failure][]> {
  const targets = [...graph.values()]
  const maker = targets.find(({ makes }) => pairFiles(caName).some((file) => makes.includes(file)))
  const deploys = targets.some(({ where }) => where === 'node')
  const isNew = pairFiles(caName).every((file) => !workspace.auth.read(file))
  if (!maker || !deploys || !isNew || workspace.options.replaceIdentity) return []
  const controls = workspace.cluster.nodes.filter(({ role }) => role === 'control')
  // It may take as long as a node that is down.
  workspace.note(`looking for an earlier CA on ${formatNames(controls.map(({ name }) => name))}`)
  const holding = await Promise.all(controls.map((node) => limit(() => holdsIdentity(workspace, node))))
  const [first, ...others] = controls.filter((_, i) => holding[i] === 'something')
  if (first) return [[maker.id, otherCluster(workspace, [first, ...others])]]
  const unknown = controls.flatMap(({ name }, i) => (holding[i] === 'unknown' ? [name] : []))
  if (unknown.length > 0)
    workspace.note(
      `${formatNames(unknown)} could not be looked at: if a CA is there already, this one will not be deployed to it, and ${workspace.command('recover')} takes that one over`,
    )
  return []
}

/** What is there and can't be read is held too; an empty file holds nothing. */
async function holdsIdentity(workspace: Workspace, node: ClusterNode): Promise<'something' | 'nothing' | 'unknown'> {
  try {
    const { files } = await inspectNode(workspace, node)
    return [...identityFiles.keys()].some((name) => (files.get(name)?.size ?? 0) > 0) ? 'something' : 'nothing'
  } catch (error) {
    if (error instanceof Failure) return 'unknown'
    throw error
  }
}

function otherCluster(workspace: Workspace, nodes: readonly [ClusterNode, ...ClusterNode[]]): Failure {
  const names = formatNames(nodes.map(({ name }) => name))
  const found = `${names} ${nodes.length === 1 ? 'holds' : 'hold'} a cluster's identity, and ${workspace.auth.path} has none`
  return refusal(`${found}: nothing was made`, [
    `take it over: ${recoverCommand(workspace, nodes[0])}, or from a backup: ${workspace.command('recover --from DIR')}`,
    `or give that cluster up: ${workspace.command('bootstrap --replace-identity')}`,
  ])
}
