/** Which files of auth/ belong on a node, by its role: the guide's lists, and ca.pem for a gateway. */

import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'

const controlPlane = [
  'ca.pem',
  'ca-key.pem',
  'kubernetes.pem',
  'kubernetes-key.pem',
  'service-account.pem',
  'service-account-key.pem',
  'admin.kubeconfig',
  'kube-controller-manager.kubeconfig',
  'kube-scheduler.kubeconfig',
  'kube-proxy.kubeconfig',
  'encryption-config.yaml',
]

export function nodeFiles({ name, role }: ClusterNode): string[] {
  const own = [`${name}.pem`, `${name}-key.pem`, `${name}.kubeconfig`]
  switch (role) {
    case 'control':
      return [...controlPlane, ...own]
    case 'worker':
      return ['ca.pem', 'kube-proxy.kubeconfig', ...own]
    case 'gateway':
      return ['ca.pem']
    default:
      return role satisfies never
  }
}

export function fileMode(name: string): number {
  return name.endsWith('.pem') && !name.endsWith('-key.pem') ? publicMode : secretMode
}
