/** What a guide's cluster consists of, as rows: docs/decisions.md says why. */
import type { Cluster, ClusterNode, ClusterUser, LayoutName } from '../../lib/cluster/cluster.ts'
import type { LayoutRules } from '../../lib/cluster/rules.ts'
import { type FileKind, type FileNames, filesBeside, kubeconfigFile, type RotatedCa } from '../../lib/files/auth-dir.ts'
import type { Part } from '../../lib/kubernetes/kubeconfig.ts'
import type { CertSpec, Subject } from '../../lib/pki/certificate.ts'

type Role = ClusterNode['role']

export type When = 'aggregation' | 'revoked' | 'etcd.ca: shared' | 'etcd.ca: own'

interface Conditional {
  readonly when?: When
}

export interface Layout extends Pick<LayoutRules, 'defaults' | 'without' | 'problems'> {
  readonly name: LayoutName
  readonly files: FileNames
  readonly certs: readonly CertKind[]
  /** What it makes of a row's subject, beside the location. */
  subject(named: Subject, cluster: Cluster['subject']): Subject
  /** Undefined for a role without a certificate of its own. */
  nodeCert(node: ClusterNode): CertKind | undefined
  userCert(user: ClusterUser): CertKind
  nodeSans(node: { readonly name: string; readonly ips: readonly string[] }, domain: string): string[]
  /** Every name and address under which the API is reached, from inside the cluster and from outside. */
  apiSans(naming: ApiNaming): string[]
  serviceSans(network: Cluster['network']): string[]
  readonly units: readonly UnitRow[]
  readonly etcd: Readonly<Record<Cluster['etcd']['ca'], EtcdNames>> | undefined
}

export interface EtcdNames {
  /** Signs the others. etcd asks its clients for a certificate of it, whoever's. */
  readonly ca: RotatedCa
  /** A member's, as server, and as a client of other members and of itself. */
  readonly server: string
  readonly client: string
}

export type OfCert = Exclude<FileKind, 'encryption-config' | 'authorization'>

/** A certificate of the guide's: what is the same in every cluster, and functions of the cluster. */
export interface CertKind extends Conditional {
  readonly phase: 'ca' | 'cluster-cert' | 'component-certs' | 'node-certs' | 'user-certs'
  /** The base of its file names. No node may have that name. */
  readonly name: string
  readonly node?: string
  readonly isClient?: boolean
  /** Which of its files belong on a node, by the node's role. */
  readonly on: Readonly<Partial<Record<Role, readonly OfCert[]>>>
  readonly purpose: string
  /** Replacing it, or its key, breaks a running cluster: it is done only if the target itself is named. */
  readonly irreplaceable?: { readonly part: 'whole' | 'key'; readonly label: string; readonly loss: string }
  /** CN is the user, as Kubernetes sees it; O its groups. The location that cluster.yaml has is added. */
  readonly subject: Subject
  readonly hasNoLocation?: true
  /** Subjects that are not made, and left where they are. */
  readonly tolerated?: readonly Subject[]
  readonly usages?: CertSpec['usages']
  /** The row that signs it, before it in the table; by default the CA of the cluster. */
  readonly issuer?: string
  /** Milliseconds; by default the cluster's. */
  readonly validity?: number
  /** The host in its kubeconfig; by default api.host. */
  readonly dials?: string
  sans?(cluster: Cluster): readonly string[]
}

export interface ApiNaming {
  readonly domain: string
  readonly api: Pick<Cluster['api'], 'host' | 'virtualIP' | 'extraSANs'>
  readonly network: Cluster['network']
  readonly nodes: readonly (Pick<ClusterNode, 'name' | 'role'> & { readonly ips: readonly string[] })[]
}

/** A file that a unit reads, and the settings of its process that name it. */
export interface Reads extends Conditional, Pick<Place, 'file' | 'loads' | 'mayReload' | 'isOfKeys'> {
  /** The first that is set counts: a flag, or a path in the file of --config. Empty where its path is fixed. */
  readonly by: readonly string[]
  /** Absolute: where cluster.yaml, else the guide, has it. Of a kubeconfig: the pair is beside it. */
  readonly usual: string
  /** cluster.yaml has that path, so no flag need name it. */
  readonly isDeclared?: true
  readonly isOptional?: true
  /** Where the setting is missing, the user has to add the flag. */
  readonly isDesired?: true
  /** Where the setting is missing, the user has to add the flag in place of these. */
  readonly replaces?: readonly string[]
}

