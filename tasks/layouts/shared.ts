/** What the guides have in common: what certificates are for, and where units read them. */
import type { Cluster, ClusterUser } from '../../lib/cluster/cluster.ts'
import {
  authorizationConfigFile,
  authorizationWebhookFile,
  caName,
  encryptionConfigFile,
  etcdCaName,
  type FileNames,
  frontProxyCaName,
  kubeconfigFile,
} from '../../lib/files/auth-dir.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import { formatNames } from '../../lib/wording.ts'
import {
  type CertKind,
  type EtcdNames,
  inFolder,
  type Layout,
  NODE,
  type OfCert,
  optional,
  type Port,
  pairsInFolder,
  type Reads,
  type UnitRow,
} from './layout.ts'

export const pair: readonly OfCert[] = ['certificate', 'key']
export const kubeconfig: readonly OfCert[] = ['kubeconfig']

/** The subject with the place that cluster.yaml names. */
export const withLocation =
  (named: Subject) =>
  ({ subject: { country: C, state: ST, locality: L } }: Cluster): Subject => ({
    ...(C && { C }),
    ...(ST && { ST }),
    ...(L && { L }),
    ...named,
  })

export const ca = {
  phase: 'ca',
  name: caName,
  purpose: 'signs the rest',
  irreplaceable: { part: 'whole', label: 'CA', loss: 'this cluster identity, and reissue every certificate' },
} satisfies Partial<CertKind>

/**
 * As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name. So it has
 * both usages, as each member of etcd needs: the gRPC gateway of etcd dials etcd with the pair that etcd serves by.
 */
export const api = {
  phase: 'cluster-cert',
  on: { control: pair },
  purpose: 'API',
} satisfies Partial<CertKind>

export const admin = {
  phase: 'component-certs',
  isClient: true,
  usages: ['client'],
  on: { control: kubeconfig },
  purpose: 'administrators',
} satisfies Partial<CertKind>

export const scheduler = {
  phase: 'component-certs',
  name: 'kube-scheduler',
  isClient: true,
  usages: ['client'],
  on: { control: kubeconfig },
  purpose: 'scheduler',
} satisfies Partial<CertKind>

export const controllerManager = {
  phase: 'component-certs',
  name: 'kube-controller-manager',
  isClient: true,
  usages: ['client'],
  on: { control: kubeconfig },
  purpose: 'controllers',
} satisfies Partial<CertKind>

export const proxy = {
  phase: 'component-certs',
  name: 'kube-proxy',
  isClient: true,
  usages: ['client'],
  purpose: 'proxies',
} satisfies Partial<CertKind>

/** Its key signs the tokens of every service account: it stays when the certificate is issued again. */
export const tokens = {
  phase: 'component-certs',
  // It needs none: API servers read its key alone.
  usages: ['client'],
  on: { control: pair },
  purpose: 'signs tokens',
  irreplaceable: { part: 'key', label: 'service-account key', loss: 'every service-account token' },
} satisfies Partial<CertKind>

/** It serves the kubelet, and is its client of the API: both usages. */
export const kubelet = {
  phase: 'node-certs',
  isClient: true,
  purpose: 'kubelet',
} satisfies Partial<CertKind>

export function user({ name, groups }: ClusterUser): Omit<CertKind, 'subject'> {
  const system = groups.filter((group) => group.startsWith('system:'))
  return {
    phase: 'user-certs',
    name,
    isClient: true,
    usages: ['client'],
    on: {},
    purpose: 'user',
    warning:
      system.length > 0
        ? `${name} has every right of ${formatNames(system)}, ${system.length === 1 ? 'a group' : 'groups'} for Kubernetes components`
        : undefined,
  }
}

/** Where etcd has no CA of its own. */
export const sharedEtcd = (api: string): EtcdNames => ({ ca: caName, server: api, client: api })

export const ownEtcd: EtcdNames = { ca: etcdCaName, server: 'etcd', client: 'apiserver-etcd-client' }

/** As kubeadm has them: https://kubernetes.io/docs/setup/best-practices/certificates/ */
export const ofOwnEtcd = {
  ca: {
    phase: 'ca',
    name: ownEtcd.ca,
    on: { control: pair },
    purpose: 'signs for etcd',
    irreplaceable: {
      part: 'whole',
      label: 'etcd CA',
      loss: 'etcd and its clients, until all have the next CA',
    },
  },
  server: {
    phase: 'component-certs',
    name: ownEtcd.server,
    issuer: ownEtcd.ca,
    on: { control: pair },
    purpose: 'etcd',
  },
  client: {
    phase: 'component-certs',
    name: ownEtcd.client,
    issuer: ownEtcd.ca,
    usages: ['client'],
    on: { control: pair },
    purpose: 'API to etcd',
  },
} satisfies Record<'ca' | 'server' | 'client', Partial<CertKind>>

