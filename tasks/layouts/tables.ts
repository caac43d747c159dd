/**
 * What follows from its layout for a cluster: every certificate, the files of each node, and where its units read them.
 * Pure.
 */
import type { Cluster, ClusterNode, Install, LayoutName } from '../../lib/cluster/cluster.ts'
import type { LayoutRules } from '../../lib/cluster/rules.ts'
import {
  authorizationFiles,
  caName,
  caNames,
  crossName,
  encryptionConfigFile,
  type FileNames,
  frontProxyCaName,
  kubeconfigFile,
  nextName,
} from '../../lib/files/auth-dir.ts'
import { memoised } from '../../lib/files/plain-file.ts'
import type { CertSpec } from '../../lib/pki/certificate.ts'
import { hardWay } from './hard-way.ts'
import { harderWay, withOwnEtcd } from './harder-way.ts'
import {
  apiServer,
  type CertKind,
  type Layout,
  mergePlaces,
  NODE,
  type OfCert,
  placesAt,
  type Reads,
  type Unit,
  type UnitRow,
} from './layout.ts'

export const layouts: Readonly<Record<LayoutName, Layout>> = { 'harder-way': harderWay, 'hard-way': hardWay }

/** The parts of a cluster that determine what it consists of. */
type LaidOut = Pick<Cluster, 'layout' | 'etcd'> & Partial<Pick<Cluster, 'aggregation'>>

/**
 * An etcd of its own CA is refused for a layout whose etcd has no TLS. Of the same parts it is always the same object.
 */
export function layoutOf({ layout, etcd, aggregation }: LaidOut): Layout {
  const guide = etcd.ca === 'own' && layouts[layout].etcd ? withOwnEtcd : layouts[layout]
  return aggregation ? withAggregation(guide) : guide
}

/** With all that cluster.yaml may switch on. */
const wholeLayout = ({ layout }: Pick<Cluster, 'layout'>) =>
  layoutOf({ layout, etcd: { ca: 'own' }, aggregation: true })

const withAggregation = memoised<Layout, Layout>((layout) => {
  const { certs, reads, startFlags } = layout.aggregation
  const units = layout.units.map((row) =>
    row.unit === apiServer ? { ...row, reads: [...row.reads, ...reads], startFlags } : row,
  )
  return { ...layout, certs: [...layout.certs, ...certs], units }
})

export type CertRow = Readonly<ReturnType<typeof row>> & { readonly node?: string }

export const certTable = memoised<readonly CertRow[], Cluster>((cluster) => {
  const { certs, nodeCert, userCert } = layoutOf(cluster)
  return [
    ...certs.map((kind) => row(kind, cluster)),
    ...cluster.nodes.flatMap((node): CertRow[] => {
      const kind = nodeCert(node)
      return kind ? [{ ...row(kind, cluster), node: node.name }] : []
    }),
    ...cluster.users.map((user) => row(userCert(user), cluster)),
  ]
})

/** The rows of the certificates that the CA signs. */
export function issuedBy(cluster: Cluster, ca: string): CertRow[] {
  return certTable(cluster).filter(({ phase, issuer = caName }) => phase !== 'ca' && issuer === ca)
}

/** Of a worker and of a user, one each: what holds for it holds for all. */
export function anyones({ nodes, users }: Cluster): { readonly kind: 'worker' | 'user'; readonly name: string }[] {
  const [worker, user] = [nodes.find(({ role }) => role === 'worker'), users[0]]
  return [
    ...(worker ? [{ kind: 'worker', name: worker.name } as const] : []),
    ...(user ? [{ kind: 'user', name: user.name } as const] : []),
  ]
}

/** Whose identity is in the user's own kubeconfig. */
export function localHolder(cluster: Cluster): CertRow | undefined {
  const { localKubeconfig } = cluster
  const as = (localKubeconfig ? localKubeconfig.as : undefined) ?? layoutOf(cluster).files.names.admin
  return certTable(cluster).find(({ name }) => name === as)
}

/** For Target.wanted: the order of names means nothing. */
export function wantedValues({ profile, validity }: Pick<CertRow, 'profile' | 'validity'>): object {
  return { ...profile, sans: profile.sans.toSorted(), validity }
}

