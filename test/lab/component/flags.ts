/** The flags that the guide's units give, and of a shutdown; of any other the real ones and this one end. */
export type Flags = ReadonlyMap<string, string>

const known: Readonly<Record<string, readonly string[]>> = {
  'kube-apiserver': [
    ...['advertise-address', 'allow-privileged', 'apiserver-count', 'audit-log-maxage', 'audit-log-maxbackup'],
    ...['audit-log-maxsize', 'audit-log-path', 'authorization-mode', 'bind-address', 'client-ca-file'],
    ...['enable-admission-plugins', 'etcd-cafile', 'etcd-certfile', 'etcd-keyfile', 'etcd-servers', 'event-ttl'],
    ...[
      'encryption-provider-config',
      'encryption-provider-config-automatic-reload',
      'kubelet-certificate-authority',
      'kubelet-client-certificate',
    ],
    ...['kubelet-client-key', 'runtime-config', 'service-account-key-file', 'service-account-signing-key-file'],
    ...['service-account-issuer', 'service-cluster-ip-range', 'service-node-port-range', 'shutdown-delay-duration'],
    ...['shutdown-watch-termination-grace-period', 'tls-cert-file', 'tls-private-key-file', 'v'],
  ],
  'kube-controller-manager': [
    ...['bind-address', 'cluster-cidr', 'cluster-name', 'cluster-signing-cert-file', 'cluster-signing-key-file'],
    ...['kubeconfig', 'leader-elect', 'root-ca-file', 'service-account-private-key-file', 'service-cluster-ip-range'],
    ...['use-service-account-credentials', 'v'],
  ],
  'kube-scheduler': ['config', 'v'],
  kubelet: ['config', 'kubeconfig', 'v'],
  'kube-proxy': ['config', 'v'],
}

/** Throws, in the words of the real ones, of what they would not start with. */
export function parseFlags(component: string, args: readonly string[]): Flags {
  const names = known[component]
  if (names === undefined) throw new Error(`there is no component ${component}`)
  return new Map(
    args.map((arg) => {
      const [, name = '', value = 'true'] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? []
      if (name === '') throw new Error(`unknown command ${JSON.stringify(arg)} for ${JSON.stringify(component)}`)
      if (!names.includes(name)) throw new Error(`unknown flag: --${name}`)
      return [name, value]
    }),
  )
}

export function required(flags: Flags, name: string): string {
  const value = flags.get(name)
  if (!value) throw new Error(`--${name} must be specified`)
  return value
}

/** Milliseconds of a Go duration of one unit: `6s`, `500ms`, `1m`; 0 where there is none. */
export function duration(flags: Flags, name: string): number {
  const text = flags.get(name)
  if (text === undefined || text === '0') return 0
  const [, count, unit = ''] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? []
  const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit]
  if (factor === undefined) throw new Error(`invalid argument ${JSON.stringify(text)} for "--${name}" flag`)
  return Number(count) * factor
}
