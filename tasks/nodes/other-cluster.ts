/** Before a part of the cluster's identity is made: whether the control nodes have one already, in their folders or where their units read. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { caName, keyFile } from '../../lib/files/names.ts'
import type { Graph } from '../../lib/targets/graph.ts'
import type { Target, TargetId } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { identityFiles } from '../tables/files.ts'
import { waysOutOfLost } from './fetch-command.ts'
import { heldOn } from './guards.ts'
import { lookAtNode } from './look.ts'

/** Such as the CA. */
interface Part {
  readonly label: string
  readonly files: readonly string[]
  readonly maker: TargetId
}

/**
 * Asked of a run that deploys, before its first build: at the deploy itself the new CA would be in auth/, and in the user's
 * kubeconfig; and that a new encryption key opens no Secret, nothing but its deploy would tell. A node that can't be looked
 * at stops nothing yet: its own deploy refuses it.
 */
export async function findOtherCluster(
  workspace: Workspace,
  graph: Graph,
  limit: LimitFunction,
): Promise<[TargetId, Failure][]> {
  const targets = [...graph.values()]
  const parts = partsToMake(workspace, targets)
  const [first] = parts
  const deploys = targets.some(({ where }) => where === 'node')
  if (!first || !deploys || workspace.options.replaceIdentity) return []
  const isWhole = first.files.includes(keyFile(caName))
  const asked = isWhole ? [...identityFiles.keys()] : parts.flatMap(({ files }) => files)
  const controls = workspace.cluster.nodes.filter(({ role }) => role === 'control')
  // It may take as long as a node that is down.
  workspace.note(`looking for an earlier ${first.label} on ${formatNames(controls.map(({ name }) => name))}`)
  const held = await Promise.all(controls.map((node) => limit(() => filesHeld(workspace, node, asked))))
  const holding = controls.filter((_, i) => (held[i]?.length ?? 0) > 0)
  if (holding[0]) {
    const what = isWhole ? "a cluster's identity" : formatNames([...new Set(held.flatMap((files) => files ?? []))])
    return [[first.maker, otherCluster(workspace, holding, what)]]
  }
  const unknown = controls.flatMap(({ name }, i) => (held[i] ? [] : [name]))
  if (unknown.length > 0)
    workspace.note(
      `${formatNames(unknown)} could not be looked at: if one is there already, the new ${first.label} will not be deployed to it, and ${workspace.command('recover')} takes that one over`,
    )
  return []
}

/** Of which nothing is in auth/; the CA first. */
function partsToMake({ auth }: Workspace, targets: readonly Target[]): Part[] {
  const parts = Map.groupBy(identityFiles, ([, label]) => label)
  return [...parts].flatMap(([label, named]) => {
    const files = named.map(([file]) => file)
    const maker = targets.find(({ makes }) => files.some((file) => makes.includes(file)))
    return maker && files.every((file) => !auth.read(file)) ? [{ label, files, maker: maker.id }] : []
  })
}

/** What is there and can't be read is held too; an empty file holds nothing. Undefined where it can't be looked at. */
async function filesHeld(
  workspace: Workspace,
  node: ClusterNode,
  names: readonly string[],
): Promise<readonly string[] | undefined> {
  try {
    const look = await lookAtNode(workspace, node)
    const held = heldOn(workspace, node, look).filter(({ file, state }) => names.includes(file) && state.size > 0)
    if (held.length > 0) return held.map(({ at }) => at)
    return look.places instanceof Failure ? undefined : []
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}

function otherCluster(workspace: Workspace, nodes: readonly ClusterNode[], what: string): Failure {
  const names = formatNames(nodes.map(({ name }) => name))
  const found = `${names} ${nodes.length === 1 ? 'holds' : 'hold'} ${what}, and ${workspace.auth.path} has none`
  return refusal(`${found}: nothing was made`, waysOutOfLost(workspace, nodes[0]))
}
