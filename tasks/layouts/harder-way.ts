/**
 * Kubernetes "the harder way": three control nodes behind a load balancer, the guide's chapters 4 to 6.
 * Users are CN, groups are O: https://kubernetes.io/docs/setup/best-practices/certificates/
 */

import { addressBytes, firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode, ClusterUser } from '../../lib/cluster/cluster.ts'
import { caName, fileNames } from '../../lib/files/auth-dir.ts'
import { nodeUser } from '../../lib/kubernetes/authorization.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import {
  type ApiNaming,
  apiServer,
  type CertKind,
  type EtcdNames,
  inFolder,
  type Layout,
  NODE,
  optional,
  pairsInFolder,
  type Reads,
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

/** The service-account certificate has the usage of a client, too. */
const certs: readonly CertKind[] = [
  {
    ...shared.ca,
    subject: subject('Kubernetes'),
    on: { control: pair, worker: ['certificate'], gateway: ['certificate'] },
  },
  { ...shared.api, name: names.api, subject: subject('kubernetes'), sans: apiSans },
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
]

const nodeSans: Layout['nodeSans'] = ({ name, ips }, domain) => [name, `${name}.${domain}`, ...ips]

/** A gateway runs no kubelet. */
function nodeCert({ name, ips, sans, role }: ClusterNode): CertKind | undefined {
  if (role === 'gateway') return undefined
  return {
    ...shared.kubelet,
    name,
    subject: subject(nodeUser(name), 'system:nodes'),
    // The API server dials a kubelet by its host name, then by its address.
    sans: ({ domain }) => [...nodeSans({ name, ips }, domain), ...sans],
    on: { [role]: [...pair, ...kubeconfig] },
  }
}

function userCert(user: ClusterUser): CertKind {
  const { name, groups, validity } = user
  return { ...shared.user(user), subject: subject(name, groups), validity }
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

/** A member is dialled by other members and by its own API server, and its gateway dials itself. */
function etcdSans({ domain, nodes, api }: Cluster): string[] {
  const members = nodes.filter(({ role }) => role === 'control')
  return [...members.flatMap((node) => nodeSans(node, domain)), '127.0.0.1', ...api.extraSANs]
}

/** Where etcd has a CA of its own. A running cluster begins with the one that it had, under that name. */
const ofEtcd: readonly CertKind[] = [
  {
    ...shared.ofOwnEtcd.ca,
    subject: subject('Kubernetes etcd'),
    tolerated: (cluster) => [subject('Kubernetes')(cluster)],
  },
  { ...shared.ofOwnEtcd.server, subject: subject(shared.ownEtcd.server), sans: etcdSans },
  { ...shared.ofOwnEtcd.client, subject: subject(shared.ownEtcd.client) },
]

const files = fileNames({ endings: { certificate: '.pem', key: '-key.pem' }, names })

/** The same in its --config-file, which is then the only one that counts, or by a flag: etcd's configuration page. */
const etcdSetting = (section: 'client' | 'peer', key: string) => [
  `${section}-transport-security.${key}`,
  section === 'peer' ? `--peer-${key}` : `--${key}`,
]
const etcdPair = (section: 'client' | 'peer') =>
  [etcdSetting(section, 'cert-file'), etcdSetting(section, 'key-file')] as const

const sharedEtcd = shared.sharedEtcd(names.api)

/** Where the guide's etcd reads what it shares with the cluster, it reads its own. */
function atGuides(etcd: EtcdNames, rows: readonly Reads[]): Reads[] {
  const names = [
    [files.certificate(etcd.ca), files.certificate(sharedEtcd.ca)],
    ...files.pair(etcd.server).map((file, i) => [file, files.pair(sharedEtcd.server)[i] ?? file]),
  ]
  const guides = new Map(names.map(([file = '', name = '']) => [file, `/etc/etcd/${name}`]))
  return rows.map((row) => ({ ...row, usual: guides.get(row.file) ?? row.usual }))
}

/**
 * What a unit reloads and what needs a restart was read in the code of Kubernetes 1.34 and etcd 3.5, and tried on
 * these, 1.36 and 3.6: etcd's client/pkg/transport/listener.go and tlsutil.go (its CA: etcd#11555),
 * dynamiccertificates/dynamic_serving_content.go and dynamic_cafile_content.go,
 * kubeapiserver/options/authentication.go; the kubelet's serving pair: kubernetes#133001.
 */
const unitsWith = (etcd: EtcdNames): readonly UnitRow[] => [
  // ldirectord checks the API servers against the certificates that its system trusts.
  {
    unit: 'trust-store',
    on: ['gateway'],
    reads: [
      {
        by: [],
        file: files.certificate(caName),
        usual: '/usr/local/share/ca-certificates/kubernetes-ca.crt',
        loads: 'restart',
      },
    ],
    serves: [],
    bundle: '/etc/ssl/certs/ca-certificates.crt',
    restart: 'update-ca-certificates && { ! systemctl -q is-active ldirectord || systemctl restart ldirectord; }',
  },
  {
    unit: store,
    on: ['control'],
    reads: atGuides(etcd, [
      ...inFolder('/etc/etcd', files.certificate(etcd.ca), 'restart', etcdSetting('client', 'trusted-ca-file')),
      ...pairsInFolder('/etc/etcd', files.pair(etcd.server), etcdPair('client')),
      ...optional([
        ...inFolder('/etc/etcd', files.certificate(etcd.ca), 'restart', etcdSetting('peer', 'trusted-ca-file')),
        ...pairsInFolder('/etc/etcd', files.pair(etcd.server), etcdPair('peer')),
      ]),
    ]),
    serves: [2379, 2380].map((port) => ({ port, name: etcd.server, as: etcd.client })),
    health: { port: 2379, path: '/health', as: etcd.client, ca: etcd.ca },
    isQueried: true,
    isQuorum: true,
  },
  {
    unit: apiServer,
    on: ['control'],
    reads: shared.apiServerReads(files, etcd),
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
        ca: `${shared.kubernetes}/${files.certificate(caName)}`,
        pair: [`/var/lib/kubelet/${files.certificate(NODE)}`, `/var/lib/kubelet/${files.key(NODE)}`],
      },
      files.pair(NODE),
    ),
    serves: [shared.kubeletPort],
    health: { port: 10250, path: '/healthz', as: names.api },
    metrics: { port: 10250, path: '/metrics', as: names.admin },
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
  certs: certs.map(shared.opensEtcd),
  nodeCert,
  userCert: (user) => shared.opensEtcd(userCert(user)),
  nodeSans,
  apiSans,
  serviceSans,
  units: unitsWith(sharedEtcd),
  etcd: sharedEtcd,
  aggregation: shared.aggregationOf(files, subject),
}

export const withOwnEtcd: Layout = {
  ...harderWay,
  certs: [...certs, ...ofEtcd],
  nodeCert,
  userCert,
  units: unitsWith(shared.ownEtcd),
  etcd: shared.ownEtcd,
}
