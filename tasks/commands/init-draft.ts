/** A cluster.yaml before it is text: unknown values are undefined. Pure. */
import { lookup } from 'node:dns/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import pLimit from 'p-limit'
import * as v from 'valibot'
import { stringify } from 'yaml'
import { addressBytes, canonicalAddress, specialUse } from '../../lib/address.ts'
import type { ClusterNode, LayoutName } from '../../lib/cluster/cluster.ts'
import { map } from '../../lib/cluster/problem.ts'
import { clusterSchema, keyKinds, layoutNames, providers, usualLayout } from '../../lib/cluster/schema.ts'
import { isErrno, usageFailure } from '../../lib/failure.ts'
import { printConfig } from '../../lib/remote/route.ts'
import type { ConfigUse } from '../../lib/remote/ssh-command.ts'
import { first, parseSshConfig } from '../../lib/remote/ssh-config.ts'
import { suggest } from '../../lib/suggest.ts'
import { groupAlike } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { layouts } from '../layouts/table.ts'
import { usage } from '../request/options.ts'
import type { Call } from '../request/session.ts'

export interface DraftNode {
  readonly name: string
  readonly role: ClusterNode['role']
  /** For ssh, if it is not the name. */
  readonly host?: string | undefined
  /** The user who logs in there, if it is not ssh.user. */
  readonly user?: string | undefined
  readonly ips: readonly string[]
  readonly sans: readonly string[]
}

export interface Draft {
  readonly name: string
  readonly layout: LayoutName
  readonly domain: string | undefined
  readonly subject: Readonly<Record<string, Text>>
  readonly certificates: Readonly<Record<'key' | 'validity' | 'caValidity' | 'renewBefore', string>>
  readonly api: Readonly<{ host: string; port: number; virtualIP: Text; extraSANs: readonly string[] }>
  readonly network: Readonly<{ serviceCIDR: string | readonly string[]; clusterDomain: string }>
  readonly encryption: Readonly<{ provider: string; resources: readonly string[] }>
  readonly ssh: Readonly<{ user: string; directory: string; configFile: Text }>
  readonly users: readonly Readonly<{ name: string; groups: readonly string[]; validity: string }>[]
  readonly nodes: readonly DraftNode[]
}

type Text = string | undefined

/** With every default of cluster.yaml. */
export function newDraft(name: string, { name: layout, defaults }: Layout): Draft {
  const { subject, certificates, api, network, encryption, ssh } = clusterSchema.entries
  return {
    name,
    layout,
    domain: defaults.domain as Text,
    subject: (defaults.subject as Draft['subject']) ?? v.getDefaults(subject.wrapped),
    certificates: { ...v.getDefaults(certificates.wrapped), ...map(defaults.certificates) },
    api: { ...v.getDefaults(api.wrapped), ...map(defaults.api) },
    network: { ...v.getDefaults(network.wrapped), ...map(defaults.network) },
    encryption: v.getDefaults(encryption.wrapped),
    ssh: { ...v.getDefaults(ssh.wrapped), ...map(defaults.ssh) },
    users: [],
    nodes: [],
  }
}

/** As in cluster.yaml. */
function plainNode({ name, role, host, user, ips, sans }: DraftNode) {
  const [ip, ...more] = ips
  return {
    name,
    role,
    ...(more.length > 0 ? { ips } : { ip }),
    ...(host !== undefined && { host }),
    ...(user !== undefined && { user }),
    ...(sans.length > 0 && { sans }),
  }
}

/** As the YAML would be parsed. */
export function plainCluster({ nodes, ssh: { user, configFile, directory }, ...draft }: Draft): object {
  return { ...draft, ssh: { user, configFile, directory }, nodes: nodes.map(plainNode) }
}

/** `schema` is a path or an address for the editor: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema */
export function formatCluster(draft: Draft, schema: string): string {
  const { name, layout, domain, subject, certificates, api, network, encryption, ssh, users, nodes } = draft
  return `# yaml-language-server: $schema=${encodeURI(schema)}
# Every key, its default and its rules: docs/cluster-yaml.md of harderway.
${line('name', name, 'of the cluster, in every kubeconfig')}
${layout === usualLayout ? '' : `${line('layout', layout, layouts[layout].guide)}\n`}${line('domain', domain ?? name, 'nodes are also <node>.<domain>')}
subject: # of every certificate; can't be changed once there is a CA
${section(formatSubject(subject))}
certificates:
${section([
  line('key', certificates.key, `${keyKinds.join(' | ')}; can't be changed once there is a CA`),
  line('validity', certificates.validity, 'also 365d, 8760h'),
  line('caValidity', certificates.caValidity),
  line('renewBefore', certificates.renewBefore, 'with less than this left, a certificate is issued again'),
])}
api:
${section([
  line('host', api.host, 'https://<host>:<port> in every kubeconfig'),
  line('port', api.port),
  ...(layouts[layout].without.has('api.virtualIP')
    ? []
    : [line('virtualIP', api.virtualIP, api.virtualIP === undefined ? 'MISSING: where the load balancer is' : '')]),
  line('extraSANs', api.extraSANs, 'more names or addresses of the API'),
])}
network:
${section([
  line('serviceCIDR', network.serviceCIDR, "has to be kube-apiserver's --service-cluster-ip-range"),
  line('clusterDomain', network.clusterDomain),
])}
encryption: # of what is in etcd
${section([
  line(
    'provider',
    encryption.provider,
    `${providers.join(' | ')}; once there are Secrets, only rotate encryption-key changes it`,
  ),
  line('resources', encryption.resources),
])}
ssh: # aliases, ports and jump hosts are those of your ssh configuration
${section([
  line('user', ssh.user),
  ssh.configFile === undefined ? '# configFile: ./ssh_config # ssh -F' : line('configFile', ssh.configFile, 'ssh -F'),
  line('directory', ssh.directory, 'where files go on a node'),
])}
# localKubeconfig: false # else the admin is entered into your own kubeconfig, as its current context
# install: true # copies files to where the guide's units read them, and restarts units: docs/install.md
${formatUsers(users)}
nodes:
${section(nodes.map(formatNode))}
`
}

function formatSubject(subject: Draft['subject']): string[] {
  const open = Object.entries(subject).flatMap(([key, value]) => (value === undefined ? [key] : []))
  return [
    ...Object.entries(subject).flatMap(([key, value]) => (value === undefined ? [] : [line(key, value)])),
    ...(open.length > 0 ? [`# also: ${open.join(', ')}`] : []),
  ]
}

