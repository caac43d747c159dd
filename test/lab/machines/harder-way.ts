/** Kubernetes the Harder Way: its machines, and the units of its chapters 5 and 6, with the flags that matter. */
import { readFileSync } from 'node:fs'
import type { Guide } from './guide.ts'
import { realBinaries } from './shared.ts'
import { kubelet, patient, proxy, scheduler, type Unit } from './unit.ts'

/** Names and addresses as the guide has them, but for its third worker. */
const machines = [
  { name: 'control0', role: 'control', ip: '192.168.1.11' },
  { name: 'control1', role: 'control', ip: '192.168.1.12' },
  { name: 'control2', role: 'control', ip: '192.168.1.13' },
  { name: 'worker0', role: 'worker', ip: '192.168.1.14' },
  { name: 'worker1', role: 'worker', ip: '192.168.1.15' },
  { name: 'gateway', role: 'gateway', ip: '192.168.1.10' },
] as const
const members = machines.filter(({ role }) => role === 'control')
const kubernetes = '/var/lib/kubernetes'

const virtualIP = '192.168.1.21'
const domain = 'kubenet'

function etcd(name: string, ip: string): Unit {
  const [cert, key, ca] = ['kubernetes.pem', 'kubernetes-key.pem', 'ca.pem'].map((file) => `/etc/etcd/${file}`)
  return {
    name: 'etcd',
    files: { '/etc/etcd/': ['ca.pem', 'kubernetes.pem', 'kubernetes-key.pem'] },
    service: ['Type=notify'],
    command: [
      `--name=${name}`,
      ...[`--cert-file=${cert}`, `--key-file=${key}`, `--trusted-ca-file=${ca}`, '--client-cert-auth'],
      ...[`--peer-cert-file=${cert}`, `--peer-key-file=${key}`, `--peer-trusted-ca-file=${ca}`],
      ...['--peer-client-cert-auth', `--initial-advertise-peer-urls=https://${ip}:2380`],
      ...[`--listen-peer-urls=https://${ip}:2380`, `--advertise-client-urls=https://${ip}:2379`],
      ...[`--listen-client-urls=https://${ip}:2379,https://127.0.0.1:2379`, '--initial-cluster-token=etcd-cluster-0'],
      `--initial-cluster=${members.map((each) => `${each.name}=https://${each.ip}:2380`).join(',')}`,
      ...['--initial-cluster-state=new', '--data-dir=/var/lib/etcd'],
    ],
  }
}

function apiServer(ip: string): Unit {
  const pair = [`${kubernetes}/kubernetes.pem`, `${kubernetes}/kubernetes-key.pem`]
  return {
    name: 'kube-apiserver',
    files: {
      [`${kubernetes}/`]: [
        ...['ca.pem', 'kubernetes.pem', 'kubernetes-key.pem', 'encryption-config.yaml'],
        ...['service-account.pem', 'service-account-key.pem'],
      ],
    },
    command: [
      ...[`--advertise-address=${ip}`, '--allow-privileged=true', '--authorization-mode=Node,RBAC'],
      ...['--bind-address=0.0.0.0', `--client-ca-file=${kubernetes}/ca.pem`, `--etcd-cafile=${kubernetes}/ca.pem`],
      ...[`--etcd-certfile=${pair[0]}`, `--etcd-keyfile=${pair[1]}`],
      `--etcd-servers=${members.map((each) => `https://${each.ip}:2379`).join(',')}`,
      `--encryption-provider-config=${kubernetes}/encryption-config.yaml`,
      `--kubelet-certificate-authority=${kubernetes}/ca.pem`,
      ...[`--kubelet-client-certificate=${pair[0]}`, `--kubelet-client-key=${pair[1]}`],
      `--service-account-key-file=${kubernetes}/service-account.pem`,
      `--service-account-signing-key-file=${kubernetes}/service-account-key.pem`,
      ...['--service-account-issuer=https://192.168.1.21:6443', '--service-cluster-ip-range=10.32.0.0/16'],
      ...[`--tls-cert-file=${pair[0]}`, `--tls-private-key-file=${pair[1]}`, '--v=2'],
      // Without it the real one waits a minute for its watches: docs/install.md.
      '--shutdown-watch-termination-grace-period=2s',
    ],
  }
}

