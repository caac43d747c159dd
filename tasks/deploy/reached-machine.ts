/** Which node a machine is that ssh reaches: by its addresses, and by the certificate that it has. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { type AuthDir, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { nodeUser } from '../../lib/kubernetes/authorization.ts'
import type { NodeState } from '../../lib/node/state.ts'
import { isOfOwnCa } from '../../lib/pki/pair.ts'
import { formatNames } from '../../lib/wording.ts'
import { digestOf, type NodeLook } from '../inspect/look.ts'
import type { Run } from '../target.ts'
import { certificatesIn } from './guards.ts'
import { type HeldFile, heldOn } from './held.ts'

/**
 * Throws a refusal if the machine is another node of cluster.yaml, and returns a warning if that can't be decided. A
 * host name is no proof: it may be of the image, or of the provider.
 */
export function guardMachine(run: Run, node: ClusterNode, look: NodeLook): string | undefined {
  const { cluster, options } = run
  const { addresses } = look
  // Every machine has each loopback address, and any control node may have the virtual address.
  const isLoopback = (address: string) => /^(127\.|::1$)/.test(address)
  const isHere = (address: string) => isLoopback(address) || addresses.has(address)
  const isProof = (address: string) =>
    addresses.has(address) && !isLoopback(address) && address !== cluster.api.virtualIP
  const isOwn = node.ips.some(isHere)
  const others = cluster.nodes.filter((other) => other !== node)
  const reached = isOwn ? undefined : others.find(({ ips }) => ips.some(isProof))
  if (reached) throw otherAddress(node, reached, reached.ips.filter(isProof))
  const holders = pairHolders(run, node, look)
  // One machine may be several nodes: then it has the addresses of all of them.
  const isShared = (other: ClusterNode) => isOwn && other.ips.some(isHere)
  const holder = others.find((other) => holders.has(other.name) && !isShared(other))
  if (holder && !holders.has(node.name) && !options.replaceIdentity) throw otherPair(run, node, holder.name)
  return isOwn ? undefined : warningOf(node, look)
}

/** Names of nodes whose certificate and key are in the folder, or whose certificate of our CA the kubelet reads. */
function pairHolders(run: Run, node: ClusterNode, look: NodeLook): Set<string> {
  const { auth } = run
  const files = [auth.files.certificate(node.name), kubeconfigFile(node.name)]
  const read = heldOn(run, node, look).filter(({ isPlace, file }) => isPlace && files.includes(file))
  return new Set([...pairsIn(auth, look), ...read.flatMap((held) => holderOf(run, node, held))])
}

/** Names of which both certificate and key are there. */
function pairsIn(auth: AuthDir, { files }: NodeState): string[] {
  return [...files.keys()].flatMap((file) => {
    const { kind, name = '' } = auth.files.parse(file) ?? {}
    return kind === 'certificate' && files.has(auth.files.key(name)) ? [name] : []
  })
}

/** The kubelet's kubeconfig has the same path on each node, so its certificate says whose it is. */
function holderOf(run: Run, node: ClusterNode, { file, state, bytes }: HeldFile): string[] {
  if (state.sha256 !== undefined && state.sha256 === digestOf(run, file)) return [node.name]
  const [certificate] = certificatesIn(run.auth, file, bytes)
  if (!certificate || !isOfOwnCa(run.auth, certificate)) return []
  const prefix = `CN=${nodeUser('')}`
  return certificate.attributes.flatMap((each) => (each.startsWith(prefix) ? each.slice(prefix.length) : []))
}

function otherAddress(node: ClusterNode, { name }: ClusterNode, theirs: readonly string[]): Failure {
  const found = `ssh ${node.host} reaches ${name} (${formatNames(theirs)}), not ${node.name} (${formatNames(node.ips)})`
  return refusal(found, [
    `correct host (or ip) of ${node.name} and ${name} in cluster.yaml`,
    `or correct ${node.host} in your ssh configuration or DNS`,
  ]).with({ node: node.name, code: 'other-node' })
}

function otherPair({ cluster, command }: Run, node: ClusterNode, other: string): Failure {
  const found = `ssh ${node.host} reaches a machine with the certificate of ${other}, not ${node.name}`
  const overwrite = command(`${cluster.install ? 'install' : 'deploy'} --node ${node.name} --replace-identity`)
  return refusal(found, [
    `if it is ${other}, correct host of ${node.name} in cluster.yaml`,
    `if it is ${node.name} now (names swapped, or a copy of the disk of ${other}), overwrite it:\n    ${overwrite}`,
  ]).with({ node: node.name, code: 'other-node' })
}

/** Components are queried at the address in cluster.yaml: where none is installed, its absence means nothing. */
function warningOf({ name, ips }: ClusterNode, { addresses, places }: NodeState): string | undefined {
  const hasUnits = places && !(places instanceof Failure) && [...places.units.values()].some(({ isLoaded }) => isLoaded)
  if (!hasUnits) return undefined
  return addresses.size === 0
    ? `couldn't read the addresses of ${name}; ssh may have reached another machine`
    : `${name} does not have the address ${formatNames(ips)}; unless NAT maps it, ssh or cluster.yaml names another machine`
}
