/** Guards before anything is copied to a machine: it is the node, and its clock is right. */
import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { formatNames } from '../../lib/wording.ts'
import { hasAddress, type NodeLook } from '../inspect/look.ts'
import type { Run } from '../target.ts'

/**
 * Throws a refusal if the machine has the address of another node, and not its own. A host name is no proof: it may be
 * of the image, or of the provider.
 */
export function refuseOtherMachine({ cluster }: Run, node: ClusterNode, look: NodeLook): void {
  if (node.ips.some((address) => hasAddress(look, address))) return
  // Any control node may have the virtual address.
  const isProof = (address: string) => specialUse(address) !== 'loopback' && address !== cluster.api.virtualIP
  const isThere = (address: string) => isProof(address) && look.addresses.has(address)
  const reached = cluster.nodes.find(({ ips }) => ips.some(isThere))
  if (!reached) return
  const found = `ssh ${node.host} reaches ${reached.name} (${formatNames(reached.ips.filter(isThere))}), not ${node.name} (${formatNames(node.ips)})`
  throw refusal(found, [
    `correct host (or ip) of ${node.name} and ${reached.name} in cluster.yaml`,
    `or correct ${node.host} in your ssh configuration or DNS`,
  ]).with({ node: node.name, code: 'other-node' })
}

/** Seconds; certificates are dated back by five minutes. */
const mostApart = 240

/** Throws a Failure if the node's clock is not this machine's. `theirs`: in seconds since 1970, in a look begun at `asked`. */
export function refuseWrongClock(run: Run, { name }: ClusterNode, theirs: number, asked: Date): void {
  const now = run.clock()
  // The answer was on its way for some time.
  const [earliest, latest] = [asked.getTime() / 1000 - 1, now.getTime() / 1000]
  const ahead = theirs > latest ? theirs - latest : Math.min(theirs - earliest, 0)
  if (Math.abs(ahead) <= mostApart) return
  const timeOf = (seconds: number) => new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
  throw new Failure(`clocks differ (${timeOf(latest)} here, ${timeOf(latest + ahead)} on ${name})`, {
    node: name,
    code: 'clock',
    remedy: `set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`,
  })
}
