/** What follows from its layout for a cluster: certificates, the files of each node, and its units. Pure. */
import type { Cluster, ClusterNode, ClusterUser, Install, LayoutName } from '../../lib/cluster/cluster.ts'
import type { LayoutRules } from '../../lib/cluster/rules.ts'
import {
  authorizationFiles,
  caName,
  caNames,
  crossName,
  encryptionConfigFile,
  frontProxyCaName,
  kubeconfigFile,
  nextName,
} from '../../lib/files/auth-dir.ts'
import { memoised } from '../../lib/files/plain-file.ts'
import type { CertSpec, Subject } from '../../lib/pki/certificate.ts'
import { formatNames } from '../../lib/wording.ts'
import { hardWay } from './hard-way.ts'
import { harderWay } from './harder-way.ts'
import {
  apiServer,
  type CertKind,
  type EtcdNames,
  type Layout,
  mergePlaces,
  NODE,
  placesAt,
  type Reads,
  type Unit,
  type UnitRow,
  type When,
} from './layout.ts'

export const layouts: Readonly<Record<LayoutName, Layout>> = { 'harder-way': harderWay, 'hard-way': hardWay }

export const layoutOf = ({ layout }: Pick<Cluster, 'layout'>): Layout => layouts[layout]

type LaidOut = Pick<Cluster, 'layout' | 'etcd'> & Partial<Pick<Cluster, 'aggregation' | 'revoked'>>

function inForce<Row extends { readonly when?: When }>(cluster: LaidOut, rows: readonly Row[]): Row[] {
  const facts: Readonly<Record<When, boolean>> = {
    aggregation: cluster.aggregation === true,
    revoked: cluster.revoked !== undefined,
    'etcd.ca: shared': cluster.etcd.ca === 'shared',
    'etcd.ca: own': cluster.etcd.ca === 'own',
  }
  return rows.filter(({ when }) => when === undefined || facts[when])
}

export const controlsOf = ({ nodes }: Pick<Cluster, 'nodes'>): ClusterNode[] =>
  nodes.filter(({ role }) => role === 'control')

export const etcdOf = (cluster: Cluster): EtcdNames | undefined => layoutOf(cluster).etcd?.[cluster.etcd.ca]

const certsOf = (cluster: LaidOut): CertKind[] => inForce(cluster, layoutOf(cluster).certs)

export type CertRow = Readonly<ReturnType<typeof certRow>>

export const certTable = memoised<readonly CertRow[], Cluster>((cluster) => {
  const { nodeCert, userCert } = layoutOf(cluster)
  const ofNodes = cluster.nodes.flatMap((node) => nodeCert(node) ?? [])
  return [
    ...[...certsOf(cluster), ...ofNodes].map((kind) => certRow(cluster, kind)),
    ...cluster.users.map((user) => certRow(cluster, userCert(user), warningOf(cluster, user))),
  ]
})

function certRow(cluster: Cluster, kind: CertKind, warning?: string) {
  const { subject, hasNoLocation, tolerated, sans, usages, validity, dials = cluster.api.host, ...use } = kind
  const { country: C, state: ST, locality: L } = cluster.subject
  const location = hasNoLocation ? {} : { ...(C && { C }), ...(ST && { ST }), ...(L && { L }) }
  const complete = (named: Subject) => ({ ...location, ...layoutOf(cluster).subject(named, cluster.subject) })
  const { key, validity: usual } = cluster.certificates
  const isAlone = use.name === caName || use.phase === 'cluster-cert'
  const profile: CertSpec = {
    subject: complete(subject),
    tolerated: tolerated?.map(complete),
    sans: [...new Set(sans?.(cluster))],
    usages,
    isCa: use.phase === 'ca',
    key,
  }
  const id = isAlone ? use.phase : `${use.phase}/${use.name}`
  const purpose =
    use.name === etcdOf(cluster)?.server && use.phase === 'cluster-cert' ? `${use.purpose}, etcd` : use.purpose
  return { ...use, id, profile, purpose, warning, validity: validity ?? usual, dials }
}

