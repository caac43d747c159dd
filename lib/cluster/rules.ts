/** Rules that span keys of cluster.yaml: unknown keys, and values that contradict each other. Pure. */
import { addressBytes, canonicalAddress, isInside, parseCidr, specialUse } from '../address.ts'
import { suggest } from '../suggest.ts'
import { parseDuration } from '../wording.ts'
import {
  duplicates,
  isMap,
  list,
  map,
  type Path,
  type Problem,
  type Raw,
  type SchemaShape,
  shown,
  textOf,
  unknownKeys,
} from './problem.ts'
import { clusterSchema, defaults } from './schema.ts'
import { isDomain } from './values.ts'

/** Facts from the tables that cluster.yaml must not contradict. */
export interface Known {
  /** The values of cluster.yaml where it has none, as they are written there. */
  readonly defaults: Raw
  readonly name: string
  /** Keys of cluster.yaml that the layout does not have, each with the reason. */
  readonly without: ReadonlyMap<string, string>
  /** The rules that only this layout has. */
  problems(raw: Raw): readonly Problem[]
  /** Whether a node or a user of that name would have a file of the cluster's own name. */
  isReserved(name: string): boolean
  /** The units of the layout, with the names of their files. */
  readonly units: ReadonlyMap<string, readonly string[]>
}

/** Every rule that the parsed YAML breaks, even if it has other problems. */
export function clusterProblems(value: unknown, known: Known): Problem[] {
  const { problems, isReserved, units } = known
  const raw = map(value)
  return [
    ...unknownKeys(clusterSchema as unknown as SchemaShape, value, []),
    ...nameProblems(raw),
    ...durationProblems(map(raw.certificates)),
    ...cidrProblems(map(raw.network).serviceCIDR),
    ...sshOptionProblems(map(map(raw.ssh).options)),
    ...nodeProblems(list(raw.nodes).map(map), isReserved),
    ...userProblems(raw, isReserved),
    ...serviceAddressProblems(raw),
    ...specialAddressProblems(raw),
    ...virtualIPProblems(raw),
    ...drainProblems(map(raw.install), list(raw.nodes).map(map)),
    ...unitProblems(map(map(raw.install).units), units),
    ...keyProblems(raw, known),
    ...problems(raw),
  ]
}

/** Keys that only some layouts have. */
function keyProblems(raw: Raw, { name, without }: Known): Problem[] {
  const virtualIP = ['api', 'virtualIP']
  const { api = {} } = raw
  const isMissing = isMap(api) && api.virtualIP === undefined && !without.has(virtualIP.join('.'))
  const absent = [...without].flatMap(([key, why]): Problem[] => {
    const [section = '', inner = ''] = key.split('.')
    if (map(raw[section])[inner] === undefined) return []
    return [{ path: [section, inner], at: 'key', message: `is no key of layout ${name}`, remedy: why }]
  })
  return [...(isMissing ? [{ path: virtualIP, message: 'is missing' }] : []), ...absent]
}

function nameProblems(raw: Raw): Problem[] {
  const { name, domain } = raw
  if (domain !== undefined || typeof name !== 'string' || isDomain(name)) return []
  return [
    {
      path: ['name'],
      message: `${shown(name)} is also the domain, but is not a DNS name with a letter`,
      remedy: 'set domain',
    },
  ]
}

function cidrProblems(serviceCIDR: unknown): Problem[] {
  if (!Array.isArray(serviceCIDR)) return []
  const path = ['network', 'serviceCIDR']
  const families = serviceCIDR
    .map((text) => parseCidr(textOf(text)))
    .map((cidr) => (typeof cidr === 'string' ? 0 : cidr.network.length))
  if (serviceCIDR.length > 2)
    return [{ path, message: 'has more than two blocks', remedy: 'give one, or one IPv4 and one IPv6 block' }]
  if (serviceCIDR.length === 2 && families[0] !== 0 && families[0] === families[1])
    return [
      { path, message: 'has two blocks of the same family', remedy: 'dual-stack takes one IPv4 and one IPv6 block' },
    ]
  return []
}

/** The addresses of the nodes and of the load balancer, as written. */
function machineAddresses(raw: Raw): [Path, unknown][] {
  return [
    [['api', 'virtualIP'], map(raw.api).virtualIP],
    ...list(raw.nodes).flatMap((node, i): [Path, unknown][] => [
      [['nodes', i, 'ip'], map(node).ip],
      ...list(map(node).ips).map((ip, j): [Path, unknown] => [['nodes', i, 'ips', j], ip]),
    ]),
  ]
}

