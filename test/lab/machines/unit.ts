/** A unit of a guide's, as it is written on a machine. */
import { realBinaries } from './shared.ts'

export interface Unit {
  readonly name: string
  readonly command: readonly string[]
  /** Of the sections [Unit] and [Service], beside what every unit has. */
  readonly unit?: readonly string[]
  readonly service?: readonly string[]
  /** From the home folder to its place; none where the guide places them otherwise. */
  readonly files?: Readonly<Record<string, readonly string[]>>
  /** Configuration beside them: path → text. */
  readonly texts?: Readonly<Record<string, string>>
}

/** What a kubelet demands of its computer, and would set: these machines may not, and share theirs with the tests. */
const kernelSettings = {
  'vm/overcommit_memory': 1,
  'vm/panic_on_oom': 0,
  'kernel/panic': 10,
  'kernel/panic_on_oops': 1,
  'kernel/keys/root_maxkeys': 1_000_000,
  'kernel/keys/root_maxbytes': 25_000_000,
}
const shownSetting = (path: string) => `/etc/lab/sys/${path}`

/** The stand-in starts no containers. */
const onRealKubelet: Pick<Unit, 'unit' | 'service' | 'texts'> = realBinaries
  ? {
      unit: ['Requires=containerd.service', 'After=containerd.service'],
      service: [
        ...Object.keys(kernelSettings).map((path) => `BindReadOnlyPaths=${shownSetting(path)}:/proc/sys/${path}`),
        // Nor does a machine have a kernel log.
        'ExecStartPre=ln -sf /dev/null /dev/kmsg',
      ],
      texts: Object.fromEntries(
        Object.entries(kernelSettings).map(([path, value]) => [shownSetting(path), `${value}\n`]),
      ),
    }
  : {}

/**
 * A real leader that can't renew its lease within 10 s ends, which a busy computer is enough for, and counts as a
 * restart.
 */
export const patient = realBinaries ? { lease: '40s', deadline: '30s' } : undefined

const schedulerConfig = '/etc/kubernetes/config/kube-scheduler.yaml'
export const scheduler: Unit = {
  name: 'kube-scheduler',
  texts: {
    [schedulerConfig]: `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: /var/lib/kubernetes/kube-scheduler.kubeconfig
leaderElection:
  leaderElect: true
${patient ? `  leaseDuration: ${patient.lease}\n  renewDeadline: ${patient.deadline}\n` : ''}`,
  },
  command: [`--config=${schedulerConfig}`, '--v=2'],
}

/** `more`: lines of its configuration. */
export function kubelet({
  ca,
  cert,
  key,
  more = [],
}: Readonly<Record<'ca' | 'cert' | 'key', string>> & { readonly more?: readonly string[] }): Unit {
  const folder = '/var/lib/kubelet'
  return {
    ...onRealKubelet,
    name: 'kubelet',
    texts: {
      ...onRealKubelet.texts,
      [`${folder}/kubelet-config.yaml`]: `kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: ${ca}}
authorization: {mode: Webhook}
tlsCertFile: ${cert}
tlsPrivateKeyFile: ${key}
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
cgroupDriver: systemd
# A machine has no controllers of cgroups to share out, and runs no pods.
cgroupsPerQOS: false
enforceNodeAllocatable: []
${more.map((line) => `${line}\n`).join('')}`,
    },
    command: [`--config=${folder}/kubelet-config.yaml`, `--kubeconfig=${folder}/kubeconfig`, '--v=2'],
  }
}

export function proxy(clusterCIDR: string): Unit {
  const config = '/var/lib/kube-proxy/kube-proxy-config.yaml'
  return {
    name: 'kube-proxy',
    texts: {
      [config]: `kind: KubeProxyConfiguration
apiVersion: kubeproxy.config.k8s.io/v1alpha1
clientConnection:
  kubeconfig: /var/lib/kube-proxy/kubeconfig
mode: iptables
clusterCIDR: ${clusterCIDR}
# Of the whole computer: not a machine's to set.
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`,
    },
    command: [`--config=${config}`, '--v=2'],
  }
}

export function unitText({ name, command, unit = [], service = [] }: Unit): string {
  return [
    '[Unit]',
    `Description=${name}`,
    ...unit,
    '',
    '[Service]',
    ...service,
    `ExecStart=/usr/local/bin/${[name, ...command].join(' \\\n  ')}`,
    'Restart=on-failure',
    'RestartSec=5',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ].join('\n')
}
