/**
 * Where the units of a running cluster read our files, one row per unit, servers before their clients: the
 * guide's chapters 5 and 6. What a unit reloads and what needs a restart was read in the code of Kubernetes 1.34
 * and etcd 3.5; docs/install.md has the sources.
 */
import type { ClusterNode, Install } from '../../lib/cluster/cluster.ts'
import {
  caName,
  certificateFile,
  clientPairFile,
  encryptionConfigFile,
  keyFile,
  kubeconfigFile,
  pairFiles,
} from '../../lib/files/names.ts'
import type { Part } from '../../lib/kubernetes/kubeconfig.ts'

type Role = ClusterNode['role']

export interface Place {
  /** Its name in auth/. */
  readonly file: string
  /** Absolute, on the node. */
  readonly path: string
  /**
   * When the unit reads a new file: at once, or by client-go's poll, or only at its start; `reload`: within a minute, and its
   * metrics say when.
   */
  readonly by: 'itself' | 'poll' | 'restart' | 'reload'
  /** Where the unit's command line says so, it reloads the file: `by` is then `reload`. */
  readonly mayReload?: true
  /** The part of the kubeconfig that is there; without one, the whole file. */
  readonly part?: Part | undefined
  /** The unit reads nothing but the public keys in it: another certificate for the same key changes nothing for it. */
  readonly isOfKeys?: true
}

/** A port where a unit serves a certificate. */
export interface Port {
  readonly port: number
  /** The name of the certificate that it serves. */
  readonly name: string
}

/** The path that a healthy unit answers with 200. */
export interface Health {
  readonly port: number
  readonly path: string
  /** Whose credentials are presented: accepting them is part of being healthy. Undefined if anybody may query it. */
  readonly as?: string
  /** Without TLS. */
  readonly isPlain?: true
  /** Only on the loopback address. */
  readonly isLocal?: true
}

export interface Unit {
  readonly unit: string
  readonly files: readonly Place[]
  readonly serves: readonly Port[]
  readonly health?: Health
  /** Other units on the node query it: it is restarted before them, and alone. */
  readonly isQueried?: true
  /** A load balancer sends it requests: it is drained before it is restarted. */
  readonly isDrained?: true
  /** Those of all other nodes must be healthy before one is restarted. */
  readonly isQuorum?: true
  /** For a unit without a process: the file that a restart makes from the others. It counts as installed if its file exists. */
  readonly bundle?: string
  /** For root's shell. */
  readonly restart: string
}

interface Row extends Omit<Unit, 'restart'> {
  readonly on: readonly Role[]
  readonly restart?: string
}

/** Stands for the node's own name, in a name in auth/. */
const own = '<node>'
const ca = certificateFile(caName)
const [apiCertificate = '', apiKey = ''] = pairFiles('kubernetes')
const [tokenCertificate = '', tokenKey = ''] = pairFiles('service-account')

const places = (folder: string, by: Place['by'], ...files: readonly string[]): Place[] =>
  files.map((file) => ({ file, path: `${folder}/${file}`, by }))
const kubernetes = '/var/lib/kubernetes'

/** The units that are queried for more than their health. */
export const [apiServer, store] = ['kube-apiserver', 'etcd']
/** Named by file, so that a new pair is reloaded without a restart. */
const byFile = (file: string, path: string): Place[] => [
  // The pair first: at every moment the kubeconfig names a file that is there.
  { file, path: besideKubeconfig(path, file), by: 'poll', part: 'pair' },
  { file, path, by: 'restart', part: 'kubeconfig' },
]

/** client-go resolves a relative path from the kubeconfig's own folder. */
function besideKubeconfig(path: string, file: string): string {
  return path.replace(/[^/]*$/, () => clientPairFile(file))
}

