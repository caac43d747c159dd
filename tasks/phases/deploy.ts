/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */
import type { Change } from '../../lib/change.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { NodeLook } from '../../lib/remote/answer.ts'
import type { Target, TargetId, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { refuseEarlyClock } from '../nodes/clock.ts'
import { filesToCopy, swap } from '../nodes/deploy.ts'
import { checkNode, everything, type Names, type NodeReason, type NodeVerdict } from '../nodes/folder.ts'
import { keepOthers } from '../nodes/guards.ts'
import { lookAtNode } from '../nodes/look.ts'
import { lookAtNodeAndUnits, type UnitsFound } from '../nodes/units.ts'
import { nodeFiles } from '../tables/files.ts'
import { unitsOf } from '../tables/places.ts'

export interface DeployFound {
  /** Of the same moment; undefined where cluster.yaml has no install, or they could not be looked at. */
  readonly units: UnitsFound | undefined
  readonly look: NodeLook
  readonly checked: NodeVerdict
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
          ? await lookAtNodeAndUnits(workspace, node, install)
          : [await lookAtNode(workspace, node)]
        const checked = checkNode(workspace, node, look, names, force !== undefined)
        const { wrong, warning } = checked
        if (units) refuseEarlyClock(workspace, node, units.places.now)
        return { reasons: wrong ? [wrong] : [], warning, found: { look, checked, units } }
      },
      build: async (workspace, { found: { look, checked }, force, tell }) => {
        return { change: await deploy(workspace, node, names, { look, checked, isForced: force !== undefined, tell }) }
      },
      foresee: (_, { found: { checked }, force }) => changeOf(force ? everything(node, checked.wrong) : checked.wrong),
      release: (workspace) => workspace.disconnect(node),
    }
  })
}

/** By cluster.yaml alone: the same folder may have other names. */
function folderOf({ host, port = 22, directory }: ClusterNode): string {
  return [host, port, directory.replace(/(.)\/$/, '$1')].join(' ')
}

interface Deploying {
  readonly look: NodeLook
  readonly checked: NodeVerdict
  readonly isForced: boolean
  readonly tell: Work['tell']
}

function changeOf(wrong: NodeReason | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

/**
 * If the files changed between the look and the swap, the node is looked at and checked again: once for each node that
 * shares the folder.
 */
async function deploy(
  workspace: Workspace,
  node: ClusterNode,
  names: Names,
  { look, checked, isForced, tell }: Deploying,
): Promise<Change | undefined> {
  let [{ folder }, { wrong, others }] = [look, checked]
  for (let tries = 0; ; tries++) {
    const left = isForced ? everything(node, wrong) : wrong
    if (!left) return undefined
    try {
      keepOthers(workspace, node, others)
      await swap(workspace, node, { seen: folder, wrong: left, tell })
      return changeOf(left)
    } catch (error) {
      const isOver = tries === names.together.length
      if (isOver || !(error instanceof Failure && error.code === 'changed-meanwhile')) throw error
    }
    const again = await lookAtNode(workspace, node)
    folder = again.folder
    ;({ wrong, others } = checkNode(workspace, node, again, names, isForced))
  }
}
