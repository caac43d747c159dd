/**
 * Kubernetes "the harder way": three control nodes behind a load balancer, the guide's chapters 4 to 6.
 * Users are CN, groups are O: https://kubernetes.io/docs/setup/best-practices/certificates/
 */

import { addressBytes, firstAddress } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { caName, etcdCaName, fileNames, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import {
  type ApiNaming,
  apiServer,
  type CertKind,
  type Layout,
  NODE,
  type Reads,
  store,
  type UnitRow,
} from './layout.ts'
import * as shared from './shared.ts'

const { pair, kubeconfig } = shared

const names = { api: 'kubernetes', admin: shared.certs.admin.name, tokens: 'service-account' } as const

/** As kubeadm has them: https://kubernetes.io/docs/setup/best-practices/certificates/ */
const ownEtcd = { ca: etcdCaName, server: 'etcd', client: 'apiserver-etcd-client' } as const
const etcd = { shared: { ca: caName, server: names.api, client: names.api }, own: ownEtcd } as const

const certs: readonly CertKind[] = [
  {
    ...shared.certs.ca,
    subject: { CN: 'Kubernetes' },
    on: { control: pair, worker: ['certificate'], gateway: ['certificate'] },
  },
  { ...shared.certs.api, name: names.api, sans: apiSans },
  shared.certs.admin,
  shared.certs.scheduler,
  shared.certs.controllerManager,
  { ...shared.certs.proxy, on: { control: kubeconfig, worker: kubeconfig } },
  { ...shared.certs.tokens, name: names.tokens },
  {
    when: 'etcd.ca: own',
    phase: 'ca',
    name: ownEtcd.ca,
    purpose: 'signs for etcd',
    on: { control: pair },
    irreplaceable: { part: 'whole', label: 'etcd CA', loss: 'etcd and its clients, until all have the next CA' },
    subject: { CN: 'Kubernetes etcd' },
    // A running cluster begins with the one that it had, under that name.
    tolerated: [{ CN: 'Kubernetes' }],
  },
  {
    when: 'etcd.ca: own',
    phase: 'component-certs',
    name: ownEtcd.server,
    issuer: ownEtcd.ca,
    purpose: 'etcd',
    on: { control: pair },
    subject: { CN: ownEtcd.server },
    sans: etcdSans,
  },
  {
    when: 'etcd.ca: own',
    phase: 'component-certs',
    name: ownEtcd.client,
    issuer: ownEtcd.ca,
    usages: ['client'],
    purpose: 'API to etcd',
    on: { control: pair },
    subject: { CN: ownEtcd.client },
  },
  shared.certs.frontProxyCa,
  shared.certs.frontProxyClient,
]

const nodeSans: Layout['nodeSans'] = ({ name, ips }, domain) => [name, `${name}.${domain}`, ...ips]

function nodeCert(node: ClusterNode): CertKind | undefined {
  if (node.role === 'gateway') return undefined
  // The API server dials a kubelet by its host name, then by its address.
  return { ...shared.kubeletCert(node), sans: ({ domain }) => [...nodeSans(node, domain), ...node.sans] }
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

const files = fileNames({ endings: { certificate: '.pem', key: '-key.pem' }, names })

const ofKubelet = (file: string) => shared.inFolder('/var/lib/kubelet', file)

/**
 * What a unit reloads and what needs a restart was read in the code of Kubernetes 1.34 and etcd 3.5, and tried on
 * these, 1.36 and 3.6: etcd's client/pkg/transport/listener.go and tlsutil.go (its CA: etcd#11555),
 * dynamiccertificates/dynamic_serving_content.go and dynamic_cafile_content.go,
 * kubeapiserver/options/authentication.go; the kubelet's serving pair: kubernetes#133001.
 */
const units: readonly UnitRow[] = [
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
  etcdUnit('shared'),
  etcdUnit('own'),
  {
    unit: apiServer,
    on: ['control'],
    reads: [...shared.apiServerReads(files), ...etcdReads('shared'), ...etcdReads('own')],
    startFlags: shared.aggregationFlags(files),
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
    reads: [
      {
        by: ['--client-ca-file', 'authentication.x509.clientCAFile'],
        ...shared.ofControl(files.certificate(caName)),
        loads: 'now',
      },
      { by: ['--tls-cert-file', 'tlsCertFile'], ...ofKubelet(files.certificate(NODE)), loads: 'now' },
      { by: ['--tls-private-key-file', 'tlsPrivateKeyFile'], ...ofKubelet(files.key(NODE)), loads: 'now' },
      { by: ['--kubeconfig'], file: kubeconfigFile(NODE), usual: '/var/lib/kubelet/kubeconfig', loads: 'restart' },
    ],
    serves: [{ port: 10250, name: NODE }],
    health: { port: 10250, path: '/healthz', as: names.api },
    metrics: { port: 10250, path: '/metrics', as: names.admin },
  },
  { ...shared.proxyUnit, on: ['control', 'worker'] },
]

/** The guide's etcd, or one with its own CA. A --config-file is then the only one that counts (etcd's page). */
function etcdUnit(kind: keyof typeof etcd): UnitRow {
  const { ca, server, client } = etcd[kind]
  const caFile = { file: files.certificate(ca), usual: '/etc/etcd/ca.pem', loads: 'restart' } as const
  const certificate = { file: files.certificate(server), usual: '/etc/etcd/kubernetes.pem', loads: 'now' } as const
  const key = { file: files.key(server), usual: '/etc/etcd/kubernetes-key.pem', loads: 'now' } as const
  return {
    when: `etcd.ca: ${kind}`,
    unit: store,
    on: ['control'],
    reads: [
      { by: ['client-transport-security.trusted-ca-file', '--trusted-ca-file'], ...caFile },
      { by: ['client-transport-security.cert-file', '--cert-file'], ...certificate },
      { by: ['client-transport-security.key-file', '--key-file'], ...key },
      { by: ['peer-transport-security.trusted-ca-file', '--peer-trusted-ca-file'], ...caFile, isOptional: true },
      { by: ['peer-transport-security.cert-file', '--peer-cert-file'], ...certificate, isOptional: true },
      { by: ['peer-transport-security.key-file', '--peer-key-file'], ...key, isOptional: true },
    ],
    serves: [
      { port: 2379, name: server, as: client },
      { port: 2380, name: server, as: client },
    ],
    health: { port: 2379, path: '/health', as: client, ca },
    isQueried: true,
    isQuorum: true,
  }
}

function etcdReads(kind: keyof typeof etcd): Reads[] {
  const { ca, client } = etcd[kind]
  const row = { when: `etcd.ca: ${kind}`, isOptional: true } as const
  return [
    { ...row, by: ['--etcd-cafile'], ...shared.ofControl(files.certificate(ca)), loads: 'restart' },
    { ...row, by: ['--etcd-certfile'], ...shared.ofControl(files.certificate(client)), loads: 'now' },
    { ...row, by: ['--etcd-keyfile'], ...shared.ofControl(files.key(client)), loads: 'now' },
  ]
}

export const harderWay: Layout = {
  name: 'harder-way',
  files,
  defaults: {},
  without: new Map(),
  problems: () => [],
  certs,
  // Without a group, the cluster's own organization.
  subject: ({ O, CN }, { organization, organizationalUnit: OU }) => ({ O: O ?? organization, ...(OU && { OU }), CN }),
  nodeCert,
  userCert: shared.userCert,
  nodeSans,
  apiSans,
  serviceSans,
  units,
  etcd,
}
