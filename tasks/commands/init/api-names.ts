/**
 * The names and addresses in an API server's certificate, told apart: its own, those of its nodes, of the cluster's inside.
 * Nothing in a certificate says which is which, so that it is told by how they are made. Pure.
 */
import { addressBytes, firstAddress, formatAddress, isInside, parseCidr } from '../../../lib/address.ts'
import { apiSans, nodeNames } from '../../tables/certs.ts'
import type { Draft, DraftNode } from './draft.ts'

export interface Names {
  /** As kubeconfigs have it. */
  readonly server: { readonly host: string; readonly port: number } | undefined
  /** Of the API server's certificate. */
  readonly sans: readonly string[]
  /** With those of its own certificate. */
  readonly nodes: readonly { readonly name: string; readonly sans: readonly string[] }[]
}

const service = 'kubernetes.default.svc'

export function readApiNames(
  draft: Draft,
  { server, sans, nodes: found }: Names,
): Pick<Draft, 'domain' | 'api' | 'network' | 'nodes'> {
  const domain = readDomain(found) ?? draft.name
  const nodes = found.map((node) => readNode(node, { domain, api: sans }))
  const { host, port } = server ?? draft.api
  const clusterDomain = readClusterDomain(sans) ?? draft.network.clusterDomain
  const network = { serviceCIDRs: [], clusterDomain }
  const usual = new Set(apiSans({ domain, api: { host, virtualIP: host, extraSANs: [] }, network, nodes }))
  const left = sans.filter((san) => !usual.has(san) && isName(san))
  const blocks = readServiceBlocks(left, nodes, [draft.network.serviceCIDR].flat()[0] ?? '')
  const firsts = new Set(blocks.map(firstOf))
  const [virtualIP, ...others] = left.filter((san) => addressBytes(san) && !firsts.has(san))
  const names = left.filter((san) => !addressBytes(san))
  return {
    domain,
    api: {
      host,
      port,
      // Where the API is called by an address, that is the load balancer's.
      virtualIP: virtualIP ?? (addressBytes(host) ? host : undefined),
      extraSANs: [...names, ...others],
    },
    network: { serviceCIDR: blocks.length > 1 ? blocks : (blocks[0] ?? draft.network.serviceCIDR), clusterDomain },
    nodes,
  }
}

/** What follows the name of each node. */
function readDomain(nodes: Names['nodes']): string | undefined {
  const domainsOf = ({ name, sans }: Names['nodes'][number]) =>
    sans.filter((san) => san.startsWith(`${name}.`)).map((san) => san.slice(name.length + 1))
  const [first, ...others] = nodes.map(domainsOf)
  return first?.find((domain) => others.every((each) => each.includes(domain)))
}

/** A control node is one that the API server's certificate is for; of its addresses, those that stand there too. */
function readNode(
  { name, sans }: Names['nodes'][number],
  { domain, api }: { readonly domain: string; readonly api: readonly string[] },
): DraftNode {
  const isControl = api.includes(name)
  const ips = sans.filter((san) => addressBytes(san) && (!isControl || api.includes(san)))
  const own = new Set(nodeNames(name, ips, domain))
  return { name, role: isControl ? 'control' : 'worker', ips, sans: sans.filter((san) => !own.has(san) && isName(san)) }
}

function readClusterDomain(sans: readonly string[]): string | undefined {
  const domains = sans.filter((san) => san.startsWith(`${service}.`)).map((san) => san.slice(service.length + 1))
  return domains.find((domain) => domain !== 'cluster')
}

/**
 * Of each family at most one: the first address is in the certificate, and the length of the prefix is nowhere. What is
 * made is the same with any.
 */
function readServiceBlocks(left: readonly string[], nodes: readonly DraftNode[], usual: string): string[] {
  const others = [...left, ...nodes.flatMap(({ ips }) => ips)]
  const isFree = (block: string) => {
    const cidr = parseCidr(block)
    return typeof cidr !== 'string' && others.every((each) => each === firstAddress(cidr) || !isInside(each, cidr))
  }
  const blocks = left.flatMap((address) =>
    [usual, ...blocksWithFirst(address)].filter((block) => firstOf(block) === address),
  )
  const free = blocks.filter(isFree)
  return [free.find((block) => !block.includes(':')), free.find((block) => block.includes(':'))].filter(
    (block) => block !== undefined,
  )
}

function blocksWithFirst(address: string): string[] {
  const bytes = Buffer.from(addressBytes(address) ?? [])
  const last = bytes.length - 1
  bytes[last] = (bytes[last] ?? 0) - 1
  const prefixes = bytes.length === 4 ? [16, 24] : [112]
  return bytes.length === 0 ? [] : prefixes.map((prefix) => `${formatAddress(bytes)}/${prefix}`)
}

function firstOf(block: string): string | undefined {
  const cidr = parseCidr(block)
  return typeof cidr === 'string' ? undefined : firstAddress(cidr)
}

/** A name of another type than DNS says which: cluster.yaml can't ask for it. */
function isName(san: string): boolean {
  return addressBytes(san) !== undefined || !san.includes(':')
}