function row(kind: CertKind, cluster: Cluster) {
  const { subject, tolerated, sans, usages, validity, isCa, dials = cluster.api.host, ...use } = kind
  const { key, validity: usual } = cluster.certificates
  const isAlone = use.name === caName || use.phase === 'cluster-cert'
  const profile: CertSpec = {
    subject: subject(cluster),
    tolerated: tolerated?.(cluster),
    sans: [...new Set(sans?.(cluster))],
    usages,
    isCa: use.phase === 'ca' || isCa === true,
    key,
  }
  /** `id`: of the target that makes it. */
  const id = isAlone ? use.phase : `${use.phase}/${use.name}`
  return { ...use, id, profile, validity: validity ?? usual, dials }
}

/** Where API servers read a file of the list of who is revoked. */
export function listPath(cluster: Placing, file: (typeof authorizationFiles)[number]): string {
  const { reads = [] } = layoutOf(cluster).units.find(({ unit }) => unit === apiServer) ?? {}
  const override = cluster.install ? cluster.install.units.get(apiServer) : undefined
  const row = reads.find((each) => each.file === file)
  if (!row) return ''
  return (override ? declaredAt(override.files, row) : undefined) ?? row.usual
}

/** The only identity that is no certificate's. */
export const encryptionConfig = {
  file: encryptionConfigFile,
  on: 'control',
  label: 'encryption key',
} as const

function fileOf(files: FileNames, kind: OfCert, name: string): string {
  return kind === 'kubeconfig' ? kubeconfigFile(name) : files[kind](name)
}

type Holders = Partial<Pick<Cluster, 'nodes' | 'users'>>

type Keeping = LaidOut &
  Holders & {
    readonly certificates: Pick<Cluster['certificates'], 'caKeyOnNodes'>
    readonly revoked?: Cluster['revoked']
  }

/**
 * True for a key that no node is to have: of what is switched off, of the front proxy's CA, and in some clusters of
 * each CA.
 */
export function isKeptOff(cluster: Keeping, file: string): boolean {
  const { files } = layoutOf(cluster)
  const isOfCa = (name: string) => name === frontProxyCaName || !cluster.certificates.caKeyOnNodes
  if (caNames.some((name) => isOfCa(name) && file === files.key(name))) return true
  return files.parse(file)?.kind === 'key' && isSwitchedOff(cluster, file)
}

/** True for a file of a feature that is off in cluster.yaml: etcd's own CA, the aggregation layer. */
export function isSwitchedOff(cluster: LaidOut & Holders, file: string): boolean {
  const { files, certs } = layoutOf(cluster)
  const { name = '' } = files.parse(file) ?? {}
  const isOf = (each: { readonly name: string }) => each.name === name
  if (certs.some(isOf) || !wholeLayout(cluster).certs.some(isOf) || !files.pair(name).includes(file)) return false
  // A node or user may have that name then.
  return ![...(cluster.nodes ?? []), ...(cluster.users ?? [])].some(isOf)
}

/** In the order of the tables; what is the node's own comes last. */
export function nodeFiles(cluster: Keeping, node: ClusterNode): string[] {
  const { files, certs, nodeCert } = layoutOf(cluster)
  const filesOf = ({ name, on }: CertKind) => (on[node.role] ?? []).map((kind) => fileOf(files, kind, name))
  return [
    ...certs.flatMap(filesOf).filter((file) => !isKeptOff(cluster, file)),
    ...(node.role === encryptionConfig.on ? [encryptionConfig.file] : []),
    ...(node.role === 'control' && cluster.revoked !== undefined ? authorizationFiles : []),
    ...[nodeCert(node) ?? []].flat().flatMap(filesOf),
  ]
}

/** The files without which a running cluster breaks, with what is lost if they are replaced or removed. */
export function identityFiles(cluster: LaidOut): ReadonlyMap<string, string> {
  return identityIn(layoutOf(cluster))
}

const identityIn = memoised<ReadonlyMap<string, string>, Layout>(
  ({ files, certs }) =>
    new Map([
      ...certs.flatMap(({ name, irreplaceable }) =>
        irreplaceable ? files.pair(name).map((file): [string, string] => [file, irreplaceable.label]) : [],
      ),
      [encryptionConfig.file, encryptionConfig.label],
    ]),
)

/** A node or user of such a name would have files, or a connection in `verify`, of the same name. */
function isReserved({ files, certs }: Layout, name: string): boolean {
  const names = [
    ...certs.map((each) => each.name),
    // During a rotation.
    ...certs.flatMap((each) => (each.irreplaceable ? [nextName(each.name)] : [])),
    // Whether etcd has one of its own is told by that file.
    ...caNames.flatMap((name) => [name, nextName(name), crossName(name)]),
    files.parse(encryptionConfig.file)?.name,
    'pods',
  ]
  return names.includes(name) || files.parse(files.certificate(name))?.kind !== 'certificate'
}

