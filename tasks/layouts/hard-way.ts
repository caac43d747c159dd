/**
 * Kubernetes The Hard Way, as of 2025: one control node without a kubelet, workers, and etcd without TLS on the
 * loopback address. https://github.com/kelseyhightower/kubernetes-the-hard-way: ca.conf, units/ and documents 04 to 10
 */

import { firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { caName, fileNames, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { list, map, type Problem, type Raw } from '../../lib/yaml.ts'
import { type ApiNaming, apiServer, type CertKind, type Layout, NODE, store, type UnitRow } from './layout.ts'
import * as shared from './shared.ts'

const names = { api: 'kube-api-server', admin: shared.certs.admin.name, tokens: 'service-accounts' } as const
const loopback = '127.0.0.1'

const nodeSans = ({ name }: { readonly name: string }) => [name, loopback]

const { scheduler, controllerManager, proxy } = shared.certs
const certs: readonly CertKind[] = [
  { ...shared.certs.ca, subject: { CN: 'CA' }, on: { control: shared.pair, worker: ['certificate'] } },
  { ...shared.certs.api, name: names.api, sans: apiSans },
  { ...shared.certs.admin, hasNoLocation: true, dials: loopback },
  {
    ...scheduler,
    // A slip of the guide's, which harms nothing: Kubernetes binds roles to the user.
    tolerated: [{ O: `system:${scheduler.subject.O}`, CN: scheduler.subject.CN }],
    sans: () => nodeSans(scheduler),
  },
  { ...controllerManager, sans: () => nodeSans(controllerManager) },
  { ...proxy, sans: () => nodeSans(proxy), on: { worker: shared.kubeconfig } },
  { ...shared.certs.tokens, name: names.tokens, hasNoLocation: true },
  shared.certs.frontProxyCa,
  shared.certs.frontProxyClient,
]

function nodeCert(node: ClusterNode): CertKind | undefined {
  if (node.role !== 'worker') return undefined
  return { ...shared.kubeletCert(node), sans: () => [...nodeSans(node), ...node.sans] }
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
    reads: shared.apiServerReads(files),
    // No kube-proxy runs on its server, so Services have no addresses there: it dials their pods.
    startFlags: shared.aggregationFlags(files, { '--enable-aggregator-routing': 'true' }),
    serves: [{ port: 6443, name: names.api, selfMade: shared.loopback }],
    // Its certificate has no address of the node but this one.
    health: { port: 6443, path: '/readyz', as: names.admin, isLocal: true },
    isQueried: true,
  },
  shared.controllerManagerUnit(files),
  shared.schedulerUnit,
  {
    unit: 'kubelet',
    config: `${kubelet}/kubelet-config.yaml`,
    on: ['worker'],
    reads: [
      {
        by: ['--client-ca-file', 'authentication.x509.clientCAFile'],
        ...shared.inFolder(kubelet, files.certificate(caName)),
        loads: 'now',
      },
      {
        by: ['--tls-cert-file', 'tlsCertFile'],
        file: files.certificate(NODE),
        usual: `${kubelet}/kubelet.crt`,
        loads: 'now',
      },
      {
        by: ['--tls-private-key-file', 'tlsPrivateKeyFile'],
        file: files.key(NODE),
        usual: `${kubelet}/kubelet.key`,
        loads: 'now',
      },
      { by: ['--kubeconfig'], file: kubeconfigFile(NODE), usual: `${kubelet}/kubeconfig`, loads: 'restart' },
    ],
    serves: [{ port: 10250, name: NODE }],
    health: { port: 10250, path: '/healthz', as: names.api, isLocal: true },
    metrics: { port: 10250, path: '/metrics', as: names.admin, isLocal: true },
    isInstalledEarly: true,
  },
  { ...shared.proxyUnit, on: ['worker'], isInstalledEarly: true },
]

function problems({ nodes }: Raw): Problem[] {
  const roles = list(nodes).map((node) => map(node).role)
  const oneControl =
    'layout hard-way has one control node; its etcd listens only on loopback, and kubeconfigs name one API server'
  return roles.flatMap((role, i): Problem[] => {
    const path = ['nodes', i, 'role']
    if (role === 'gateway') return [{ path, message: 'layout hard-way has no load balancer; leave this node out' }]
    return role === 'control' && roles.indexOf(role) < i ? [{ path, message: oneControl }] : []
  })
}

export const hardWay: Layout = {
  name: 'hard-way',
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
  subject: (named) => named,
  nodeCert,
  userCert: (user) => ({ ...shared.userCert(user), hasNoLocation: true }),
  nodeSans,
  apiSans,
  serviceSans,
  units,
  etcd: undefined,
}
