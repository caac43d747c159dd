/** The guide's deployauth.sh and setuplocalkubeconfig.sh: scp to one node after the other, and kubectl. */
import { command } from './command.ts'
import { clusterOptions, credentialOptions } from './genauth.ts'
import type { GuideNode } from './requests.ts'

const controlFiles = [
  ...['ca.pem', 'ca-key.pem', 'kubernetes-key.pem', 'kubernetes.pem', 'service-account-key.pem', 'service-account.pem'],
  ...['admin.kubeconfig', 'kube-controller-manager.kubeconfig', 'kube-scheduler.kubeconfig', 'encryption-config.yaml'],
]

export interface Reach {
  /** For `scp -F`. */
  readonly sshConfig: string
  readonly user: string
}

export async function deployauth(auth: string, nodes: readonly GuideNode[], { sshConfig, user }: Reach): Promise<void> {
  for (const { name, role } of nodes) {
    const own = [`${name}.pem`, `${name}-key.pem`, `${name}.kubeconfig`, 'kube-proxy.kubeconfig']
    const files = role === 'control' ? [...controlFiles, ...own] : ['ca.pem', ...own]
    await command({ cwd: auth }, 'scp', '-F', sshConfig, ...files, `${user}@${name}:~`)
  }
}

/** Into the kubeconfig of that home. */
export async function setuplocalkubeconfig(auth: string, home: string): Promise<void> {
  const config = (...args: string[]) => command({ cwd: auth, home }, 'kubectl', 'config', ...args)
  await config('set-cluster', 'kubenet', ...clusterOptions)
  await config('set-credentials', 'admin', ...credentialOptions('admin'))
  await config('set-context', 'kubenet', '--cluster=kubenet', '--user=admin')
  await config('use-context', 'kubenet')
}
