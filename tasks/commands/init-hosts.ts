/** What ssh's configuration, /etc/hosts and DNS have of the nodes of a new cluster.yaml. No node is contacted. */
import { lookup } from 'node:dns/promises'
import { userInfo } from 'node:os'
import pLimit from 'p-limit'
import { addressBytes, canonicalAddress, specialUse } from '../../lib/address.ts'
import { isErrno, usageFailure } from '../../lib/failure.ts'
import { printConfig } from '../../lib/node/route.ts'
import { type ConfigUse, first, parseSshConfig } from '../../lib/node/ssh-config.ts'
import { groupAlike } from '../../lib/wording.ts'
import { layouts } from '../layouts/table.ts'
import type { CommandRun } from '../request/command-run.ts'
import type { ClusterDraft } from './init-draft.ts'

/** Processes at once. */
const concurrency = 16

/** Fills in unknown values that can be found. Throws a usage Failure if ssh can't read its configuration. */
export async function findHosts(
  draft: ClusterDraft,
  configFile: string | undefined,
  given: Pick<CommandRun, 'host' | 'options' | 'signal'>,
): Promise<ClusterDraft> {
  const { user } = given.options
  const limit = pLimit(concurrency)
  const use = { folder: given.host.cwd(), ssh: { configFile } }
  const at = { env: given.host.env, signal: given.signal }
  const found = await Promise.all(draft.nodes.map(({ name, host = name }) => limit(() => findHost(host, use, at))))
  const login = user ?? mostCommon(found.flatMap((host) => host.user ?? [])) ?? draft.ssh.user
  const nodes = draft.nodes.map((node, i) => {
    const { addresses = [], user: own = login } = found[i] ?? {}
    return {
      ...node,
      ips: node.ips.length > 0 ? node.ips : addresses,
      user: user === undefined && own !== login ? own : undefined,
    }
  })
  // A single control node needs no load balancer: without one, the API has the node's address.
  const [entry, ...more] = nodes.filter(({ role }) => role !== 'worker')
  const isAlone = more.length === 0 && !layouts[draft.layout].without.has('api.virtualIP')
  const { virtualIP = isAlone ? entry?.ips[0] : undefined } = draft.api
  return { ...draft, api: { ...draft.api, virtualIP }, ssh: { ...draft.ssh, user: login }, nodes }
}

/** The first of equally common ones. */
function mostCommon(names: readonly string[]): string | undefined {
  return groupAlike(names, (name) => name).toSorted((a, b) => b.length - a.length)[0]?.[0]
}

/** The name has been checked: ssh can't take it for an option. `user` is undefined if ssh has no setting for this host. */
async function findHost(host: string, use: ConfigUse, at: Parameters<typeof printConfig>[2]) {
  const { exitCode, stdout, stderr } = await printConfig(use, ['--', host], at)
  if (exitCode !== 0)
    throw usageFailure(`${host}: ssh can't be used (${stderr.trim().split(/\r?\n/)[0]?.slice(0, 300)})`)
  const config = parseSshConfig(stdout)
  const hostname = first(config, 'hostname') ?? host
  const user = first(config, 'user')
  // As ssh prints a host without a HostName.
  const isItself = hostname === canonicalAddress(host.toLowerCase())
  const addresses = addressBytes(hostname) ? [canonicalAddress(hostname)] : await resolve(hostname)
  return {
    // A host given as an address is that address.
    addresses:
      isItself && addressBytes(host) ? addresses : addresses.filter((address) => specialUse(address) === undefined),
    user: isItself && user === userInfo().username ? undefined : user,
  }
}

/** Uses /etc/hosts and DNS, as every program here does: getaddrinfo(3). */
async function resolve(hostname: string): Promise<string[]> {
  try {
    const found = await lookup(hostname, { all: true })
    return [...new Set(found.map(({ address }) => canonicalAddress(address)))]
  } catch (error) {
    if (isErrno(error)) return []
    throw error
  }
}