const guide: readonly Row[] = [
  // ldirectord checks the API servers against the certificates that its system trusts.
  {
    unit: 'trust-store',
    on: ['gateway'],
    files: [{ file: ca, path: '/usr/local/share/ca-certificates/kubernetes-ca.crt', by: 'restart' }],
    serves: [],
    bundle: '/etc/ssl/certs/ca-certificates.crt',
    restart: 'update-ca-certificates && { ! systemctl -q is-active ldirectord || systemctl restart ldirectord; }',
  },
  {
    unit: store,
    on: ['control'],
    files: [...places('/etc/etcd', 'restart', ca), ...places('/etc/etcd', 'itself', apiCertificate, apiKey)],
    serves: [
      { port: 2379, name: 'kubernetes' },
      { port: 2380, name: 'kubernetes' },
    ],
    health: { port: 2379, path: '/health', as: 'kubernetes' },
    isQueried: true,
    isQuorum: true,
  },
  {
    unit: apiServer,
    on: ['control'],
    files: [
      ...places(kubernetes, 'restart', ca),
      // keyutil.PublicKeysFromFile of client-go
      { file: tokenCertificate, path: `${kubernetes}/${tokenCertificate}`, by: 'restart', isOfKeys: true },
      ...places(kubernetes, 'restart', tokenKey),
      { file: encryptionConfigFile, path: `${kubernetes}/${encryptionConfigFile}`, by: 'restart', mayReload: true },
      ...places(kubernetes, 'itself', apiCertificate, apiKey),
    ],
    serves: [{ port: 6443, name: 'kubernetes' }],
    health: { port: 6443, path: '/readyz', as: 'admin' },
    isQueried: true,
    isDrained: true,
  },
  {
    unit: 'kube-controller-manager',
    on: ['control'],
    files: [
      ...places(kubernetes, 'restart', ca, keyFile(caName), tokenKey),
      ...byFile(kubeconfigFile('kube-controller-manager'), `${kubernetes}/kube-controller-manager.kubeconfig`),
    ],
    serves: [],
    health: { port: 10257, path: '/healthz', isLocal: true },
  },
  {
    unit: 'kube-scheduler',
    on: ['control'],
    files: byFile(kubeconfigFile('kube-scheduler'), `${kubernetes}/kube-scheduler.kubeconfig`),
    serves: [],
    health: { port: 10259, path: '/healthz', isLocal: true },
  },
  {
    unit: 'kubelet',
    on: ['control', 'worker'],
    files: [
      ...places(kubernetes, 'itself', ca),
      ...places('/var/lib/kubelet', 'itself', certificateFile(own), keyFile(own)),
      ...byFile(kubeconfigFile(own), '/var/lib/kubelet/kubeconfig'),
    ],
    serves: [{ port: 10250, name: own }],
    health: { port: 10250, path: '/healthz', as: 'kubernetes' },
  },
  {
    unit: 'kube-proxy',
    on: ['control', 'worker'],
    files: byFile(kubeconfigFile('kube-proxy'), '/var/lib/kube-proxy/kubeconfig'),
    serves: [],
    health: { port: 10256, path: '/healthz', isPlain: true, isLocal: true },
  },
]

/** What cluster.yaml may name: each unit, with its files. */
export const knownUnits: ReadonlyMap<string, readonly string[]> = new Map(
  guide.map(({ unit, files }) => [unit, [...new Set(files.map(({ file }) => file))]]),
)

/** The units of a node, in the order of the table, as cluster.yaml has them. */
export function nodeUnits({ name, role }: ClusterNode, { units }: Pick<Install, 'units'>): Unit[] {
  const itsOwn = (text: string) => text.replace(own, name)
  return guide.flatMap(({ on, ...row }): Unit[] => {
    const override = units.get(row.unit)
    if (override === false || !on.includes(role)) return []
    const files = row.files.map((place) => {
      const file = itsOwn(place.file)
      const path = override?.files[place.file] ?? itsOwn(place.path)
      return { ...place, file, path: place.part === 'pair' ? besideKubeconfig(path, file) : path }
    })
    // systemd refuses to start a unit that it has given up: StartLimitBurst= of systemd.unit(5).
    const byDefault = `systemctl reset-failed ${row.unit}; systemctl restart ${row.unit}`
    const restart = override?.restart ?? row.restart ?? byDefault
    return [{ ...row, files, serves: row.serves.map((port) => ({ ...port, name: itsOwn(port.name) })), restart }]
  })
}

/** Even those that cluster.yaml leaves out. */
export function unitsOf(role: Role): string[] {
  return guide.filter(({ on }) => on.includes(role)).map(({ unit }) => unit)
}

/** Where a machine that had another role may still hold files of ours, by the unit that read them. */
export function formerPlaces(
  node: ClusterNode,
  install: Pick<Install, 'units'>,
): (Place & { readonly unit: string })[] {
  const own = new Set(nodeUnits(node, install).flatMap(({ files }) => files.map(({ path }) => path)))
  const others = guide.filter(({ on, bundle }) => bundle === undefined && !on.includes(node.role))
  return others
    .flatMap(({ on: [role = node.role], unit }) =>
      nodeUnits({ ...node, role }, install).flatMap((row) =>
        row.unit === unit ? row.files.map((place) => ({ ...place, unit })) : [],
      ),
    )
    .filter(({ path }) => !own.has(path))
}

/** The units that read one of the files only at their start, wherever they run. */
export function unitsToRestart(files: readonly string[], node?: string): string[] {
  const reads = ({ file, by }: Place) => by === 'restart' && files.includes(node ? file.replace(own, node) : file)
  return guide.filter((row) => row.files.some(reads)).map(({ unit }) => unit)
}