/** As the allowed name has it, too: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/ */
export const frontProxy = { ca: frontProxyCaName, client: 'front-proxy-client' } as const

const ofFrontProxy = {
  ca: {
    phase: 'ca',
    name: frontProxy.ca,
    // Its key is needed where certificates are made, and nowhere else.
    on: { control: ['certificate'] },
    purpose: 'signs for aggregation',
    irreplaceable: { part: 'whole', label: 'front-proxy CA', loss: 'aggregated APIs, until all have the next CA' },
  },
  client: {
    phase: 'component-certs',
    name: frontProxy.client,
    issuer: frontProxy.ca,
    usages: ['client'],
    on: { control: pair },
    purpose: 'API to aggregated APIs',
  },
} satisfies Record<'ca' | 'client', Partial<CertKind>>

/**
 * As kubeadm has it. kube-apiserver reloads all three: authentication.go of k8s.io/apiserver
 * (NewDynamicCAContentFromFile), and apiserver.go of k8s.io/kube-aggregator (NewDynamicServingContentFromFiles), read
 * in 1.36.
 */
export function aggregationOf(
  files: FileNames,
  subject: (CN: string) => CertKind['subject'],
  more: Readonly<Record<string, string>> = {},
): Layout['aggregation'] {
  const file = files.certificate(frontProxy.ca)
  const flags = {
    '--requestheader-allowed-names': frontProxy.client,
    '--requestheader-username-headers': 'X-Remote-User',
    '--requestheader-group-headers': 'X-Remote-Group',
    '--requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    ...more,
  }
  const reads = [
    ...inFolder(kubernetes, file, 'now', '--requestheader-client-ca-file'),
    ...pairsInFolder(kubernetes, files.pair(frontProxy.client), [
      '--proxy-client-cert-file',
      '--proxy-client-key-file',
    ]),
  ]
  return {
    certs: [
      { ...ofFrontProxy.ca, subject: subject('Kubernetes front proxy') },
      { ...ofFrontProxy.client, subject: subject(frontProxy.client) },
    ],
    reads: optional(reads).map((row): Reads => ({ ...row, isWanted: true })),
    startFlags: Object.entries(flags).map(([flag, value]) => ({ flag, value, file })),
  }
}

/** Where etcd asks its clients for a certificate of this CA, whoever's, there is no authorization behind that. */
export function opensEtcd<Row extends Pick<CertKind, 'warning' | 'phase' | 'purpose'>>(row: Row): Row {
  if (row.phase === 'cluster-cert') return { ...row, purpose: `${row.purpose}, etcd` }
  if (row.phase !== 'user-certs') return row
  const etcd = 'user certificates open etcd too, bypassing RBAC; let only API servers reach port 2379'
  return { ...row, warning: [row.warning, etcd].filter(Boolean).join('; ') }
}

export const kubernetes = '/var/lib/kubernetes'

/** kube-apiserver's client of itself: LoopbackClientServerNameOverride of k8s.io/apiserver. */
export const loopback = 'apiserver-loopback-client'

export const kubeletPort: Port = { port: 10250, name: NODE }