export interface Place {
  readonly file: string
  readonly path: string
  readonly by: string
  /** When the unit reads a new file: at once, by client-go's poll, at its start, or within a minute (`reload`). */
  readonly loads: 'now' | 'poll' | 'restart' | 'reload'
  /** Where the unit's command line says so, it reloads the file: `loads` is then `reload`. */
  readonly mayReload?: true | undefined
  /** The part of the kubeconfig that is there; without one, the whole file. */
  readonly part?: Part | undefined
  /** No process of the unit names it yet: a flag has to change first. */
  readonly isUnnamed?: true | undefined
  /** The unit reads nothing but the public keys in it: another certificate for the same key changes nothing for it. */
  readonly isOfKeys?: true | undefined
}

export interface Port {
  readonly port: number
  readonly name: string
  /** Whose credentials are presented: by default the API server's. */
  readonly as?: string
  /** The name (SNI) by which it shows a certificate that it makes at its start, in memory alone. */
  readonly selfMade?: string
}

/** The path that a healthy unit answers with 200. */
export interface Health {
  readonly port: number
  readonly path: string
  /** Whose credentials are presented: accepting them is part of being healthy. Undefined if anybody may query it. */
  readonly as?: string
  /** The CA of its certificate: by default that of the cluster. */
  readonly ca?: string
  readonly isPlain?: true
  readonly isLocal?: true
  /** By a certificate that it has made itself. */
  readonly isSelfSigned?: true
}

export interface UnitRow extends Conditional {
  readonly unit: string
  readonly on: readonly Role[]
  /** The YAML file that its --config names: where cluster.yaml, else the guide, has it. */
  readonly config?: string | undefined
  readonly reads: readonly Reads[]
  /** Flags that it has to be started with, each with the file that it is for. */
  readonly startFlags?: readonly StartFlag[]
  readonly serves: readonly Port[]
  readonly health?: Health
  /** Where it reports its feature gates, if we may query them. */
  readonly metrics?: Health
  /** Other units on the node query it: it is restarted before them, and alone. */
  readonly isQueried?: true
  /** A load balancer sends it requests: it is drained before it is restarted. */
  readonly isDrained?: true | undefined
  /** Those of all other nodes must be healthy before one is restarted. */
  readonly isQuorum?: true
  /** For a unit without a process: the file that a restart makes from the others, if it is installed. */
  readonly bundle?: string
  /** Its files are installed as soon as their folders exist: the guide fills them before there is a unit. */
  readonly isInstalledEarly?: true
  readonly restart?: string
}

export interface StartFlag extends Conditional, Pick<Place, 'file'> {
  readonly flag: string
  readonly value: string
}

export interface Unit extends UnitRow {
  readonly service: string
  readonly files: readonly Place[]
  readonly restart: string
}

/** Stands for the node's own name, in the name of a file or of a certificate. */
export const NODE = '<node>'

/** The units that are queried for more than their health: every layout has them. */
export const [apiServer, store] = ['kube-apiserver', 'etcd']

/** A kubeconfig names its pair and CA by file, so that a new one can be reloaded without a restart. */
export function placesAt({ file, usual: path, by: [by = ''], loads, mayReload, isOfKeys }: Reads): Place[] {
  const place = { file, path, by }
  if (!file.endsWith(kubeconfigFile(''))) return [{ ...place, loads, mayReload, isOfKeys }]
  const beside = filesBeside(file)
  return [
    // These first: at every moment the kubeconfig names files that are there. A relative path is of the kubeconfig's
    // own folder.
    { ...place, path: path.replace(/[^/]*$/, () => beside.ca), loads: 'restart', part: 'ca' },
    { ...place, path: path.replace(/[^/]*$/, () => beside.pair), loads: 'poll', part: 'pair' },
    { ...place, loads: 'restart', part: 'kubeconfig' },
  ]
}

const byStrength = ['now', 'poll', 'reload', 'restart'] as const

/** Each path once, with what its readers need most. */
export function mergePlaces(places: readonly Place[]): Place[] {
  return [...Map.groupBy(places, ({ path, file, part }) => `${path} ${file} ${part}`).values()].flatMap((same) => {
    const [place] = same.toSorted((a, b) => byStrength.indexOf(b.loads) - byStrength.indexOf(a.loads))
    const every = (fact: 'isOfKeys' | 'isUnnamed') => same.every((each) => each[fact]) || undefined
    return place ? [{ ...place, isOfKeys: every('isOfKeys'), isUnnamed: every('isUnnamed') }] : []
  })
}
