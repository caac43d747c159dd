/**
 * Every certificate of the cluster, one row each: everything else is derived from the row.
 * Users are CN, groups are O: https://kubernetes.io/docs/setup/best-practices/certificates/
 */
import { addressBytes, firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode, ClusterUser } from '../../lib/cluster/cluster.ts'
import { caName, type FileKind } from '../../lib/files/names.ts'
import type { TargetId } from '../../lib/graph/target.ts'
import type { Profile } from '../../lib/pki/profile.ts'
import { formatNames } from '../../lib/wording.ts'

export type CertPhase = 'ca' | 'cluster-cert' | 'component-certs' | 'node-certs' | 'user-certs'

export interface CertRow extends CertUse {
  /** The id of the target that makes it. */
  readonly id: TargetId
  readonly node?: string
  readonly profile: Profile
  /** Milliseconds. */
  readonly validity: number
}

/** What does not depend on the cluster. */
export interface CertUse {
  readonly phase: CertPhase
  /** The base of its file names: lib/files/names.ts. No node may have that name. */
  readonly name: string
  /** It is the identity of a client of the API: it gets a kubeconfig. */
  readonly isClient: boolean
  /** Which of its files belong on a node, by the node's role. */
  readonly on: Readonly<Partial<Record<ClusterNode['role'], readonly FileKind[]>>>
  /** Its purpose, in a few letters. */
  readonly purpose: string
  /** What an attacker who has the key can do. */
  readonly power: string
  /** What its user should know in any case. */
  readonly warning?: string | undefined
  /** Whether the whole cluster is lost with the key. */
  readonly isCritical?: true
  /** Replacing it, or its key, breaks a running cluster: it is done only if the target itself is named. */
  readonly irreplaceable?: { readonly part: 'whole' | 'key'; readonly label: string; readonly loss: string }
}

interface CertKind extends CertUse {
  /** The user, as Kubernetes sees it. */
  readonly CN: string
  /** The group, or groups; without one, the cluster's own organization. */
  readonly O?: string | readonly string[]
  /** Milliseconds; by default the cluster's. */
  readonly validity?: number
  readonly sans?: (cluster: Cluster) => readonly string[]
}

const pair: readonly FileKind[] = ['certificate', 'key']
const kubeconfig: readonly FileKind[] = ['kubeconfig']

/** https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

const clusterKinds: readonly CertKind[] = [
  {
    phase: 'ca',
    name: caName,
    CN: 'Kubernetes',
    isClient: false,
    on: { control: pair, worker: ['certificate'], gateway: ['certificate'] },
    purpose: 'signs the rest',
    power: 'becomes anyone: signs certificates for any user and any server',
    isCritical: true,
    irreplaceable: { part: 'whole', label: 'CA', loss: 'this cluster identity, and have every certificate reissued' },
  },
  // As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name.
  {
    phase: 'cluster-cert',
    name: 'kubernetes',
    CN: 'kubernetes',
    sans: apiSans,
    isClient: false,
    on: { control: pair },
    purpose: 'API, etcd',
    power: 'reads and changes all of etcd, commands every kubelet, stands in for the API',
    isCritical: true,
  },
  {
    phase: 'component-certs',
    name: 'admin',
    CN: 'admin',
    O: 'system:masters',
    isClient: true,
    on: { control: kubeconfig },
    purpose: 'administrators',
    power: 'does everything through the API, bypassing RBAC',
    isCritical: true,
  },
  {
    phase: 'component-certs',
    name: 'kube-scheduler',
    CN: 'system:kube-scheduler',
    O: 'system:kube-scheduler',
    isClient: true,
    on: { control: kubeconfig },
    purpose: 'scheduler',
    power: 'places pods on nodes',
  },
  {
    phase: 'component-certs',
    name: 'kube-controller-manager',
    CN: 'system:kube-controller-manager',
    O: 'system:kube-controller-manager',
    isClient: true,
    on: { control: kubeconfig },
    purpose: 'controllers',
    power: 'reads Secrets and makes tokens through the API',
  },
  {
    phase: 'component-certs',
    name: 'kube-proxy',
    CN: 'system:kube-proxy',
    O: 'system:node-proxier',
    isClient: true,
    on: { control: kubeconfig, worker: kubeconfig },
    purpose: 'proxies',
    power: 'reads services, endpoints and nodes',
  },
  // Its key signs the tokens of every service account: it stays when the certificate is issued again.
  {
    phase: 'component-certs',
    name: 'service-account',
    CN: 'service-accounts',
    isClient: false,
    on: { control: pair },
    purpose: 'signs tokens',
    power: 'signs a token for any service account',
    isCritical: true,
    irreplaceable: { part: 'key', label: 'service-account key', loss: 'every service-account token there is' },
  },
]

function nodeKind({ name, ips, sans, role }: ClusterNode): CertKind {
  return {
    phase: 'node-certs',
    name,
    CN: nodeUser(name),
    O: 'system:nodes',
    // The API server dials a kubelet by its host name, then by its address.
    sans: ({ domain }) => unique([...nodeNames(name, ips, domain), ...sans]),
    isClient: true,
    on: { [role]: [...pair, ...kubeconfig] },
    purpose: 'kubelet',
    power: 'acts as this node, and reads the Secrets of its pods',
  }
}

function userKind({ name, groups, validity }: ClusterUser): CertKind {
  const system = groups.filter((group) => group.startsWith('system:'))
  return {
    phase: 'user-certs',
    name,
    CN: name,
    O: groups,
    validity,
    isClient: true,
    on: {},
    purpose: 'user',
    power: `does what RBAC gives ${new Intl.ListFormat('en').format([name, ...groups])}`,
    warning:
      system.length > 0
        ? `${name} may do all that Kubernetes lets its own ${formatNames(system)} do: such groups are for its components`
        : undefined,
  }
}

/** The certificates that every cluster has, whatever its nodes are. */
export const clusterCerts: readonly CertUse[] = clusterKinds