/** kube-proxy treats these addresses as Services, so no machine can be reached by them. */
function serviceAddressProblems(raw: Raw): Problem[] {
  const { serviceCIDR = defaults.serviceCIDR } = map(raw.network)
  const blocks = [serviceCIDR].flat().map((text) => [textOf(text), parseCidr(textOf(text))] as const)
  return machineAddresses(raw).flatMap(([path, address]) => {
    const inside = blocks.find(([, cidr]) => typeof cidr !== 'string' && isInside(textOf(address), cidr))
    return inside
      ? [
          {
            path,
            message: `${shown(address)} lies in network.serviceCIDR ${inside[0]}`,
            remedy: 'give one outside of it',
          },
        ]
      : []
  })
}

/** A cluster on one machine may use loopback addresses. */
function specialAddressProblems(raw: Raw): Problem[] {
  return machineAddresses(raw).flatMap(([path, address]) => {
    const use = specialUse(textOf(address))
    return use === undefined || use === 'loopback'
      ? []
      : [
          {
            path,
            message: `${shown(address)} is ${article(use)} ${use} address`,
            remedy: 'give one that other machines reach',
          },
        ]
  })
}

function article(word: string): string {
  return /^[aeiou]/.test(word) ? 'an' : 'a'
}

/** A control node serves the API itself, and a gateway passes it on; on a worker nothing listens on its port. */
function virtualIPProblems(raw: Raw): Problem[] {
  const virtualIP = canonicalAddress(textOf(map(raw.api).virtualIP))
  const worker = list(raw.nodes)
    .map(map)
    .find(
      ({ role, ip, ips }) =>
        role === 'worker' && [ip, ...list(ips)].some((each) => canonicalAddress(textOf(each)) === virtualIP),
    )
  if (!worker || !addressBytes(virtualIP)) return []
  const message = `"${virtualIP}" is the address of ${shown(worker.name)}, a worker`
  return [{ path: ['api', 'virtualIP'], message, remedy: "give the load balancer's, or that of a control node" }]
}

/** Draining needs both commands, and gateways that run them. */
function drainProblems({ drain = '', undrain = '' }: Raw, nodes: readonly Raw[]): Problem[] {
  if (drain === '' && undrain === '') return []
  const [given, lacking] = drain === '' ? ['undrain', 'drain'] : ['drain', 'undrain']
  const alone =
    drain === '' || undrain === '' ? [{ message: `needs ${lacking} too`, remedy: 'give both, or none' }] : []
  const unheard = nodes.some(({ role }) => role === 'gateway')
    ? []
    : [{ message: 'is run on gateways, and there is no node with role: gateway' }]
  return [...alone, ...unheard].map((each) => ({ path: ['install', given], at: 'key', ...each }))
}

function unitProblems(units: Raw, known: Known['units']): Problem[] {
  return Object.entries(units).flatMap(([unit, override]): Problem[] => {
    const files = known.get(unit)
    const path = ['install', 'units', unit]
    if (!files)
      return [{ path, at: 'key', message: 'is not a unit of the layout', remedy: suggest(unit, [...known.keys()]) }]
    return Object.keys(map(map(override).files))
      .filter((file) => !files.includes(file))
      .map((file) => ({
        path: [...path, 'files', file],
        at: 'key',
        message: `is not a file of ${unit}`,
        remedy: suggest(file, files),
      }))
  })
}

function durationProblems(certificates: Raw): Problem[] {
  const { validity, caValidity, renewBefore } = { ...defaults, ...certificates }
  return Object.entries({ validity, caValidity }).flatMap(([key, value]) =>
    tooShort(value, renewBefore, ['certificates', key]),
  )
}

function tooShort(validity: unknown, renewBefore: unknown, path: Path): Problem[] {
  const milliseconds = parseDuration(textOf(validity))
  if (!(milliseconds > 0 && milliseconds <= parseDuration(textOf(renewBefore)))) return []
  return [
    {
      path,
      message: `${shown(validity)} must be longer than renewBefore (${textOf(renewBefore)}), or every certificate would be stale at once`,
    },
  ]
}

function nodeProblems(nodes: readonly Raw[], isReserved: Known['isReserved']): Problem[] {
  const names = nodes.flatMap(({ name }, i) =>
    typeof name === 'string' ? [{ value: name, path: ['nodes', i, 'name'] }] : [],
  )
  const addresses = nodes.flatMap(({ ip, ips }, i) => [
    ...list(ips).map((value, j) => ({ value, path: ['nodes', i, 'ips', j] })),
    { value: ip, path: ['nodes', i, 'ip'] },
  ])
  const known = addresses.flatMap(({ value, path }) =>
    typeof value === 'string' && addressBytes(value) ? [{ value: canonicalAddress(value), path }] : [],
  )
  return [
    ...names
      .filter(({ value }) => isReserved(value))
      .map(({ value, path }) => ({
        path,
        message: `"${value}" can't be a node's name: its files would collide with the cluster's own`,
      })),
    ...duplicates(names, 'is the name of another node too'),
    ...duplicates(known, 'is given as an address already'),
    ...nodes.flatMap(({ ip, ips }, i): Problem[] => {
      if (ip === undefined && ips === undefined)
        return [{ path: ['nodes', i], message: 'has no address', remedy: 'give ip, or ips for dual-stack' }]
      if (ip !== undefined && ips !== undefined)
        return [{ path: ['nodes', i, 'ips'], message: "can't be combined with ip", remedy: 'give one of the two' }]
      return []
    }),
    ...(nodes.length > 0 && !nodes.some(({ role }) => role === 'control')
      ? [{ path: ['nodes'], at: 'key' as const, message: 'has no node with role: control' }]
      : []),
  ]
}