/** Facts that cluster.yaml must not contradict. */
export function layoutRules(cluster: LaidOut): LayoutRules {
  const layout = layoutOf(cluster)
  const variants = [wholeLayout(cluster), layouts[cluster.layout]]
  const settingsBy = (rows: readonly Reads[]) =>
    new Map(
      [...Map.groupBy(rows, ({ file }) => file)].map(([file, same]) => [
        file,
        [...new Set(same.flatMap(({ by }) => by))],
      ]),
    )
  const units = new Map(
    layout.units.map(({ unit, reads }) => {
      const all = variants.flatMap((each) => each.units.find((row) => row.unit === unit)?.reads ?? [])
      // A setting of a YAML file is no flag.
      const hasConfig = reads.some(({ by }) => by.some((setting) => /^[a-z]/.test(setting)))
      return [unit, { files: settingsBy(reads), inVariants: settingsBy(all), hasConfig }]
    }),
  )
  const kubeletsOn = layout.units
    .filter(({ serves }) => serves.some(({ name }) => name === NODE))
    .flatMap(({ on }) => on)
  return { ...layout, units, kubeletsOn, isReserved: (each) => isReserved(layout, each) }
}

type UnitOverride = Exclude<ReturnType<Install['units']['get']>, false | undefined>
type Placing = Keeping & Pick<Cluster, 'install'>

/** The name that systemd knows a component by, without .service. */
export function serviceOf({ install }: Pick<Cluster, 'install'>, component: string): string {
  const override = install ? install.units.get(component) : undefined
  return (override ? override.unit : undefined) ?? component
}

type NodeWithUnits = Pick<ClusterNode, 'name' | 'role'> & Partial<Pick<ClusterNode, 'units'>>

/** The units of a node, in the order of the table, as cluster.yaml has them. */
export function nodeUnits(cluster: Placing, node: NodeWithUnits): Unit[] {
  return layoutOf(cluster).units.flatMap((row): Unit[] => {
    const override = cluster.install ? cluster.install.units.get(row.unit) : undefined
    return override === false || !row.on.includes(node.role) ? [] : [unitOf(row, node, override, cluster)]
  })
}

function unitOf(
  { on, ...row }: UnitRow,
  node: NodeWithUnits,
  override: Partial<UnitOverride> | undefined,
  cluster: Keeping,
): Unit {
  const itsOwn = (text: string) => text.replaceAll(NODE, node.name)
  const ofNode = node.units?.[row.unit]
  const sources = [ofNode?.files, override?.files].filter((files) => files !== undefined)
  const all = row.reads.map((each): Reads => {
    const declared = sources.map((files) => declaredAt(files, each)).find((path) => path !== undefined)
    return {
      ...each,
      file: itsOwn(each.file),
      usual: itsOwn(declared ?? each.usual),
      ...(declared !== undefined && { isDeclared: true }),
    }
  })
  const config = ofNode?.config ?? override?.config ?? row.config
  const isWanted = ({ file }: Reads) => cluster.revoked !== undefined || !authorizationFiles.includes(file)
  const reads = all.filter((each) => isWanted(each) && !isKeptOff(cluster, each.file))
  const files = mergePlaces(reads.flatMap(placesAt))
  const service = override?.unit ?? row.unit
  // systemd refuses to start a unit that it has given up: StartLimitBurst= of systemd.unit(5).
  const byDefault = `systemctl reset-failed ${service}; systemctl restart ${service}`
  const restart = override?.restart ?? row.restart ?? byDefault
  const serves = row.serves.map((port) => ({ ...port, name: itsOwn(port.name) }))
  return {
    ...{ ...row, reads, files, serves, service, restart },
    config: config && itsOwn(config),
  }
}

/** The path that cluster.yaml has for a row: of its file, or of one of its settings. */
function declaredAt(files: UnitOverride['files'], { file, by }: Reads): string | undefined {
  const at = files[file]
  return typeof at === 'object' ? by.map((setting) => at[setting]).find((path) => path !== undefined) : at
}

/** What a restart of these units interrupts; undefined where another node serves the same meanwhile. */
export function outageOf({ nodes }: Cluster, restarts: readonly string[]): string | undefined {
  const [control, ...more] = nodes.filter(({ role }) => role === 'control')
  if (!control || more.length > 0 || !restarts.includes(apiServer)) return undefined
  return `${control.name} has the only API server; its restart takes the API down for about a minute, or seconds with --shutdown-watch-termination-grace-period=2s`
}
