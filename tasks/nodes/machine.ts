/** Checks that the machine that ssh reaches is the node in cluster.yaml: by its addresses, and by whose pair it holds. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { certificateFile, keyFile, kubeconfigFile, parseFileName } from '../../lib/files/names.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { isIssuedBy } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import type { FolderSeen, NodeLook } from '../../lib/remote/answer.ts'
import { formatNames } from '../../lib/wording.ts'
import { certificatesIn, type Held, heldOn } from './guards.ts'
import { digestOf } from './look.ts'

/**
 * Throws a refusal if the machine is another node of cluster.yaml, and returns a warning if that can't be decided. `together`: nodes
 * that share its folder, by cluster.yaml. A host name is no proof: it may be of the image, or of the provider.
 */
export function guardMachine(
  workspace: Workspace,
  node: ClusterNode,
  look: NodeLook,
  together: readonly ClusterNode[],
): string | undefined {
  const { cluster, options } = workspace
  const { addresses } = look.folder
  // Every machine has each loopback address, and any control node may have the virtual address.
  const isLoopback = (address: string) => /^(127\.|::1$)/.test(address)
  const isHere = (address: string) => isLoopback(address) || addresses.has(address)
  const isProof = (address: string) =>
    addresses.has(address) && !isLoopback(address) && address !== cluster.api.virtualIP
  const isOwn = node.ips.some(isHere)
  const others = cluster.nodes.filter((other) => other !== node)
  const reached = isOwn ? undefined : others.find(({ ips }) => ips.some(isProof))
  if (reached) throw otherAddress(node, reached, reached.ips.filter(isProof))
  const holders = pairHolders(workspace, node, look)
  // One machine may be several nodes: then it has the addresses of all of them.
  const isShared = (other: ClusterNode) => together.includes(other) || (isOwn && other.ips.some(isHere))
  const holder = others.find((other) => holders.has(other.name) && !isShared(other))
  if (holder && !holders.has(node.name) && !options.replaceIdentity) throw otherPair(workspace, node, holder.name)
  return isOwn ? undefined : warningOf(node, look)
}

/** Names of nodes whose certificate and key are in the folder, or whose certificate of our CA the kubelet reads. */
function pairHolders(workspace: Workspace, node: ClusterNode, look: NodeLook): Set<string> {
  const files = [certificateFile(node.name), kubeconfigFile(node.name)]
  const read = heldOn(workspace, node, look).filter(({ isPlace, file }) => isPlace && files.includes(file))
  return new Set([...pairsIn(look.folder), ...read.flatMap((held) => holderOf(workspace, node, held))])
}

/** Names of which both certificate and key are there. */
export function pairsIn({ files }: FolderSeen): string[] {
  return [...files.keys()].flatMap((file) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    return kind === 'certificate' && files.has(keyFile(name)) ? [name] : []
  })
}

/** The kubelet's kubeconfig has the same path on each node, so its certificate says whose it is. */
function holderOf(workspace: Workspace, node: ClusterNode, { file, state, bytes }: Held): string[] {
  if (state.sha256 !== undefined && state.sha256 === digestOf(workspace, file)) return [node.name]
  const [leaf] = certificatesIn(file, bytes)
  if (!leaf || !ownCas(workspace.auth).some((ca) => isIssuedBy(leaf, ca))) return []
  return leaf.attributes.flatMap((attribute) => /^CN=system:node:(.+)$/.exec(attribute)?.[1] ?? [])
}

function otherAddress(node: ClusterNode, { name }: ClusterNode, theirs: readonly string[]): Failure {
  const found = `the machine that ssh reaches as ${node.host} is ${name}: it has the address ${formatNames(theirs)}, and not ${formatNames(node.ips)}`
  return refusal(found, [
    `correct host (or ip) of ${node.name} and ${name} in cluster.yaml`,
    `or what your ssh configuration or DNS says of ${node.host}`,
  ]).with({ node: node.name, code: 'other-node' })
}

function otherPair({ cluster, command }: Workspace, node: ClusterNode, other: string): Failure {
  const found = `the machine that ssh reaches as ${node.host} holds the certificate of ${other}, and none of ${node.name}`
  const overwrite = command(`${cluster.install ? 'install' : 'deploy'} --node ${node.name} --replace-identity`)
  return refusal(found, [
    `if it is ${other}, correct host of ${node.name} in cluster.yaml`,
    `if it is ${node.name} now (names swapped, or a copy of ${other}'s disk): ${overwrite}`,
  ]).with({ node: node.name, code: 'other-node' })
}

/** Components are queried at the address in cluster.yaml: where none is installed, its absence means nothing. */
function warningOf({ name, ips }: ClusterNode, { folder: { addresses }, places }: NodeLook): string | undefined {
  const hasUnits = places && !(places instanceof Failure) && [...places.units.values()].some(({ isLoaded }) => isLoaded)
  if (!hasUnits) return undefined
  return addresses.size === 0
    ? `the addresses of ${name} could not be looked at: whether ssh reaches that machine is not proven`
    : `${name} does not have the address ${formatNames(ips)}: unless that is translated to it (NAT), ssh or cluster.yaml names another machine`
}
