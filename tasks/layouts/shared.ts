/** What the guides have in common: what certificates are for, and where units read them. */
import type { ClusterNode, ClusterUser } from '../../lib/cluster/cluster.ts'
import {
  authorizationConfigFile,
  authorizationWebhookFile,
  caName,
  encryptionConfigFile,
  type FileNames,
  frontProxyCaName,
  kubeconfigFile,
} from '../../lib/files/auth-dir.ts'
import { nodeUser } from '../../lib/kubernetes/authorization.ts'
import type { CertKind, OfCert, Reads, StartFlag, UnitRow } from './layout.ts'

export const pair: readonly OfCert[] = ['certificate', 'key']
export const kubeconfig: readonly OfCert[] = ['kubeconfig']

/** As the allowed name has it, too: https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/ */
export const frontProxyClient = 'front-proxy-client'

const client = { phase: 'component-certs', isClient: true, usages: ['client'] } satisfies Partial<CertKind>

/** What a guide does not add to these rows is the same in each. */
export const certs = {
  ca: {
    phase: 'ca',
    name: caName,
    purpose: 'signs the rest',
    irreplaceable: { part: 'whole', label: 'CA', loss: 'this cluster identity, and reissue every certificate' },
  },
  // As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name. So it
  // has both usages, as each member of etcd needs: the gRPC gateway of etcd dials etcd with the pair that etcd serves
  // by.
  api: { phase: 'cluster-cert', purpose: 'API', subject: { CN: 'kubernetes' }, on: { control: pair } },
  admin: {
    ...client,
    name: 'admin',
    purpose: 'administrators',
    subject: { O: 'system:masters', CN: 'admin' },
    on: { control: kubeconfig },
  },
  scheduler: {
    ...client,
    name: 'kube-scheduler',
    purpose: 'scheduler',
    subject: { O: 'system:kube-scheduler', CN: 'system:kube-scheduler' },
    on: { control: kubeconfig },
  },
  controllerManager: {
    ...client,
    name: 'kube-controller-manager',
    purpose: 'controllers',
    subject: { O: 'system:kube-controller-manager', CN: 'system:kube-controller-manager' },
    on: { control: kubeconfig },
  },
  proxy: {
    ...client,
    name: 'kube-proxy',
    purpose: 'proxies',
    subject: { O: 'system:node-proxier', CN: 'system:kube-proxy' },
  },
  // Its key signs the tokens of every service account: it stays when the certificate is issued again. It needs no usage:
  // API servers read its key alone.
  tokens: {
    phase: 'component-certs',
    usages: ['client'],
    purpose: 'signs tokens',
    subject: { CN: 'service-accounts' },
    on: { control: pair },
    irreplaceable: { part: 'key', label: 'service-account key', loss: 'every service-account token' },
  },
  frontProxyCa: {
    when: 'aggregation',
    phase: 'ca',
    name: frontProxyCaName,
    purpose: 'signs for aggregation',
    subject: { CN: 'Kubernetes front proxy' },
    // Its key is needed where certificates are made, and nowhere else.
    on: { control: ['certificate'] },
    irreplaceable: { part: 'whole', label: 'front-proxy CA', loss: 'aggregated APIs, until all have the next CA' },
  },
  frontProxyClient: {
    when: 'aggregation',
    phase: 'component-certs',
    name: frontProxyClient,
    issuer: frontProxyCaName,
    usages: ['client'],
    purpose: 'API to aggregated APIs',
    subject: { CN: frontProxyClient },
    on: { control: pair },
  },
} satisfies Record<string, Partial<CertKind>>

/** It serves the kubelet, and is its client of the API: both usages. */
export function kubeletCert({ name, role }: ClusterNode): CertKind {
  return {
    phase: 'node-certs',
    name,
    node: name,
    isClient: true,
    purpose: 'kubelet',
    subject: { O: 'system:nodes', CN: nodeUser(name) },
    on: { [role]: [...pair, ...kubeconfig] },
  }
}

export function userCert({ name, groups, validity }: ClusterUser): CertKind {
  return { ...client, phase: 'user-certs', name, purpose: 'user', subject: { O: groups, CN: name }, on: {}, validity }
}

export function inFolder(folder: string, file: string): Pick<Reads, 'file' | 'usual'> {
  return { file, usual: `${folder}/${file}` }
}

export const ofControl = (file: string) => inFolder('/var/lib/kubernetes', file)

/** kube-apiserver's client of itself: LoopbackClientServerNameOverride of k8s.io/apiserver. */
export const loopback = 'apiserver-loopback-client'

