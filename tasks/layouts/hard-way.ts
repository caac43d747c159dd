/**
 * Kubernetes The Hard Way, as of 2025: one control node without a kubelet, workers, and etcd without TLS on the
 * loopback address. https://github.com/kelseyhightower/kubernetes-the-hard-way: ca.conf, units/ and documents 04 to 10
 */

import { firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode, ClusterUser } from '../../lib/cluster/cluster.ts'
import { list, map, type Problem, type Raw } from '../../lib/cluster/problem.ts'
import { caName, fileNames } from '../../lib/files/auth-dir.ts'
import { nodeUser } from '../../lib/kubernetes/authorization.ts'
import { type ApiNaming, apiServer, type CertKind, type Layout, NODE, store, type UnitRow } from './layout.ts'
import * as shared from './shared.ts'

const { pair, kubeconfig, withLocation } = shared

const names = { api: 'kube-api-server', admin: 'admin', tokens: 'service-accounts' } as const
const loopback = '127.0.0.1'

const scheduler = 'system:kube-scheduler'

const certs: readonly CertKind[] = [
  { ...shared.ca, subject: withLocation({ CN: 'CA' }), on: { control: pair, worker: ['certificate'] } },
  {
    ...shared.api,
    name: names.api,
    subject: withLocation({ CN: 'kubernetes' }),
    sans: apiSans,
  },
  {
    ...shared.admin,
    name: names.admin,
    subject: () => ({ O: 'system:masters', CN: 'admin' }),
    // It is used on the control node.
    dials: loopback,
  },
  {
    ...shared.scheduler,
    subject: withLocation({ O: scheduler, CN: scheduler }),
    // A slip of the guide's, which harms nothing: Kubernetes binds roles to the user.
    tolerated: (cluster) => [withLocation({ O: `system:${scheduler}`, CN: scheduler })(cluster)],
    sans: () => ['kube-scheduler', loopback],
  },
  {
    ...shared.controllerManager,
    subject: withLocation({ O: 'system:kube-controller-manager', CN: 'system:kube-controller-manager' }),
    sans: () => ['kube-controller-manager', loopback],
  },
  {
    ...shared.proxy,
    subject: withLocation({ O: 'system:node-proxier', CN: 'system:kube-proxy' }),
    sans: () => ['kube-proxy', loopback],
    on: { worker: kubeconfig },
  },
  {
    ...shared.tokens,
    name: names.tokens,
    subject: () => ({ CN: 'service-accounts' }),
  },
]

const nodeSans = ({ name }: { readonly name: string }) => [name, loopback]

/** The control node runs no kubelet. */
function nodeCert({ name, sans, role }: ClusterNode): CertKind | undefined {
  if (role !== 'worker') return undefined
  return {
    ...shared.kubelet,
    name,
    subject: withLocation({ O: 'system:nodes', CN: nodeUser(name) }),
    sans: () => [...nodeSans({ name }), ...sans],
    on: { worker: [...pair, ...kubeconfig] },
  }
}

function userCert(user: ClusterUser): CertKind {
  const { name, groups, validity } = user
  return { ...shared.user(user), subject: () => ({ O: groups, CN: name }), validity }
}

function serviceSans({ clusterDomain, serviceCIDRs }: Cluster['network']): string[] {
  return [
    ...serviceCIDRs.map(firstAddress),
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.svc.${clusterDomain}`,
  ]
}

function apiSans({ api, network, domain }: ApiNaming): string[] {
  return [
    loopback,
    ...serviceSans(network),
    'kubernetes.default.svc.cluster',
    api.host,
    `api-server.${domain}`,
    ...api.extraSANs,
  ]
}

const files = fileNames({ endings: { certificate: '.crt', key: '.key' }, names })
const ca = files.certificate(caName)
const kubelet = '/var/lib/kubelet'

const units: readonly UnitRow[] = [
  {
    unit: store,
    on: ['control'],
    reads: [],
    serves: [],
    health: { port: 2379, path: '/health', isPlain: true, isLocal: true },
    isQueried: true,
  },
  {
    unit: apiServer,
    on: ['control'],
    reads: shared.apiServerReads(files, shared.sharedEtcd(names.api)),
    serves: [{ port: 6443, name: names.api, selfMade: shared.loopback }],
    // Its certificate has no address of the node but this one.
    health: { port: 6443, path: '/readyz', as: names.admin, isLocal: true },
    isQueried: true,
  },
  shared.controllerManagerUnit(files),
  shared.schedulerUnit,
  {
    unit: 'kubelet',
    config: '/var/lib/kubelet/kubelet-config.yaml',
    on: ['worker'],
    reads: shared.kubeletReads(
      files,
      { ca: `${kubelet}/${ca}`, pair: [`${kubelet}/kubelet.crt`, `${kubelet}/kubelet.key`] },
      files.pair(NODE),
    ),
    serves: [shared.kubeletPort],
    health: { port: 10250, path: '/healthz', as: names.api, isLocal: true },
    metrics: { port: 10250, path: '/metrics', as: names.admin, isLocal: true },
    isInstalledEarly: true,
  },
  { ...shared.proxyUnit, on: ['worker'], isInstalledEarly: true },
]

function problems({ nodes }: Raw): Problem[] {
  const roles = list(nodes).map((node) => map(node).role)
  const first = roles.indexOf('control')
  return [
    ...roles.flatMap((role, i): Problem[] => {
      const path = ['nodes', i, 'role']
      if (role === 'gateway') return [{ path, message: 'layout hard-way has no load balancer; leave this node out' }]
      return role === 'control' && i !== first
        ? [
            {
              path,
              message:
                'layout hard-way has one control node; its etcd listens only on loopback, and kubeconfigs name one API server',
            },
          ]
        : []
    }),
  ]
}

export const hardWay: Layout = {
  name: 'hard-way',
  guide: 'Kubernetes The Hard Way',
  files,
  defaults: {
    domain: 'kubernetes.local',
    subject: { country: 'US', state: 'Washington', locality: 'Seattle' },
    certificates: { key: 'rsa-4096', validity: '3653d', caValidity: '3653d' },
    api: { host: 'server.kubernetes.local' },
    network: { serviceCIDR: '10.32.0.0/24' },
    ssh: { user: 'root' },
  },
  without: new Map([
    ['api.virtualIP', 'the guide has no load balancer'],
    ['etcd.ca', 'etcd has no TLS, and listens only on loopback'],
    ['subject.organization', 'each certificate has its own O'],
    ['subject.organizationalUnit', 'no certificate has an OU'],
  ]),
  problems,
  certs,
  nodeCert,
  userCert,
  nodeSans,
  apiSans,
  serviceSans,
  units,
  etcd: undefined,
  aggregation: shared.aggregationOf(files, (CN) => withLocation({ CN }), {
    // No kube-proxy runs on its server, so Services have no addresses there: it dials their pods.
    '--enable-aggregator-routing': 'true',
  }),
}
