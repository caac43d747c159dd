/** What the guides have in common: what certificates are for, and where units read them. */
import type { Cluster, ClusterUser } from '../../lib/cluster/cluster.ts'
import { caName, encryptionConfigFile, type FileNames, kubeconfigFile } from '../../lib/files/names.ts'
import type { Subject } from '../../lib/pki/cert-spec.ts'
import { formatNames } from '../../lib/wording.ts'
import { byFile, type CertKind, inFolder, NODE, type OfCert, type Place, type Port, type UnitRow } from './layout.ts'

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
  isClient: false,
  purpose: 'signs the rest',
  power: 'becomes anyone: signs certificates for any user and any server',
  isCritical: true,
  irreplaceable: { part: 'whole', label: 'CA', loss: 'this cluster identity, and have every certificate reissued' },
} satisfies Partial<CertKind>

/** As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name. */
export const api = {
  phase: 'cluster-cert',
  isClient: false,
  on: { control: pair },
  purpose: 'API, etcd',
  power: 'reads and changes all of etcd, commands every kubelet, stands in for the API',
  isCritical: true,
} satisfies Partial<CertKind>

export const admin = {
  phase: 'component-certs',
  isClient: true,
  on: { control: kubeconfig },
  purpose: 'administrators',
  power: 'does everything through the API, bypassing RBAC',
  isCritical: true,
} satisfies Partial<CertKind>

export const scheduler = {
  phase: 'component-certs',
  name: 'kube-scheduler',
  isClient: true,
  on: { control: kubeconfig },
  purpose: 'scheduler',
  power: 'places pods on nodes',
} satisfies Partial<CertKind>

export const controllerManager = {
  phase: 'component-certs',
  name: 'kube-controller-manager',
  isClient: true,
  on: { control: kubeconfig },
  purpose: 'controllers',
  power: 'reads Secrets and makes tokens through the API',
} satisfies Partial<CertKind>

export const proxy = {
  phase: 'component-certs',
  name: 'kube-proxy',
  isClient: true,
  purpose: 'proxies',
  power: 'reads services, endpoints and nodes',
} satisfies Partial<CertKind>

/** Its key signs the tokens of every service account: it stays when the certificate is issued again. */
export const tokens = {
  phase: 'component-certs',
  isClient: false,
  // API servers read only its key: a rotation of the CA leaves it alone.
  issuer: caName,
  on: { control: pair },
  purpose: 'signs tokens',
  power: 'signs a token for any service account',
  isCritical: true,
  irreplaceable: { part: 'key', label: 'service-account key', loss: 'every service-account token there is' },
} satisfies Partial<CertKind>

export const kubelet = {
  phase: 'node-certs',
  isClient: true,
  purpose: 'kubelet',
  power: 'acts as this node, and reads the Secrets of its pods',
} satisfies Partial<CertKind>

export function user({ name, groups }: ClusterUser): Omit<CertKind, 'subject'> {
  const system = groups.filter((group) => group.startsWith('system:'))
  return {
    phase: 'user-certs',
    name,
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

export const kubernetes = '/var/lib/kubernetes'

/** kube-apiserver's client of itself: LoopbackClientServerNameOverride of k8s.io/apiserver. */
export const loopback = 'apiserver-loopback-client'

/** https://github.com/kubernetes/kubernetes/issues/133001 */
export const kubeletPort: Port = { port: 10250, name: NODE, restartsBefore: '1.36' }

export function apiServerFiles(files: FileNames): Place[] {
  const [tokenCertificate, tokenKey] = files.pair(files.names.tokens)
  return [
    ...inFolder(kubernetes, 'restart', files.certificate(caName)),
    // keyutil.PublicKeysFromFile of client-go
    { file: tokenCertificate, path: `${kubernetes}/${tokenCertificate}`, loads: 'restart', isOfKeys: true },
    ...inFolder(kubernetes, 'restart', tokenKey),
    { file: encryptionConfigFile, path: `${kubernetes}/${encryptionConfigFile}`, loads: 'restart', mayReload: true },
    ...inFolder(kubernetes, 'now', ...files.pair(files.names.api)),
  ]
}

export function controllerManagerUnit({ pair, key, names }: FileNames): UnitRow {
  return {
    unit: 'kube-controller-manager',
    on: ['control'],
    files: [
      ...inFolder(kubernetes, 'restart', ...pair(caName), key(names.tokens)),
      ...byFile(kubeconfigFile('kube-controller-manager'), `${kubernetes}/kube-controller-manager.kubeconfig`),
    ],
    serves: [],
    health: { port: 10257, path: '/healthz', isLocal: true, isSelfSigned: true },
  }
}

export const schedulerUnit: UnitRow = {
  unit: 'kube-scheduler',
  config: '/etc/kubernetes/config/kube-scheduler.yaml',
  on: ['control'],
  files: byFile(kubeconfigFile('kube-scheduler'), `${kubernetes}/kube-scheduler.kubeconfig`),
  serves: [],
  health: { port: 10259, path: '/healthz', isLocal: true, isSelfSigned: true },
}

export const proxyUnit: UnitRow = {
  unit: 'kube-proxy',
  config: '/var/lib/kube-proxy/kube-proxy-config.yaml',
  on: ['worker'],
  files: byFile(kubeconfigFile('kube-proxy'), '/var/lib/kube-proxy/kubeconfig'),
  serves: [],
  health: { port: 10256, path: '/healthz', isPlain: true, isLocal: true },
}
