/** Kubernetes The Hard Way: its machines, its units with the flags that matter, and how its documents place files. */
import type { Guide } from './guide.ts'
import type { Machines } from './machines.ts'
import { realBinaries } from './shared.ts'
import { kubelet, proxy, scheduler, type Unit } from './unit.ts'

const machines = [
  { name: 'server', role: 'control', ip: '192.168.1.11' },
  { name: 'node-0', role: 'worker', ip: '192.168.1.12' },
  { name: 'node-1', role: 'worker', ip: '192.168.1.13' },
] as const
const workers = machines.filter(({ role }) => role === 'worker')
const domain = 'kubernetes.local'
const server = `server.${domain}`
const [kubernetes, kubeletFolder, proxyFolder] = ['/var/lib/kubernetes', '/var/lib/kubelet', '/var/lib/kube-proxy']
const apiPair = [`${kubernetes}/kube-api-server.crt`, `${kubernetes}/kube-api-server.key`]

const etcd: Unit = {
  name: 'etcd',
  service: ['Type=notify'],
  command: [
    ...['--name=controller', '--initial-advertise-peer-urls=http://127.0.0.1:2380'],
    ...['--listen-peer-urls=http://127.0.0.1:2380', '--listen-client-urls=http://127.0.0.1:2379'],
    ...['--advertise-client-urls=http://127.0.0.1:2379', '--initial-cluster-token=etcd-cluster-0'],
    ...['--initial-cluster=controller=http://127.0.0.1:2380', '--initial-cluster-state=new'],
    '--data-dir=/var/lib/etcd',
  ],
}

const apiServer: Unit = {
  name: 'kube-apiserver',
  command: [
    ...['--allow-privileged=true', '--authorization-mode=Node,RBAC', '--bind-address=0.0.0.0'],
    ...[`--client-ca-file=${kubernetes}/ca.crt`, '--etcd-servers=http://127.0.0.1:2379'],
    `--encryption-provider-config=${kubernetes}/encryption-config.yaml`,
    `--kubelet-certificate-authority=${kubernetes}/ca.crt`,
    ...[`--kubelet-client-certificate=${apiPair[0]}`, `--kubelet-client-key=${apiPair[1]}`],
    `--service-account-key-file=${kubernetes}/service-accounts.crt`,
    `--service-account-signing-key-file=${kubernetes}/service-accounts.key`,
    ...[`--service-account-issuer=https://${server}:6443`, '--service-node-port-range=30000-32767'],
    ...[`--tls-cert-file=${apiPair[0]}`, `--tls-private-key-file=${apiPair[1]}`, '--v=2'],
  ],
}

const controllerManager: Unit = {
  name: 'kube-controller-manager',
  command: [
    ...['--bind-address=0.0.0.0', '--cluster-cidr=10.200.0.0/16', '--cluster-name=kubernetes'],
    ...[`--cluster-signing-cert-file=${kubernetes}/ca.crt`, `--cluster-signing-key-file=${kubernetes}/ca.key`],
    ...[`--kubeconfig=${kubernetes}/kube-controller-manager.kubeconfig`, `--root-ca-file=${kubernetes}/ca.crt`],
    `--service-account-private-key-file=${kubernetes}/service-accounts.key`,
    ...['--service-cluster-ip-range=10.32.0.0/24', '--use-service-account-credentials=true', '--v=2'],
  ],
}

const kubeletUnit = kubelet({
  ca: `${kubeletFolder}/ca.crt`,
  cert: `${kubeletFolder}/kubelet.crt`,
  key: `${kubeletFolder}/kubelet.key`,
})

/** What its documents make, on the jumpbox. */
export const jumpbox = 'kubernetes-the-hard-way'

/** Documents 04 to 06 and 08, for the files in the folder `jumpbox`. */
export async function placeFiles(lab: Machines): Promise<void> {
  const [ssh, scp] = ['ssh', 'scp -q'].map((program) => `${program} -F ../lab/ssh_config`)
  const ofServer = [
    ...['ca.key', 'ca.crt', 'kube-api-server.key', 'kube-api-server.crt', 'service-accounts.key'],
    ...['service-accounts.crt', 'encryption-config.yaml', 'kube-controller-manager.kubeconfig'],
    'kube-scheduler.kubeconfig',
  ]
  await lab.exec(`set -e; cd ${jumpbox}
    for host in ${workers.map(({ name }) => name).join(' ')}; do
      ${ssh} root@$host mkdir -p ${kubeletFolder} ${proxyFolder}
      ${scp} ca.crt root@$host:${kubeletFolder}/
      ${scp} $host.crt root@$host:${kubeletFolder}/kubelet.crt
      ${scp} $host.key root@$host:${kubeletFolder}/kubelet.key
      ${scp} kube-proxy.kubeconfig root@$host:${proxyFolder}/kubeconfig
      ${scp} $host.kubeconfig root@$host:${kubeletFolder}/kubeconfig
    done
    ${scp} admin.kubeconfig ${ofServer.join(' ')} root@server:
    ${ssh} root@server 'mkdir -p /etc/etcd ${kubernetes}
      cp ca.crt kube-api-server.key kube-api-server.crt /etc/etcd/
      mv ${ofServer.join(' ')} ${kubernetes}/'`)
}

/** By Go: OpenSSL, and so curl, does not accept the nsCertType of this guide's servers. */
const asAdmin = `kubectl --certificate-authority=${jumpbox}/ca.crt --client-certificate=${jumpbox}/admin.crt --client-key=${jumpbox}/admin.key`

export const hardWay: Guide = {
  machines,
  hosts: machines.map(
    ({ name, ip }) => `${ip} ${name} ${name}.${domain}${name === 'server' ? ` api-server.${domain}` : ''}`,
  ),
  home: '/root',
  cluster: 'name: kubernetes-the-hard-way\nlayout: hard-way\n',
  units: ({ role }) =>
    role === 'control' ? [etcd, apiServer, controllerManager, scheduler] : [kubeletUnit, proxy('10.200.0.0/16')],
  checks: [
    `${asAdmin} --server=https://${server}:6443 get --raw=/readyz`,
    ...workers.map(({ name }) => `${asAdmin} --server=https://${name}:10250 get --raw=/healthz`),
    // The controller manager makes it, once it leads; the stand-in has it always.
    ...(realBinaries
      ? [`${asAdmin} --server=https://${server}:6443 get --raw=/api/v1/namespaces/default/serviceaccounts/default`]
      : []),
  ],
  probed: { api: `https://${server}:6443`, ca: 'ca.crt', admin: ['admin.crt', 'admin.key'] },
}