const controllerManager: Unit = {
  name: 'kube-controller-manager',
  files: {
    [`${kubernetes}/`]: ['ca.pem', 'ca-key.pem', 'service-account-key.pem', 'kube-controller-manager.kubeconfig'],
  },
  command: [
    ...['--bind-address=0.0.0.0', '--cluster-cidr=10.0.0.0/8', '--cluster-name=kubernetes'],
    ...[`--cluster-signing-cert-file=${kubernetes}/ca.pem`, `--cluster-signing-key-file=${kubernetes}/ca-key.pem`],
    ...[`--kubeconfig=${kubernetes}/kube-controller-manager.kubeconfig`, '--leader-elect=true'],
    ...[`--root-ca-file=${kubernetes}/ca.pem`, '--service-cluster-ip-range=10.32.0.0/16'],
    ...[`--service-account-private-key-file=${kubernetes}/service-account-key.pem`],
    ...(patient
      ? [`--leader-elect-lease-duration=${patient.lease}`, `--leader-elect-renew-deadline=${patient.deadline}`]
      : []),
    ...['--use-service-account-credentials=true', '--v=2'],
  ],
}

const schedulerUnit: Unit = { ...scheduler, files: { [`${kubernetes}/`]: ['kube-scheduler.kubeconfig'] } }

function kubeletUnit(name: string, isControl: boolean): Unit {
  const folder = '/var/lib/kubelet'
  const more = ['clusterDomain: cluster.local', 'clusterDNS: [10.32.0.10]']
  const taint = 'registerWithTaints: [{key: node-roles.kubernetes.io/control-plane, value: "", effect: NoSchedule}]'
  return {
    ...kubelet({
      ca: `${kubernetes}/ca.pem`,
      cert: `${folder}/${name}.pem`,
      key: `${folder}/${name}-key.pem`,
      more: isControl ? [...more, taint] : more,
    }),
    files: {
      [`${kubernetes}/`]: ['ca.pem'],
      [`${folder}/`]: [`${name}.pem`, `${name}-key.pem`],
      [`${folder}/kubeconfig`]: [`${name}.kubeconfig`],
    },
  }
}

const proxyUnit: Unit = {
  ...proxy('10.0.0.0/12'),
  files: { '/var/lib/kube-proxy/kubeconfig': ['kube-proxy.kubeconfig'] },
}

const asAdmin = 'curl -sSf --cacert auth/ca.pem --cert auth/admin.pem --key auth/admin-key.pem'

export const harderWay: Guide = {
  machines,
  hosts: [
    ...machines.map(({ name, ip }) => `${ip} ${name} ${name}.${domain}`),
    `${virtualIP} kubernetes kubernetes.${domain}`,
  ],
  virtualIP,
  home: '/home/ubuntu',
  cluster: readFileSync(new URL('../../../cluster.yaml', import.meta.url), 'utf8'),
  units({ name, role, ip }) {
    if (role === 'gateway') return []
    const ofNode = [kubeletUnit(name, role === 'control'), proxyUnit]
    return role === 'control' ? [etcd(name, ip), apiServer(ip), controllerManager, schedulerUnit, ...ofNode] : ofNode
  },
  checks: [
    // Where etcd has a CA of its own, nobody else opens it.
    `set ca kubernetes; [ ! -e auth/etcd-ca.pem ] || set etcd-ca apiserver-etcd-client; etcdctl --cacert=auth/$1.pem --cert=auth/$2.pem --key=auth/$2-key.pem --endpoints=${members.map(({ ip }) => `https://${ip}:2379`).join()} endpoint health`,
    ...members.map(({ ip }) => `${asAdmin} https://${ip}:6443/readyz`),
    `${asAdmin} https://kubernetes:6443/readyz`,
    ...machines.filter(({ role }) => role !== 'gateway').map(({ ip }) => `${asAdmin} https://${ip}:10250/healthz`),
    // The controller manager makes it, once it leads; the stand-in has it always.
    ...(realBinaries ? [`${asAdmin} https://kubernetes:6443/api/v1/namespaces/default/serviceaccounts/default`] : []),
  ],
  probed: {
    api: 'https://kubernetes:6443',
    ca: 'ca.pem',
    admin: ['admin.pem', 'admin-key.pem'],
    etcd: { pair: ['kubernetes.pem', 'kubernetes-key.pem'], members: members.map(({ ip }) => `https://${ip}:2379`) },
  },
}
