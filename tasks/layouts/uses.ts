/** What the certificates of any layout are for. */
import type { ClusterUser } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/names.ts'
import { formatNames } from '../../lib/wording.ts'
import type { CertUse, OfCert } from './layout.ts'

export const pair: readonly OfCert[] = ['certificate', 'key']
export const kubeconfig: readonly OfCert[] = ['kubeconfig']

type Use = Omit<CertUse, 'name' | 'on'>

export const ca: Use & Pick<CertUse, 'name'> = {
  phase: 'ca',
  name: caName,
  isClient: false,
  purpose: 'signs the rest',
  power: 'becomes anyone: signs certificates for any user and any server',
  isCritical: true,
  irreplaceable: { part: 'whole', label: 'CA', loss: 'this cluster identity, and have every certificate reissued' },
}

/** As a client of etcd and the kubelets the API server is the user "kubernetes": roles are bound to that name. */
export const api: Use = {
  phase: 'cluster-cert',
  isClient: false,
  purpose: 'API, etcd',
  power: 'reads and changes all of etcd, commands every kubelet, stands in for the API',
  isCritical: true,
}

export const admin: Use = {
  phase: 'component-certs',
  isClient: true,
  purpose: 'administrators',
  power: 'does everything through the API, bypassing RBAC',
  isCritical: true,
}

export const scheduler: Use = {
  phase: 'component-certs',
  isClient: true,
  purpose: 'scheduler',
  power: 'places pods on nodes',
}

export const controllerManager: Use = {
  phase: 'component-certs',
  isClient: true,
  purpose: 'controllers',
  power: 'reads Secrets and makes tokens through the API',
}

export const proxy: Use = {
  phase: 'component-certs',
  isClient: true,
  purpose: 'proxies',
  power: 'reads services, endpoints and nodes',
}

/** Its key signs the tokens of every service account: it stays when the certificate is issued again. */
export const tokens: Use = {
  phase: 'component-certs',
  isClient: false,
  purpose: 'signs tokens',
  power: 'signs a token for any service account',
  isCritical: true,
  irreplaceable: { part: 'key', label: 'service-account key', loss: 'every service-account token there is' },
}

export const kubelet: Use = {
  phase: 'node-certs',
  isClient: true,
  purpose: 'kubelet',
  power: 'acts as this node, and reads the Secrets of its pods',
}

export function user({ name, groups }: ClusterUser): CertUse {
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
