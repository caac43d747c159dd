/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */
import type { Change } from '../../lib/change.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { Inspection } from '../../lib/remote/look.ts'
import type { Target, TargetId, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { refuseEarlyClock } from '../nodes/clock.ts'
import { inspectNode } from '../nodes/look.ts'
import { filesToCopy, swap } from '../nodes/swap.ts'
import { inspectNodeAndUnits, type UnitsFound } from '../nodes/units.ts'
import { checkNode, everything, type Names, type NodeReason } from '../nodes/verdict.ts'
import { nodeFiles } from '../tables/files.ts'
import { unitsOf } from '../tables/places.ts'

export interface DeployFound {
  /** Of the same moment; undefined where cluster.yaml has no install, or they could not be looked at. */
  readonly units: UnitsFound | undefined
  readonly look: Inspection
  /** Undefined where all is right. */
  readonly wrong: NodeReason | undefined
}

/** Earlier are the targets that make what is deployed. */
export function deployTargets(cluster: Cluster, earlier: readonly Target[]): Target[] {
  const makers = new Map(earlier.flatMap(({ id, makes }) => makes.map((file): [string, TargetId] => [file, id])))
  const known = new Set(makers.keys())
  const folders = Map.groupBy(cluster.nodes, folderOf)
  return cluster.nodes.map((node): Target<DeployFound> => {
    const names: Names = { known, together: folders.get(folderOf(node)) ?? [] }
    return {
      id: `deploy/${node.name}`,
      phase: 'deploy',
      node: node.name,
      needs: [...new Set(nodeFiles(node).flatMap((file) => makers.get(file) ?? []))],
      makes: [],
      units: unitsOf(node.role),
      where: 'node',
      check: async (workspace, force) => {
        const { install } = workspace.cluster
        const [look, units] = install
          ? await inspectNodeAndUnits(workspace, node, install)
          : [await inspectNode(workspace, node)]
        const { wrong, warning } = checkNode(workspace, node, look, names, force !== undefined)
        if (units) refuseEarlyClock(workspace, node, units.look.now)
        return { reasons: wrong ? [wrong] : [], warning, found: { look, wrong, units } }
      },
      build: async (workspace, { found: { look, wrong }, force, tell }) => {
        return { change: await deploy(workspace, node, names, { look, wrong, isForced: force !== undefined, tell }) }
      },
      foresee: (_, { found: { wrong }, force }) => changeOf(force ? everything(node, wrong) : wrong),
      release: (workspace) => workspace.disconnect(node),
    }
  })
}

/** By cluster.yaml alone: the same folder may have other names. */
function folderOf({ host, port = 22, directory }: ClusterNode): string {
  return [host, port, directory.replace(/(.)\/$/, '$1')].join(' ')
}

interface Deploying {
  readonly look: Inspection
  readonly wrong: NodeReason | undefined
  readonly isForced: boolean
  readonly tell: Work['tell']
}

function changeOf(wrong: NodeReason | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

/**
 * If the files changed between the inspection and the swap, the node is inspected and checked again: once for each node that
 * shares the folder.
 */
async function deploy(
  workspace: Workspace,
  node: ClusterNode,
  names: Names,
  { look, wrong, isForced, tell }: Deploying,
): Promise<Change | undefined> {
  const toDo = (found: NodeReason | undefined) => (isForced ? everything(node, found) : found)
  let [seen, left] = [look, toDo(wrong)]
  for (let tries = 0; left; tries++) {
    try {
      await swap(workspace, node, { inspection: seen, wrong: left, tell })
      return changeOf(left)
    } catch (error) {
      const isOver = tries === names.together.length
      if (isOver || !(error instanceof Failure && error.code === 'changed-meanwhile')) throw error
    }
    seen = await inspectNode(workspace, node)
    left = toDo(checkNode(workspace, node, seen, names, isForced).wrong)
  }
  return undefined
}