function userProblems(raw: Raw, isReserved: Known['isReserved']): Problem[] {
  const users = list(raw.users).map(map)
  const names = users.flatMap(({ name }, i) =>
    typeof name === 'string' ? [{ value: name, path: ['users', i, 'name'] }] : [],
  )
  const nodes = new Set(list(raw.nodes).map((node) => map(node).name))
  const { renewBefore } = { ...defaults, ...map(raw.certificates) }
  return [
    ...names.flatMap(({ value, path }): Problem[] => {
      if (nodes.has(value))
        return [{ path, message: `${shown(value)} is the name of a node, whose files have that name` }]
      return isReserved(value)
        ? [{ path, message: `${shown(value)} can't be a user's name: its files would collide with the cluster's own` }]
        : []
    }),
    ...duplicates(names, 'is the name of another user too'),
    ...users.flatMap(({ groups, validity }, i): Problem[] => [
      ...groupProblems(list(groups), ['users', i, 'groups']),
      ...tooShort(validity, renewBefore, ['users', i, 'validity']),
    ]),
  ]
}

/** https://kubernetes.io/docs/concepts/security/rbac-good-practices/#least-privilege */
function groupProblems(groups: readonly unknown[], path: Path): Problem[] {
  const placed = groups.map((group, i) => ({ value: textOf(group), path: [...path, i] }))
  return [
    ...placed
      .filter(({ value }) => value === 'system:masters')
      .map(({ value, path }) => ({
        path,
        message: `"${value}" bypasses RBAC, and nothing can revoke it before it expires`,
        remedy: 'bind a group of your own to the ClusterRole cluster-admin',
      })),
    ...duplicates(placed, 'is given as a group already'),
  ]
}

/** They say how a node is reached, which keys are offered and which are accepted: man ssh_config. ssh ignores case. */
const allowedSshOptions: readonly string[] = [
  ...['AddressFamily', 'BindAddress', 'BindInterface', 'ConnectionAttempts', 'ConnectTimeout', 'IPQoS', 'TCPKeepAlive'],
  ...['ServerAliveCountMax', 'ServerAliveInterval', 'ProxyCommand', 'ProxyJump', 'ProxyUseFdpass', 'Compression'],
  ...['IdentitiesOnly', 'IdentityAgent', 'IdentityFile', 'CertificateFile', 'PKCS11Provider', 'SecurityKeyProvider'],
  ...['GSSAPIAuthentication', 'HostbasedAuthentication', 'PreferredAuthentications', 'PubkeyAuthentication'],
  ...['CheckHostIP', 'GlobalKnownHostsFile', 'HashKnownHosts', 'HostKeyAlias', 'StrictHostKeyChecking'],
  ...['UserKnownHostsFile', 'CASignatureAlgorithms', 'HostbasedAcceptedAlgorithms', 'HostKeyAlgorithms'],
  ...['KexAlgorithms', 'PubkeyAcceptedAlgorithms', 'Ciphers', 'MACs', 'RekeyLimit', 'RequiredRSASize'],
].map((option) => option.toLowerCase())
const ownKeys = new Map([
  ['user', 'set ssh.user, or user of the node'],
  ['port', 'set port of the node'],
  ['hostname', 'set host of the node'],
])
const otherwise = 'put it into the file of ssh.configFile, unless harderway sets it itself'

function sshOptionProblems(options: Raw): Problem[] {
  return Object.entries(options).flatMap(([key, value]): Problem[] => {
    const path = ['ssh', 'options', key]
    const option = key.toLowerCase()
    if (!allowedSshOptions.includes(option)) {
      const remedy = ownKeys.get(option) ?? (suggest(option, allowedSshOptions) || otherwise)
      return [{ path, at: 'key', message: "can't be set here", remedy }]
    }
    if (/[\p{Cc}\p{Cs}]/u.test(textOf(value))) return [{ path, message: `${shown(value)} has a control character` }]
    const trusting = `${shown(value)} would trust any machine that answers`
    if (option === 'stricthostkeychecking' && !/^(true|yes|ask|accept-new)$/i.test(textOf(value)))
      return [{ path, message: trusting, remedy: 'accept-new, yes or ask, or nothing' }]
    if (option === 'userknownhostsfile' && /^(none|\/dev\/null)$/i.test(textOf(value)))
      return [{ path, message: trusting, remedy: 'give a file' }]
    return []
  })
}
