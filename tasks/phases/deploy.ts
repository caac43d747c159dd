/** Phase `deploy`: each node's files, replaced as one set, all or nothing. */
import type { Change } from '../../lib/change.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure } from '../../lib/failure.ts'
import type { Inspection } from '../../lib/nodes/look.ts'
import type { Built, Force, Foreseen, Look, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { refuseEarlyClock } from '../nodes/clock.ts'
import { inspectNode } from '../nodes/look.ts'
import { filesToCopy, swap } from '../nodes/swap.ts'
import { checkNode, everything, type Names, type NodeReason } from '../nodes/verdict.ts'
import type { UnitsFound } from '../units/verdict.ts'

export interface DeployFound {
  /** Of the same moment; undefined where cluster.yaml has no install, or they could not be looked at. */
  readonly units: UnitsFound | undefined
  readonly look: Inspection
  /** Undefined where all is right. */
  readonly wrong: NodeReason | undefined
}

/** A node, and what its target knows of others. */
interface OfNode {
  readonly workspace: Workspace
  readonly node: ClusterNode
  readonly names: Names
}

export async function checkFolder({ workspace, node, names }: OfNode, force?: Force): Promise<Look<DeployFound>> {
  const { install } = workspace.cluster
  const [look, units] = install
    ? await (await import('../units/verdict.ts')).inspectNodeAndUnits(workspace, node, install)
    : [await inspectNode(workspace, node)]
  const { wrong, warning } = checkNode(workspace, node, look, names, force !== undefined)
  if (units) refuseEarlyClock(workspace, node, units.look.now)
  return { reasons: wrong ? [wrong] : [], warning, found: { look, wrong, units } }
}

export function foreseeCopies(
  node: ClusterNode,
  { found: { wrong }, force }: Foreseen<DeployFound>,
): Change | undefined {
  return changeOf(force ? everything(node, wrong) : wrong)
}

function changeOf(wrong: NodeReason | undefined): Change | undefined {
  return wrong && { kind: 'deployed', files: filesToCopy(wrong), removed: wrong.pruned }
}

/**
 * If the files changed between the inspection and the swap, the node is inspected and checked again: once for each node that
 * shares the folder.
 */
export async function copyFiles(
  { workspace, node, names }: OfNode,
  { found: { look, wrong }, force, tell }: Work<DeployFound>,
): Promise<Built> {
  const isForced = force !== undefined
  const toDo = (found: NodeReason | undefined) => (isForced ? everything(node, found) : found)
  let [seen, left] = [look, toDo(wrong)]
  for (let tries = 0; left; tries++) {
    try {
      await swap(workspace, node, { inspection: seen, wrong: left, tell })
      return { change: changeOf(left) }
    } catch (error) {
      const isOver = tries === names.together.length
      if (isOver || !(error instanceof Failure && error.code === 'changed-meanwhile')) throw error
    }
    seen = await inspectNode(workspace, node)
    left = toDo(checkNode(workspace, node, seen, names, isForced).wrong)
  }
  return {}
}