/** What a user's certificate may do beyond what cluster.yaml says of it. */
function warningOf(cluster: Cluster, { name, groups }: ClusterUser): string | undefined {
  const system = groups.filter((group) => group.startsWith('system:'))
  const rights = `${name} has every right of ${formatNames(system)}, ${system.length === 1 ? 'a group' : 'groups'} for Kubernetes components`
  // etcd asks its clients for a certificate of its CA, whoever's, and has no authorization behind that.
  const etcd = 'user certificates open etcd too, bypassing RBAC; let only API servers reach port 2379'
  const all = [...(system.length > 0 ? [rights] : []), ...(etcdOf(cluster)?.ca === caName ? [etcd] : [])]
  return all.join('; ') || undefined
}

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

export function localHolder(cluster: Cluster): CertRow | undefined {
  const { localKubeconfig } = cluster
  const as = (localKubeconfig ? localKubeconfig.as : undefined) ?? layoutOf(cluster).files.names.admin
  return certTable(cluster).find(({ name }) => name === as)
}

/** For Target.desired: the order of names means nothing. */
export function desiredValues({ profile, validity }: Pick<CertRow, 'profile' | 'validity'>): object {
  return { ...profile, sans: profile.sans.toSorted(), validity }
}

export const encryptionConfig = {
  file: encryptionConfigFile,
  on: 'control',
  label: 'encryption key',
} as const

/** The files without which a running cluster breaks, with what is lost if they are replaced or removed. */
export const identityFiles = memoised<ReadonlyMap<string, string>, Cluster>((cluster) => {
  const { files } = layoutOf(cluster)
  const pairs = certsOf(cluster).flatMap(({ name, irreplaceable }) =>
    irreplaceable ? files.pair(name).map((file) => [file, irreplaceable.label] as const) : [],
  )
  return new Map([...pairs, [encryptionConfig.file, encryptionConfig.label]])
})

/** True for a key that no node is to have: of what is switched off, of the front proxy's CA, or of each CA. */
export function isKeptOff(cluster: Cluster, file: string): boolean {
  const { files } = layoutOf(cluster)
  const isOfCa = (name: string) => name === frontProxyCaName || !cluster.certificates.caKeyOnNodes
  if (caNames.some((name) => isOfCa(name) && file === files.key(name))) return true
  return files.parse(file)?.kind === 'key' && isSwitchedOff(cluster, file)
}

/** True for a file of a feature that is off in cluster.yaml: etcd's own CA, the aggregation layer. */
export function isSwitchedOff(cluster: Cluster, file: string): boolean {
  const { files, certs } = layoutOf(cluster)
  const row = certs.find(({ name }) => files.pair(name).includes(file))
  if (!row || inForce(cluster, [row]).length > 0) return false
  // A node or user may have that name then.
  return ![...cluster.nodes, ...cluster.users].some(({ name }) => name === row.name)
}

/** In the order of the tables; what is the node's own comes last. */
export function nodeFiles(cluster: Cluster, node: ClusterNode): string[] {
  const { files, nodeCert } = layoutOf(cluster)
  const filesOf = ({ name, on }: CertKind) =>
    (on[node.role] ?? []).map((kind) => (kind === 'kubeconfig' ? kubeconfigFile(name) : files[kind](name)))
  return [
    ...certsOf(cluster)
      .flatMap(filesOf)
      .filter((file) => !isKeptOff(cluster, file)),
    ...(node.role === encryptionConfig.on ? [encryptionConfig.file] : []),
    ...(node.role === 'control' && cluster.revoked !== undefined ? authorizationFiles : []),
    ...[nodeCert(node) ?? []].flat().flatMap(filesOf),
  ]
}