const tables = new WeakMap<Cluster, readonly CertRow[]>()

export function certTable(cluster: Cluster): readonly CertRow[] {
  const table = tables.get(cluster) ?? [
    ...clusterKinds.map((kind) => row(kind, cluster)),
    ...cluster.nodes
      .filter(hasCertificate)
      .map((node): CertRow => ({ ...row(nodeKind(node), cluster), node: node.name })),
    ...cluster.users.map((user) => row(userKind(user), cluster)),
  ]
  tables.set(cluster, table)
  return table
}

/** The node's own certificate, if its role has one. */
export function nodeCerts(node: ClusterNode): readonly CertUse[] {
  return hasCertificate(node) ? [nodeKind(node)] : []
}

/** A gateway runs no kubelet. */
function hasCertificate({ role }: ClusterNode): boolean {
  return role !== 'gateway'
}

function row({ CN, O, sans, validity, ...use }: CertKind, cluster: Cluster): CertRow {
  const { country: C, state: ST, locality: L, organization, organizationalUnit: OU } = cluster.subject
  const subject = { ...(C && { C }), ...(ST && { ST }), ...(L && { L }), O: O ?? organization, ...(OU && { OU }), CN }
  const isAlone = use.phase === 'ca' || use.phase === 'cluster-cert'
  return {
    ...use,
    id: isAlone ? use.phase : `${use.phase}/${use.name}`,
    profile: { subject, sans: sans?.(cluster) ?? [], isCa: use.phase === 'ca', key: cluster.certificates.key },
    validity: validity ?? cluster.certificates.validity,
  }
}

/** The parts of a cluster that determine the names of its API. */
export interface ApiNaming {
  readonly domain: string
  readonly api: Pick<Cluster['api'], 'host' | 'virtualIP' | 'extraSANs'>
  readonly network: Cluster['network']
  readonly nodes: readonly (Pick<ClusterNode, 'name' | 'role'> & { readonly ips: readonly string[] })[]
}

/** Every name and address under which the API is reached, from inside the cluster and from outside. */
export function apiSans({ api, network, domain, nodes }: ApiNaming): string[] {
  return unique([
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster',
    `kubernetes.default.svc.${network.clusterDomain}`,
    ...network.serviceCIDRs.map(firstAddress),
    api.host,
    ...(addressBytes(api.host) ? [] : [`${api.host}.${domain}`]),
    api.virtualIP,
    ...nodes.filter(({ role }) => role === 'control').flatMap(({ name, ips }) => nodeNames(name, ips, domain)),
    '127.0.0.1',
    ...api.extraSANs,
  ])
}

export function nodeNames(name: string, ips: readonly string[], domain: string): string[] {
  return [name, `${name}.${domain}`, ...ips]
}

function unique(items: readonly string[]): string[] {
  return [...new Set(items)]
}