export function apiServerReads(files: FileNames, etcd: EtcdNames): Reads[] {
  const ca = files.certificate(caName)
  const [tokenCertificate, tokenKey] = files.pair(files.names.tokens)
  const encrypts = inFolder(kubernetes, encryptionConfigFile, 'restart', '--encryption-provider-config')
  return [
    ...inFolder(kubernetes, ca, 'now', '--client-ca-file'),
    ...optional(inFolder(kubernetes, files.certificate(etcd.ca), 'restart', '--etcd-cafile')),
    ...optional(inFolder(kubernetes, ca, 'restart', '--kubelet-certificate-authority')),
    // keyutil.PublicKeysFromFile of client-go
    ...inFolder(kubernetes, tokenCertificate, 'restart', '--service-account-key-file').map(
      (row): Reads => ({ ...row, isOfKeys: true }),
    ),
    ...inFolder(kubernetes, tokenKey, 'restart', '--service-account-signing-key-file'),
    ...optional(encrypts).map((row): Reads => ({ ...row, mayReload: true })),
    // The first is named in the second, and has to be there before it.
    { by: [], file: authorizationWebhookFile, usual: `${kubernetes}/${authorizationWebhookFile}`, loads: 'now' },
    ...optional(inFolder(kubernetes, authorizationConfigFile, 'now', '--authorization-config')).map(
      (row): Reads => ({ ...row, replaces: ['--authorization-mode'] }),
    ),
    ...pairsInFolder(kubernetes, files.pair(files.names.api), ['--tls-cert-file', '--tls-private-key-file']),
    ...optional(pairsInFolder(kubernetes, files.pair(etcd.client), ['--etcd-certfile', '--etcd-keyfile'])),
    ...optional(
      pairsInFolder(kubernetes, files.pair(files.names.api), ['--kubelet-client-certificate', '--kubelet-client-key']),
    ),
  ]
}

/** Of kube-controller-manager and kube-scheduler: for the questions that they are asked, the same as for their own. */
const forDelegation = ['--authentication-kubeconfig', '--authorization-kubeconfig']

export function controllerManagerUnit({ certificate, key, names }: FileNames): UnitRow {
  return {
    unit: 'kube-controller-manager',
    on: ['control'],
    reads: [
      ...optional([
        ...inFolder(kubernetes, certificate(caName), 'restart', '--root-ca-file', '--cluster-signing-cert-file'),
        ...inFolder(kubernetes, certificate(caName), 'now', '--client-ca-file'),
        ...inFolder(kubernetes, key(caName), 'restart', '--cluster-signing-key-file'),
        ...inFolder(kubernetes, key(names.tokens), 'restart', '--service-account-private-key-file'),
      ]),
      ...inFolder(kubernetes, kubeconfigFile('kube-controller-manager'), 'restart', '--kubeconfig'),
      ...optional(inFolder(kubernetes, kubeconfigFile('kube-controller-manager'), 'restart', ...forDelegation)),
    ],
    serves: [],
    health: { port: 10257, path: '/healthz', isLocal: true, isSelfSigned: true },
  }
}

/** Where a --config is given, the flag has no effect. */
const ofClient = ['clientConnection.kubeconfig', '--kubeconfig']

export const schedulerUnit: UnitRow = {
  unit: 'kube-scheduler',
  config: '/etc/kubernetes/config/kube-scheduler.yaml',
  on: ['control'],
  reads: [
    ...inFolder(kubernetes, kubeconfigFile('kube-scheduler'), 'restart', ofClient),
    ...optional(inFolder(kubernetes, kubeconfigFile('kube-scheduler'), 'restart', ...forDelegation)),
  ],
  serves: [],
  health: { port: 10259, path: '/healthz', isLocal: true, isSelfSigned: true },
}

/** Flags take precedence over the file. */
export function kubeletReads(
  { certificate }: FileNames,
  { ca, pair: [usualCertificate, usualKey] }: { readonly ca: string; readonly pair: readonly [string, string] },
  [file, keyFile]: readonly [string, string],
): Reads[] {
  const by = (flag: string, path: string) => [`--${flag}`, path]
  return [
    {
      by: by('client-ca-file', 'authentication.x509.clientCAFile'),
      file: certificate(caName),
      usual: ca,
      loads: 'now',
    },
    { by: by('tls-cert-file', 'tlsCertFile'), file, usual: usualCertificate, loads: 'now' },
    { by: by('tls-private-key-file', 'tlsPrivateKeyFile'), file: keyFile, usual: usualKey, loads: 'now' },
    { by: ['--kubeconfig'], file: kubeconfigFile(NODE), usual: '/var/lib/kubelet/kubeconfig', loads: 'restart' },
  ]
}

export const proxyUnit: UnitRow = {
  unit: 'kube-proxy',
  config: '/var/lib/kube-proxy/kube-proxy-config.yaml',
  on: ['worker'],
  reads: [
    { by: ofClient, file: kubeconfigFile('kube-proxy'), usual: '/var/lib/kube-proxy/kubeconfig', loads: 'restart' },
  ],
  serves: [],
  health: { port: 10256, path: '/healthz', isPlain: true, isLocal: true },
  metrics: { port: 10249, path: '/metrics', isPlain: true, isLocal: true },
}
