/**
 * Kubernetes "the harder way": three control nodes behind a load balancer, the guide's chapters 4 to 6.
 * Users are CN, groups are O: https://kubernetes.io/docs/setup/best-practices/certificates/
 */
import { addressBytes, firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode, ClusterUser } from '../../lib/cluster/cluster.ts'
import { caName, fileNames } from '../../lib/files/names.ts'
import type { Subject } from '../../lib/pki/cert-spec.ts'
import {
  type ApiNaming,
  apiServer,
  type CertKind,
  inFolder,
  type Layout,
  NODE,
  nodeUser,
  optional,
  pairsInFolder,
  store,
  type UnitRow,
} from './layout.ts'
import * as shared from './shared.ts'

const { pair, kubeconfig } = shared

/** Without a group, the cluster's own organization. */
const subject = (CN: string, O?: Subject['O']) => (cluster: Cluster) => {
  const { organization, organizationalUnit: OU } = cluster.subject
  return shared.withLocation({ O: O ?? organization, ...(OU && { OU }), CN })(cluster)
}

const names = { api: 'kubernetes', admin: 'admin', tokens: 'service-account' } as const

/** All have the usage of a client, the service-account certificate too. */
const ownClients = (
  [
    { ...shared.admin, name: names.admin, subject: subject('admin', 'system:masters') },
    { ...shared.scheduler, subject: subject('system:kube-scheduler', 'system:kube-scheduler') },
    {
      ...shared.controllerManager,
      subject: subject('system:kube-controller-manager', 'system:kube-controller-manager'),
    },
    {
      ...shared.proxy,
      subject: subject('system:kube-proxy', 'system:node-proxier'),
      on: { control: kubeconfig, worker: kubeconfig },
    },
    { ...shared.tokens, name: names.tokens, subject: subject('service-accounts') },
  ] satisfies CertKind[]
).map(shared.opensEtcd)

const certs: readonly CertKind[] = [
  {
    ...shared.ca,
    subject: subject('Kubernetes'),
    on: { control: pair, worker: ['certificate'], gateway: ['certificate'] },
  },
  { ...shared.api, name: names.api, subject: subject('kubernetes'), sans: apiSans },
  ...ownClients,
]

const nodeSans: Layout['nodeSans'] = ({ name, ips }, domain) => [name, `${name}.${domain}`, ...ips]

/** A gateway runs no kubelet. */
function nodeCert({ name, ips, sans, role }: ClusterNode): CertKind | undefined {
  if (role === 'gateway') return undefined
  return shared.opensEtcd({
    ...shared.kubelet,
    name,
    subject: subject(nodeUser(name), 'system:nodes'),
    // The API server dials a kubelet by its host name, then by its address.
    sans: ({ domain }) => [...nodeSans({ name, ips }, domain), ...sans],
    on: { [role]: [...pair, ...kubeconfig] },
  })
}

function userCert(user: ClusterUser): CertKind {
  const { name, groups, validity } = user
  return shared.opensEtcd({ ...shared.user(user), subject: subject(name, groups), validity })
}

const serviceNames = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc']

function serviceSans(network: Cluster['network']): string[] {
  return [...serviceNames, `kubernetes.default.svc.${network.clusterDomain}`, ...network.serviceCIDRs.map(firstAddress)]
}

function apiSans({ api, network, domain, nodes }: ApiNaming): string[] {
  return [
    ...serviceNames,
    'kubernetes.default.svc.cluster',
    `kubernetes.default.svc.${network.clusterDomain}`,
    ...network.serviceCIDRs.map(firstAddress),
    api.host,
    ...(addressBytes(api.host) ? [] : [`${api.host}.${domain}`]),
    ...(api.virtualIP === undefined ? [] : [api.virtualIP]),
    ...nodes.filter(({ role }) => role === 'control').flatMap((node) => nodeSans(node, domain)),
    '127.0.0.1',
    ...api.extraSANs,
  ]
}

const files = fileNames({ endings: { certificate: '.pem', key: '-key.pem' }, names })
const ca = files.certificate(caName)
const apiPair = files.pair(names.api)

/** The same in its --config-file, which is then the only one that counts, by a flag, or in its environment: etcd's configuration page. */
const etcdSetting = (section: 'client' | 'peer', key: string) => {
  const flag = section === 'peer' ? `peer-${key}` : key
  return [`${section}-transport-security.${key}`, `--${flag}`, `ETCD_${flag.toUpperCase().replaceAll('-', '_')}`]
}
const etcdPair = (section: 'client' | 'peer') =>
  [etcdSetting(section, 'cert-file'), etcdSetting(section, 'key-file')] as const

/** What a unit reloads and what needs a restart was read in the code of Kubernetes 1.34 and etcd 3.5: docs/install.md has the sources. */
const units: readonly UnitRow[] = [
  // ldirectord checks the API servers against the certificates that its system trusts.
  {
    unit: 'trust-store',
    on: ['gateway'],
    reads: [{ by: [], file: ca, usual: '/usr/local/share/ca-certificates/kubernetes-ca.crt', loads: 'restart' }],
    serves: [],
    bundle: '/etc/ssl/certs/ca-certificates.crt',
    restart: 'update-ca-certificates && { ! systemctl -q is-active ldirectord || systemctl restart ldirectord; }',
  },
  {
    unit: store,
    on: ['control'],
    reads: [
      ...inFolder('/etc/etcd', ca, 'restart', etcdSetting('client', 'trusted-ca-file')),
      ...pairsInFolder('/etc/etcd', apiPair, etcdPair('client')),
      ...optional([
        ...inFolder('/etc/etcd', ca, 'restart', etcdSetting('peer', 'trusted-ca-file')),
        ...pairsInFolder('/etc/etcd', apiPair, etcdPair('peer')),
      ]),
    ],
    serves: [
      { port: 2379, name: names.api },
      { port: 2380, name: names.api },
    ],
    health: { port: 2379, path: '/health', as: names.api },
    isQueried: true,
    isQuorum: true,
  },
  {
    unit: apiServer,
    on: ['control'],
    reads: shared.apiServerReads(files),
    serves: [{ port: 6443, name: names.api, selfMade: shared.loopback }],
    health: { port: 6443, path: '/readyz', as: names.admin },
    isQueried: true,
    isDrained: true,
  },
  shared.controllerManagerUnit(files),
  shared.schedulerUnit,
  {
    unit: 'kubelet',
    config: '/var/lib/kubelet/kubelet-config.yaml',
    on: ['control', 'worker'],
    reads: shared.kubeletReads(
      files,
      {
        ca: `${shared.kubernetes}/${ca}`,
        pair: [`/var/lib/kubelet/${files.certificate(NODE)}`, `/var/lib/kubelet/${files.key(NODE)}`],
      },
      files.pair(NODE),
    ),
    serves: [shared.kubeletPort],
    health: { port: 10250, path: '/healthz', as: names.api },
  },
  { ...shared.proxyUnit, on: ['control', 'worker'] },
]

export const harderWay: Layout = {
  name: 'harder-way',
  guide: 'Kubernetes the Harder Way',
  files,
  defaults: {},
  without: new Map(),
  problems: () => [],
  certs,
  nodeCert,
  userCert,
  nodeSans,
  apiSans,
  serviceSans,
  guess: () => ({}),
  units,
}