function formatUsers(users: Draft['users']): string {
  return users.length > 0
    ? `users: # besides admin\n${section(users.map((user) => `- ${text(user)}`))}`
    : '# users: # besides admin\n#   - { name: jane, groups: [devs], validity: 90d }'
}

function formatNode(node: DraftNode): string {
  const plain = plainNode(node)
  return node.ips.length > 0
    ? `- ${text(plain)}`
    : `- ${text({ ...plain, ip: null })} # MISSING: the address of ${node.name}`
}

/** What `formatCluster` left blank in this text. */
export function findMissing(text: string): { line: number; what: string }[] {
  return text.split('\n').flatMap((each, i) => {
    const [, what] = / # MISSING: (.*)$/.exec(each) ?? []
    return what === undefined ? [] : [{ line: i + 1, what }]
  })
}

function section(lines: readonly string[]): string {
  return lines.map((each) => `  ${each}`).join('\n')
}

function line(key: string, value: unknown, note = ''): string {
  return [`${key}:`, text(value), note && `# ${note}`].filter(Boolean).join(' ')
}

/** On one line. */
function text(value: unknown): string {
  if (value === undefined) return ''
  const flowCollectionPadding = !Array.isArray(value)
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding, lineWidth: 0, nullStr: '' }).trim()
}

/** What some of the options mean; the paths are absolute. */
export interface Requested {
  readonly folder: string
  /** The cluster.yaml to write. */
  readonly file: string
  /** An auth/ that may be there. */
  readonly auth: string
  /** Undefined: what the files of auth/ tell. */
  readonly layout: LayoutName | undefined
  readonly nodes: readonly DraftNode[]
  readonly sshConfig: string | undefined
}

const roles = ['control', 'worker', 'gateway'] as const

/** Throws a usage Failure. */
export function parseRequested({ options, pathOf }: Pick<Call, 'options' | 'pathOf'>): Requested {
  const { names, config, from, layout, sshConfig } = options
  const [typed, ...more] = names.slice(1)
  if (typed === undefined || typed === '' || more.length > 0)
    throw wrong(
      `give one folder, which gets a cluster.yaml${more.length > 0 ? `: not ${[typed, ...more].join(' and ')}` : ''}`,
    )
  if (config !== undefined) throw wrong('--config names a cluster.yaml that is there: init writes one into its folder')
  const folder = pathOf(typed)
  return {
    folder,
    file: join(folder, 'cluster.yaml'),
    auth: from === undefined ? join(folder, 'auth') : pathOf(from),
    layout: parseLayout(layout),
    nodes: roles.flatMap((role) => options[role].flatMap((list) => parseNodes(role, list))),
    sshConfig: sshConfig === undefined ? undefined : pathOf(sshConfig),
  }
}

function parseLayout(given: string | undefined): LayoutName | undefined {
  const layout = layoutNames.find((name) => name === given)
  if (given !== undefined && layout === undefined) throw wrong(`--layout ${given}: ${suggest(given, layoutNames)}`)
  return layout
}

/** `control0,control1`; `NAME=HOST` for a node that ssh knows by another name than Kubernetes. */
function parseNodes(role: DraftNode['role'], list: string): DraftNode[] {
  return list.split(',').map((word) => {
    const [, name = '', host] = /^([^=]*)(?:=(.*))?$/s.exec(word) ?? []
    if (name === '' || host === '') throw wrong(`--${role} ${list}: a name is empty between the commas`)
    return { name, role, host: host === name ? undefined : host, ips: [], sans: [] }
  })
}

/** With init's own help. */
export function wrong(message: string) {
  return usage(message, 'init')
}

interface Host {
  readonly addresses: readonly string[]
  /** Undefined if ssh has no setting for this host, and would use the user's own name. */
  readonly user: string | undefined
}

/** Processes at once. */
const concurrency = 16

/** Fills in unknown values that can be found. Throws a usage Failure if ssh can't read its configuration. */
export async function findHosts(draft: Draft, { sshConfig }: Requested, call: Call): Promise<Draft> {
  const { user } = call.options
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
  // A single control node needs no load balancer: without one, the API has the node's address.
  const [entry, ...more] = nodes.filter(({ role }) => role !== 'worker')
  const isKnown = draft.api.virtualIP !== undefined || layouts[draft.layout].without.has('api.virtualIP')
  const virtualIP = isKnown || more.length > 0 ? draft.api.virtualIP : entry?.ips[0]
  return {
    ...draft,
    api: { ...draft.api, virtualIP },
    ssh: { ...draft.ssh, user: login },
    nodes,
  }
}

/** The first of equally common ones. */
function mostCommon(names: readonly string[]): string | undefined {
  return groupAlike(names, (name) => name).toSorted((a, b) => b.length - a.length)[0]?.[0]
}

/** The name has been checked: ssh can't take it for an option. */
async function findHost(host: string, use: ConfigUse, call: Call): Promise<Host> {
  const { exitCode, stdout, stderr } = await printConfig(use, ['--', host], call)
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
