/** What this machine knows of the nodes: ssh's configuration, /etc/hosts and DNS. Connects to no node. */
import { lookup } from 'node:dns/promises'
import { userInfo } from 'node:os'
import pLimit from 'p-limit'
import { addressBytes, canonicalAddress, specialUse } from '../../../lib/address.ts'
import { isErrno, usageFailure } from '../../../lib/failure.ts'
import { printConfig } from '../../../lib/remote/effective.ts'
import type { ConfigUse } from '../../../lib/remote/ssh-command.ts'
import { first, parseSshConfig } from '../../../lib/remote/ssh-config.ts'
import { groupAlike } from '../../../lib/wording.ts'
import type { Call } from '../../request/session.ts'
import type { Asked } from './asked.ts'
import type { Draft } from './draft.ts'

interface Host {
  readonly addresses: readonly string[]
  /** Undefined where ssh has nothing to say of this host, and would take the user's own name. */
  readonly user: string | undefined
}

/** Processes at once. */
const concurrency = 16

/** With what is not known yet, as far as it is found. Throws a usage Failure where ssh can't read its configuration. */
export async function findHosts(draft: Draft, { user, sshConfig }: Asked, call: Call): Promise<Draft> {
  const limit = pLimit(concurrency)
  const use = { folder: call.cwd(), ssh: { configFile: sshConfig } }
  const hosts = await Promise.all(
    draft.nodes.map(async (node) => ({ node, ...(await limit(() => findHost(node.host ?? node.name, use, call))) })),
  )
  const login = user ?? mostCommon(hosts.flatMap((host) => host.user ?? [])) ?? draft.ssh.user
  const nodes = hosts.map(({ node, addresses, user: own = login }) => ({
    ...node,
    ips: node.ips.length > 0 ? node.ips : addresses,
    user: user === undefined && own !== login ? own : undefined,
  }))
  // One control node needs no load balancer: where there is none, the API has its address.
  const [entry, ...more] = nodes.filter(({ role }) => role !== 'worker')
  const virtualIP = draft.api.virtualIP ?? (more.length === 0 ? entry?.ips[0] : undefined)
  return {
    ...draft,
    api: { ...draft.api, virtualIP },
    ssh: { ...draft.ssh, user: login },
    nodes,
  }
}

/** Of equally common ones the first. */
function mostCommon(names: readonly string[]): string | undefined {
  return groupAlike(names, (name) => name).toSorted((a, b) => b.length - a.length)[0]?.[0]
}

/** The name has been checked: it is no option to ssh. */
async function findHost(host: string, use: ConfigUse, call: Call): Promise<Host> {
  const { exitCode, stdout, stderr } = await printConfig(use, ['--', host], call)
  if (exitCode !== 0)
    throw usageFailure(`${host}: ssh can't be used (${stderr.trim().split(/\r?\n/)[0]?.slice(0, 300)})`)
  const config = parseSshConfig(stdout)
  const hostname = first(config, 'hostname') ?? host
  const user = first(config, 'user')
  // As ssh writes what it has not been told to replace.
  const isItself = hostname === canonicalAddress(host.toLowerCase())
  const addresses = addressBytes(hostname) ? [canonicalAddress(hostname)] : await resolve(hostname)
  return {
    // What was given as an address is what is meant.
    addresses:
      isItself && addressBytes(host) ? addresses : addresses.filter((address) => specialUse(address) === undefined),
    user: isItself && user === userInfo().username ? undefined : user,
  }
}

/** By /etc/hosts and DNS, as every program here does: getaddrinfo(3). */
async function resolve(hostname: string): Promise<string[]> {
  try {
    const found = await lookup(hostname, { all: true })
    return [...new Set(found.map(({ address }) => canonicalAddress(address)))]
  } catch (error) {
    if (isErrno(error)) return []
    throw error
  }
}