export function layoutRules(cluster: LaidOut): LayoutRules {
  const layout = layoutOf(cluster)
  const units = [...Map.groupBy(layout.units, ({ unit }) => unit)].map(([unit, rows]) => {
    const reads = Map.groupBy(
      rows.flatMap((row) => row.reads),
      ({ file }) => file,
    )
    const files = [...reads].map(([file, same]) => [file, [...new Set(same.flatMap(({ by }) => by))]] as const)
    // A setting of a YAML file is no flag.
    const hasConfig = files.some(([, settings]) => settings.some((setting) => /^[a-z]/.test(setting)))
    return [unit, { files: new Map(files), hasConfig }] as const
  })
  return {
    ...layout,
    units: new Map(units),
    isReserved: (name) => isReserved(cluster, name),
  }
}

/** A node or user of such a name would have files, or a connection in `verify`, of the same name. */
function isReserved(cluster: LaidOut, name: string): boolean {
  const { files } = layoutOf(cluster)
  const names = [
    // The next one is there during a rotation.
    ...certsOf(cluster).flatMap((each) => [each.name, ...(each.irreplaceable ? [nextName(each.name)] : [])]),
    // Whether etcd has one of its own is told by that file.
    ...caNames.flatMap((ca) => [ca, nextName(ca), crossName(ca)]),
    files.parse(encryptionConfig.file)?.name,
    'pods',
  ]
  return names.includes(name) || files.parse(files.certificate(name))?.kind !== 'certificate'
}

type UnitOverride = Exclude<ReturnType<Install['units']['get']>, false | undefined>

const overrideOf = ({ install }: Cluster, unit: string): UnitOverride | false | undefined =>
  install ? install.units.get(unit) : undefined

/** The name that systemd knows a component by, without .service. */
export function serviceOf(cluster: Cluster, component: string): string {
  const override = overrideOf(cluster, component)
  return (override ? override.unit : undefined) ?? component
}

/** Where API servers read a file of the list of who is revoked. */
export function listPath(cluster: Cluster, file: string): string {
  const row = layoutOf(cluster)
    .units.flatMap(({ reads }) => reads)
    .find((each) => each.file === file)
  if (!row) return ''
  const override = overrideOf(cluster, apiServer)
  return (override ? declaredAt(override.files, row) : undefined) ?? row.usual
}

/** The units of a node, in the order of the table, as cluster.yaml has them. */
export function nodeUnits(cluster: Cluster, node: ClusterNode): Unit[] {
  const rows = inForce(cluster, layoutOf(cluster).units).filter(({ on }) => on.includes(node.role))
  return rows.flatMap((row) => {
    const override = overrideOf(cluster, row.unit)
    return override === false ? [] : [unitOf(cluster, node, row, override)]
  })
}

function unitOf(cluster: Cluster, node: ClusterNode, row: UnitRow, override: UnitOverride | undefined): Unit {
  const itsOwn = (text: string) => text.replaceAll(NODE, node.name)
  const ofNode = node.units[row.unit]
  const sources = [ofNode?.files, override?.files].filter((files) => files !== undefined)
  const all = inForce(cluster, row.reads).map((each): Reads => {
    const declared = sources.map((files) => declaredAt(files, each)).find((path) => path !== undefined)
    const usual = itsOwn(declared ?? each.usual)
    return { ...each, file: itsOwn(each.file), usual, ...(declared !== undefined && { isDeclared: true }) }
  })
  const reads = all.filter(({ file }) => !isKeptOff(cluster, file))
  const config = ofNode?.config ?? override?.config ?? row.config
  const service = override?.unit ?? row.unit
  // systemd refuses to start a unit that it has given up: StartLimitBurst= of systemd.unit(5).
  const byDefault = `systemctl reset-failed ${service}; systemctl restart ${service}`
  return {
    ...row,
    config: config && itsOwn(config),
    reads,
    startFlags: inForce(cluster, row.startFlags ?? []),
    files: mergePlaces(reads.flatMap(placesAt)),
    serves: row.serves.map((port) => ({ ...port, name: itsOwn(port.name) })),
    service,
    restart: override?.restart ?? row.restart ?? byDefault,
  }
}

function declaredAt(files: UnitOverride['files'], { file, by }: Reads): string | undefined {
  const at = files[file]
  return typeof at === 'object' ? by.map((setting) => at[setting]).find((path) => path !== undefined) : at
}