export function apiServerReads({ certificate, key, names }: FileNames): Reads[] {
  const ca = ofControl(certificate(caName))
  const [ownCertificate, ownKey] = [ofControl(certificate(names.api)), ofControl(key(names.api))]
  const aggregation = { when: 'aggregation', loads: 'now', isOptional: true, isDesired: true } as const
  return [
    { by: ['--client-ca-file'], ...ca, loads: 'now' },
    { by: ['--kubelet-certificate-authority'], ...ca, loads: 'restart', isOptional: true },
    // keyutil.PublicKeysFromFile of client-go
    { by: ['--service-account-key-file'], ...ofControl(certificate(names.tokens)), loads: 'restart', isOfKeys: true },
    { by: ['--service-account-signing-key-file'], ...ofControl(key(names.tokens)), loads: 'restart' },
    {
      by: ['--encryption-provider-config'],
      ...ofControl(encryptionConfigFile),
      loads: 'restart',
      mayReload: true,
      isOptional: true,
    },
    // The next names it, and it has to be there before that.
    { when: 'revoked', by: [], ...ofControl(authorizationWebhookFile), loads: 'now' },
    {
      when: 'revoked',
      by: ['--authorization-config'],
      replaces: ['--authorization-mode'],
      ...ofControl(authorizationConfigFile),
      loads: 'now',
    },
    { by: ['--tls-cert-file'], ...ownCertificate, loads: 'now' },
    { by: ['--tls-private-key-file'], ...ownKey, loads: 'now' },
    { by: ['--kubelet-client-certificate'], ...ownCertificate, loads: 'now', isOptional: true },
    { by: ['--kubelet-client-key'], ...ownKey, loads: 'now', isOptional: true },
    // As kubeadm has them. All three are reloaded: authentication.go of k8s.io/apiserver (NewDynamicCAContentFromFile),
    // and apiserver.go of k8s.io/kube-aggregator (NewDynamicServingContentFromFiles), read in 1.36.
    { by: ['--requestheader-client-ca-file'], ...ofControl(certificate(frontProxyCaName)), ...aggregation },
    { by: ['--proxy-client-cert-file'], ...ofControl(certificate(frontProxyClient)), ...aggregation },
    { by: ['--proxy-client-key-file'], ...ofControl(key(frontProxyClient)), ...aggregation },
  ]
}

export function aggregationFlags(files: FileNames, more: Readonly<Record<string, string>> = {}): StartFlag[] {
  const flags = {
    '--requestheader-allowed-names': frontProxyClient,
    '--requestheader-username-headers': 'X-Remote-User',
    '--requestheader-group-headers': 'X-Remote-Group',
    '--requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    ...more,
  }
  const file = files.certificate(frontProxyCaName)
  return Object.entries(flags).map(([flag, value]) => ({ when: 'aggregation', flag, value, file }))
}

/** Where a --config is given, the flag has no effect. */
const byClient = ['clientConnection.kubeconfig', '--kubeconfig']

/** The questions that a component is asked are delegated with the kubeconfig that it has for its own. */
const delegation = (file: string): Reads[] => [
  { by: ['--authentication-kubeconfig'], ...ofControl(file), loads: 'restart', isOptional: true },
  { by: ['--authorization-kubeconfig'], ...ofControl(file), loads: 'restart', isOptional: true },
]

export function controllerManagerUnit({ certificate, key, names }: FileNames): UnitRow {
  const [ca, caKey] = [ofControl(certificate(caName)), ofControl(key(caName))]
  const file = kubeconfigFile('kube-controller-manager')
  return {
    unit: 'kube-controller-manager',
    on: ['control'],
    reads: [
      { by: ['--root-ca-file'], ...ca, loads: 'restart', isOptional: true },
      { by: ['--cluster-signing-cert-file'], ...ca, loads: 'restart', isOptional: true },
      { by: ['--client-ca-file'], ...ca, loads: 'now', isOptional: true },
      { by: ['--cluster-signing-key-file'], ...caKey, loads: 'restart', isOptional: true },
      {
        by: ['--service-account-private-key-file'],
        ...ofControl(key(names.tokens)),
        loads: 'restart',
        isOptional: true,
      },
      { by: ['--kubeconfig'], ...ofControl(file), loads: 'restart' },
      ...delegation(file),
    ],
    serves: [],
    health: { port: 10257, path: '/healthz', isLocal: true, isSelfSigned: true },
  }
}

export const schedulerUnit: UnitRow = {
  unit: 'kube-scheduler',
  config: '/etc/kubernetes/config/kube-scheduler.yaml',
  on: ['control'],
  reads: [
    { by: byClient, ...ofControl(kubeconfigFile('kube-scheduler')), loads: 'restart' },
    ...delegation(kubeconfigFile('kube-scheduler')),
  ],
  serves: [],
  health: { port: 10259, path: '/healthz', isLocal: true, isSelfSigned: true },
}

export const proxyUnit: UnitRow = {
  unit: 'kube-proxy',
  config: '/var/lib/kube-proxy/kube-proxy-config.yaml',
  on: ['worker'],
  reads: [
    { by: byClient, file: kubeconfigFile('kube-proxy'), usual: '/var/lib/kube-proxy/kubeconfig', loads: 'restart' },
  ],
  serves: [],
  health: { port: 10256, path: '/healthz', isPlain: true, isLocal: true },
  metrics: { port: 10249, path: '/metrics', isPlain: true, isLocal: true },
}
