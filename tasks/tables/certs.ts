/**
 * Every certificate of the cluster, a row each. Adding a component is adding a row.
 * Users are CN, groups are O: https://kubernetes.io/docs/setup/best-practices/certificates/
 */
import { addressBytes, firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import type { Profile } from '../../lib/pki/x509.ts'
import { everyComponent } from '../../lib/targets/graph.ts'

export interface CertRow {
  readonly phase: 'ca' | 'cluster-cert' | 'component-certs' | 'node-certs'
  /** The base of its file names, <name>.pem and <name>-key.pem. */
  readonly name: string
  readonly node?: string
  readonly profile: Profile
  /** It is the identity of a client of the API: <name>.kubeconfig is made of it. */
  readonly isClient: boolean
  /** In a few letters. */
  readonly purpose: string
  /** The components that have it open, and read it anew when they are restarted. */
  readonly usedBy: readonly string[]
  /** What the key lets a thief do. */
  readonly power: string
  /** Whether the whole cluster is lost with the key. */
  readonly isGrave?: true
}

const tables = new WeakMap<Cluster, readonly CertRow[]>()

export function certTable(cluster: Cluster): readonly CertRow[] {
  const table = tables.get(cluster) ?? buildTable(cluster)
  tables.set(cluster, table)
  return table
}

function buildTable(cluster: Cluster): CertRow[] {
  const { key } = cluster.certificates
  const { country: C, state: ST, locality: L, organization, organizationalUnit: OU } = cluster.subject
  const place = { ...(C && { C }), ...(ST && { ST }), ...(L && { L }) }
  const profile = (CN: string, O: string, sans: readonly string[] = [], isCa = false): Profile => ({
    subject: { ...place, O, ...(OU && { OU }), CN },
    sans,
    isCa,
    key,
  })
  const component = (
    name: string,
    subject: Profile,
    use: Pick<CertRow, 'purpose' | 'usedBy' | 'power' | 'isGrave'>,
  ): CertRow => ({
    phase: 'component-certs',
    name,
    profile: subject,
    isClient: true,
    ...use,
  })
  return [
    {
      phase: 'ca',
      name: 'ca',
      profile: profile('Kubernetes', organization, [], true),
      isClient: false,
      purpose: 'signs the rest',
      usedBy: [everyComponent],
      power: 'becomes anyone: signs certificates for any user and any server',
      isGrave: true,
    },
    // As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name.
    {
      phase: 'cluster-cert',
      name: 'kubernetes',
      profile: profile('kubernetes', organization, apiSans(cluster)),
      isClient: false,
      purpose: 'API, etcd',
      usedBy: ['etcd', 'kube-apiserver'],
      power: 'reads and changes all of etcd, commands every kubelet, stands in for the API',
      isGrave: true,
    },
    component('admin', profile('admin', 'system:masters'), {
      purpose: 'administrators',
      usedBy: [],
      power: 'does everything through the API, past every rule',
      isGrave: true,
    }),
    component('kube-scheduler', profile('system:kube-scheduler', 'system:kube-scheduler'), {
      purpose: 'scheduler',
      usedBy: ['kube-scheduler'],
      power: 'places pods on nodes',
    }),
    component('kube-controller-manager', profile('system:kube-controller-manager', 'system:kube-controller-manager'), {
      purpose: 'controllers',
      usedBy: ['kube-controller-manager'],
      power: 'reads Secrets and makes tokens through the API',
    }),
    component('kube-proxy', profile('system:kube-proxy', 'system:node-proxier'), {
      purpose: 'proxies',
      usedBy: ['kube-proxy'],
      power: 'reads services, endpoints and nodes',
    }),
    {
      ...component('service-account', profile('service-accounts', organization), {
        purpose: 'signs tokens',
        usedBy: ['kube-apiserver', 'kube-controller-manager'],
        power: 'signs a token for any service account',
        isGrave: true,
      }),
      isClient: false,
    },
    ...cluster.nodes
      .filter(({ role }) => role !== 'gateway')
      .map(
        (node): CertRow => ({
          phase: 'node-certs',
          name: node.name,
          node: node.name,
          // The API server dials a kubelet by its host name, then by its address.
          profile: profile(
            `system:node:${node.name}`,
            'system:nodes',
            unique([...nodeSans(node, cluster), ...node.sans]),
          ),
          isClient: true,
          purpose: 'kubelet',
          usedBy: ['kubelet'],
          power: 'acts as this node, and reads the Secrets of its pods',
        }),
      ),
  ]
}

/** Every name and address under which the API is reached, from inside the cluster and from outside. */
function apiSans(cluster: Cluster): string[] {
  const { api, network, domain, nodes } = cluster
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
    ...nodes.filter(({ role }) => role === 'control').flatMap((node) => nodeSans(node, cluster)),
    '127.0.0.1',
    ...api.extraSANs,
  ])
}

function nodeSans({ name, ips }: ClusterNode, { domain }: Cluster): string[] {
  return [name, `${name}.${domain}`, ...ips]
}

function unique(items: readonly string[]): string[] {
  return [...new Set(items)]
}
