/**
 * What the units of a node read. cluster.yaml, else the guide, says where; command lines of processes and unit files
 * confirm it, contradict it, or can't be read for sure. Root writes nowhere else. Pure.
 */
import { canonicalAddress, firstAddress, parseCidr } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { hasDigest } from '../../lib/files/auth-dir.ts'
import { isPlainPath } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/target.ts'
import { isOwnAuthorization } from '../../lib/kubernetes/authorization.ts'
import { besideOf, folderOf, isOpenFolder, root } from '../../lib/node/place.ts'
import {
  type ComponentProcess,
  fileAt,
  foldersTo,
  isRunning,
  type PlacesState,
  realPath,
} from '../../lib/node/state.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { apiServer, mergePlaces, NODE, type Place, placesAt, type Reads, store, type Unit } from '../layouts/layout.ts'
import { frontProxy, ownEtcd } from '../layouts/shared.ts'
import { isSwitchedOff, layoutOf, nodeUnits } from '../layouts/tables.ts'
import { type CommandLine, readCommand, reloadFlag, withoutDots } from './command-line.ts'
import { compareFlags, type WantedFlag } from './flags.ts'

/** A unit of a node, with the places that its processes, and its unit file, name. */
export type UnitSeen = Readonly<ReturnType<typeof unitAt>>

/**
 * Where an API server is started with a list that is not declared: cluster.yaml has no `revoked`, or it is its owner's
 * own.
 */
export const leftLists = ({
  unit,
  unlistedFlags,
  contradicted,
}: Pick<UnitSeen, 'unit' | 'unlistedFlags' | 'contradicted'>): readonly Named[] =>
  unit === apiServer ? [...unlistedFlags, ...contradicted].filter(({ by }) => by === '--authorization-config') : []

interface Named {
  /** The setting. */
  readonly by: string
  readonly path: string
}

/** In the order of the table. */
export function unitsOn(cluster: Cluster, node: ClusterNode, places: PlacesState): UnitSeen[] {
  const units = nodeUnits(cluster, node)
  const declared = new Map(units.flatMap(({ files }) => files.map(({ path, file }) => [realPath(places, path), file])))
  return units.map((unit) => unitAt({ cluster, node, unit, places, declared }))
}

/** Started by the component's name. */
function isOf([program = '']: readonly string[], { unit }: Pick<Unit, 'unit'>): boolean {
  return baseOf(program) === unit
}

/** Of that unit of systemd: a user may give a unit, and so a control group, of their own the same name. */
function isIn(
  { id, group }: ComponentProcess,
  { unit }: Pick<Unit, 'unit'>,
  { units }: Pick<PlacesState, 'units'>,
): boolean {
  const { group: own = '', process } = units.get(unit) ?? {}
  return (typeof process === 'object' && process.id === id) || (own !== '' && `${group}/`.startsWith(`${own}/`))
}

/** The component's own processes of the unit. */
export function processesOf(
  unit: Pick<Unit, 'unit'>,
  places: Pick<PlacesState, 'units' | 'processes'>,
): ComponentProcess[] {
  return places.processes.filter((process) => isOf(process.command, unit) && isIn(process, unit, places))
}

interface Context {
  readonly cluster: Cluster
  readonly node: ClusterNode
  readonly unit: Unit
  readonly places: PlacesState
  /** The files of all units of the node, by their real paths. */
  readonly declared: ReadonlyMap<string, string>
}

/** A setting, and the path that it names for one of the unit's files; without a file for its YAML file. */
interface NamedPlace extends Named {
  /** As cluster.yaml has it: another node may have it in another way. */
  readonly setting: string
  readonly file: string | undefined
}

/** What a command line says of a row. */
type Said =
  | { readonly confirms: NamedPlace }
  /** Another path than cluster.yaml, or the guide, has. */
  | { readonly contradicts: NamedPlace }
  /** Its setting is to name the declared path. */
  | { readonly flag: WantedFlag & Pick<Place, 'file'> }
  | { readonly wrong: string }
  | { readonly unreached: string }

function unitAt(context: Context) {
  const { cluster, node, places } = context
  const own = processesOf(context.unit, places)
  const running = own.map(({ command: [, ...args] }) => readCommand(args, places))
  /** Of its next start: its unit file's, which a crash would start it with. */
  const next = commandAtStart(context.unit, places)
  const commands = [...running, ...(next ? [next] : [])]
  const owned = commands.flatMap((command) => whyOwned(context.unit, command, places) ?? [])
  // What is another's configuration is left to its owner.
  const unit = owned.length > 0 ? withoutList(context.unit) : context.unit
  const { active, process } = places.units.get(unit.unit) ?? {}
  const runs = own.length > 0 || (active === 'active' && process !== 'gone')
  const configs = commands.flatMap((command) => saysOfConfig(unit, command, places))
  const rows = unit.reads.map((row) => {
    const of = { row, unit, places, declared: context.declared }
    const now = running.flatMap((command, i) => saysOf(of, command, own[i]))
    return { row, now, said: [...now, ...(next ? saysOf(of, next) : [])] }
  })
  const said = [...configs, ...rows.flatMap((each) => each.said)]
  const isOther = own.some((process) => unit.config !== undefined && isApart(process, places, unit.config))
  const unread =
    (runs && own.length === 0 && `its main process is not ${unit.unit} itself`) ||
    running.find((each) => each.unread)?.unread ||
    (isOther && `its process has another ${unit.config} than the node`) ||
    undefined
  const isPlaced = ({ row, said }: (typeof rows)[number]) =>
    isRead(row, unit, commands) && !said.some((each) => 'unreached' in each)
  const files = mergePlaces(
    rows.filter(isPlaced).flatMap(({ row, now }) => {
      const isUnnamed = now.some((each) => 'flag' in each) || undefined
      const reloads = isReloaded(row, running) || undefined
      return placesAt(row).map((place) => ({ ...place, isUnnamed, reloads }))
    }),
  ).map((place) => ({ ...place, loads: loadsOf(place) }))
  const isMeant = commands.length > 0 || runs || isRunning(places, unit.unit)
  const lost = files.flatMap(({ by, path, file }) => {
    const isSaid = unread === undefined || unit.named.includes(file)
    const why = whyLost(places, path, isMeant && isSaid)
    const isNamed = said.some((each) => 'confirms' in each && each.confirms.path === path)
    return why === undefined ? [] : [`${isNamed ? `${by} names` : 'it needs'} ${path}, but ${why}, or set another path`]
  })
  const stillNamed = commands.flatMap((command) => namesKeptOff(unit, command))
  const disagree =
    unit.unit === apiServer
      ? commands.flatMap((each) => [...disagreements(cluster, node, each), ...openProxies(each, places)])
      : []
  const narrow = unit.unit === store && cluster.etcd.ca === 'own' ? commands.flatMap(narrowings) : []
  const isKnownAll = unread === undefined && (next ? next.unread === undefined : !places.units.get(unit.unit)?.isLoaded)
  const outdated = changesSinceStart(unit, running, places)
  return {
    ...unit,
    files,
    /** Settings that name other paths: nothing is installed on the node then. */
    contradicted: uniqueBy(said.flatMap((each) => ('contradicts' in each ? each.contradicts : []))),
    confirmed: uniqueBy(said.flatMap((each) => ('confirms' in each ? each.confirms : []))),
    /** What it reads that `install` does not reach, or that is not verified, in a clause each. */
    unreached: unique([
      ...whyUnverified({ ...context, unit }, unread),
      ...outdated,
      ...said.flatMap((each) => ('unreached' in each ? each.unreached : [])),
    ]),
    /** Of these, what its next start mends: it may read otherwise then. */
    outdated,
    /** Why its configuration of a setting is left to its owner, in a clause each. */
    owned: unique(owned),
    /**
     * What it has to be started with: flags that name a path of another file there, or none, and those of the table.
     */
    flags: compareFlags(
      [...uniqueBy(said.flatMap((each) => ('flag' in each ? each.flag : []))), ...(unit.startFlags ?? [])],
      { running, next },
    ),
    /** Absolute paths of flags that the table does not have. */
    unlistedFlags: commands.flatMap(({ flags }) =>
      namesIn(flags.filter(([by]) => !unit.reads.some((row) => row.by.includes(by)))),
    ),
    /** What its command line says that can't be right, in a clause each. */
    wrong: unique([
      ...said.flatMap((each) => ('wrong' in each ? each.wrong : [])),
      ...lost,
      ...disagree,
      ...narrow,
      ...stillNamed,
      ...commands.flatMap((command) => ownClients(unit, command)),
    ]),
    /** The name that a kubelet gives its node; undefined without --hostname-override. */
    nodeName: commands.map(({ named }) => named(['--hostname-override'])[1].at(-1)).find((each) => each !== undefined),
    /**
     * Whether its processes and its unit file name a key that it does not get any more; or that is not known for sure.
     */
    reading: stillNamed.length > 0 ? ('keptOffNodes' as const) : isKnownAll ? ('known' as const) : ('unknown' as const),
  }
}

const unique = (clauses: readonly string[]): string[] => [...new Set(clauses)]
const uniqueBy = <T>(all: readonly T[]): T[] => [...new Map(all.map((each) => [JSON.stringify(each), each])).values()]

/** Its unit file's; undefined where that has variables, or starts another program. */
function commandAtStart(unit: Unit, places: PlacesState): CommandLine | undefined {
  const { start = '' } = places.units.get(unit.unit) ?? {}
  const command = start.split(' ')
  if (start.includes('$') || !isOf(command, unit)) return undefined
  return readCommand(command.slice(1), places)
}

/**
 * A row that is optional counts where a command line has it, or cluster.yaml in its place; a unit that can't be read may
 * have it.
 */
function isRead(row: Reads, unit: Unit, commands: readonly CommandLine[]): boolean {
  return (
    !row.isOptional ||
    isOfEnvironment(unit, row) ||
    row.isWanted ||
    row.replaces !== undefined ||
    commands.every(({ unread }) => unread !== undefined) ||
    commands.some(({ named }) => named(row.by)[1].length > 0)
  )
}

/** etcd may have it in its environment, which is not read: then cluster.yaml alone says where it is. */
function isOfEnvironment({ unit, named }: Unit, { file }: Reads): boolean {
  return unit === store && named.includes(file)
}

function saysOfConfig({ config, files }: Unit, command: CommandLine, places: PlacesState): Said[] {
  const path = command.config
  if (path === undefined || files.length === 0) return []
  return config !== undefined && realPath(places, path) === realPath(places, config)
    ? []
    : [{ contradicts: { by: command.configFlag, setting: command.configFlag, path, file: undefined } }]
}

interface OfRow extends Pick<Context, 'unit' | 'places' | 'declared'> {
  readonly row: Reads
}

/** What a command line says of where a row's file is. `process`: whose it is, if it is not the unit file's. */
function saysOf({ row, unit, places, declared }: OfRow, command: CommandLine, process?: ComponentProcess): Said[] {
  if (row.by.length === 0) return []
  const [by, values] = command.named(row.by)
  const [first = ''] = row.by
  const { file, usual, replaces } = row
  const flag = { file, flag: replaces ? first : by, value: usual, ...(replaces && { replaces }) }
  if (values.length === 0) {
    if (replaces ?? row.isWanted) return [{ flag }]
    // A configuration that can't be read may have it.
    if (row.isOptional || !process || command.unread !== undefined || isOfEnvironment(unit, row)) return []
    const orElse = `, or, where its environment has it, declare ${file} in cluster.yaml: install.units.${store}.files`
    return [{ wrong: `it has no ${row.by.join(' or ')}; set it to ${usual}${unit.unit === store ? orElse : ''}` }]
  }
  const isSame = (path: string) => realPath(places, path) === realPath(places, usual)
  // The keys of all its files count: others may be of its owner's. Of any other flag the last value counts.
  const paths = !row.isOfKeys ? values.slice(-1) : values.some(isSame) ? [usual] : values
  return paths.flatMap((path): Said[] => {
    if (!isPlainPath(path))
      return [{ wrong: `${by} names ${JSON.stringify(path)}; use an absolute path of plain characters` }]
    if (path.startsWith('/run/credentials/'))
      return [{ unreached: `${by} (${path}) is not a file of the node; systemd copies it at start` }]
    // Beside a kubeconfig are its CA and pair.
    const apart = [path, ...placesAt(row).map((place) => place.path)].find(
      (at) => process && isApart(process, places, at),
    )
    if (apart !== undefined)
      return [
        {
          unreached: `${by} (${apart}) is another file for its process, by its own mounts or root; run systemctl restart ${unit.service}, and if that changes nothing, have it read the file of the node`,
        },
      ]
    const named = { by, setting: row.by.find((each) => each.startsWith('--')) ?? first, path, file }
    if (isSame(path)) return [{ confirms: named }]
    const other = declared.get(realPath(places, path))
    return other !== undefined && other !== file ? [{ flag }] : [{ contradicts: named }]
  })
}

/** When a unit reads a new file at a place. `polls`: its metrics say that it reads a CA again. */
export function loadsOf(place: Place, { polls = false } = {}): Place['loads'] {
  if (place.isCutOff) return 'restart'
  if (place.isUnnamed) return 'now'
  if (place.part === 'ca' && polls) return 'poll'
  if (place.reloads) return 'reload'
  return place.loads
}

function isReloaded(row: Reads, running: readonly CommandLine[]): boolean {
  if (running.length === 0) return false
  return row.replaces !== undefined || (row.mayReload === true && running.some(({ isSet }) => isSet(reloadFlag)))
}

/**
 * It sees another file there than the node has: from elsewhere, or, where the file was mounted by itself, the one of its
 * start.
 */
function isApart({ apart }: ComponentProcess, places: PlacesState, path: string): boolean {
  const ways = [path, realPath(places, path)]
  return [...apart].some((each) => ways.some((way) => isBelow(way, each)))
}

/** The API server's, without the list of who is revoked. */
function withoutList(unit: Unit): Unit {
  const reads = unit.reads.filter(({ replaces }) => !replaces)
  const isOf = ({ file }: Pick<Place, 'file'>) => reads.some((row) => row.file === file)
  return { ...unit, reads, files: unit.files.filter(isOf) }
}

/** What is another's configuration, or would take the place of more than the guide has. */
function whyOwned({ reads }: Unit, { named, flags }: CommandLine, places: PlacesState): string | undefined {
  const row = reads.find(({ replaces }) => replaces)
  if (!row) return undefined
  const [flag, [path]] = named(row.by)
  if (path !== undefined) {
    const text = places.contents.get(realPath(places, path))?.toString()
    return text !== undefined && isOwnAuthorization(text) ? `its ${flag} ${path} is yours` : undefined
  }
  const mode = named(['--authorization-mode'])[1].at(-1)
  const webhook = flags.find(([name]) => name.startsWith('--authorization-webhook-'))?.[0]
  if (mode?.split(',').toSorted().join() === 'Node,RBAC' && webhook === undefined) return undefined
  return webhook === undefined ? `its --authorization-mode is ${mode ?? 'not set'}` : `it has ${webhook}`
}

const isBelow = (path: string, folder: string) => `${path}/`.startsWith(folder.replace(/\/?$/, '/'))

/**
 * A unit of which a folder is lost is not one that is not installed: its files would be taken for installed where
 * nobody reads them.
 */
function whyLost(places: PlacesState, path: string, isMeant: boolean): string | undefined {
  if (!isMeant || places.folders.has(folderOf(path))) return undefined
  return `${folderOf(path)} does not exist; create that directory`
}

/** What of the unit is not verified. */
function whyUnverified({ node, unit, places }: Context, unread: string | undefined): string[] {
  const unnamed = unit.reads.filter(({ file }) => !unit.named.includes(file))
  const files = unique(unnamed.map(({ file, usual }) => `${file}: ${usual}`.replaceAll(node.name, NODE)))
  return [
    unread !== undefined &&
      files.length > 0 &&
      `${unread}; set its files in cluster.yaml: install.units: { ${unit.unit}: { files: { ${files.join(', ')} } } }`,
    places.units.get(unit.unit)?.needsReload === true &&
      'its unit file has changed since systemd read it; run systemctl daemon-reload',
  ].filter((each) => typeof each === 'string')
}

/** What its process was started with is not what its configuration says now. */
function changesSinceStart({ unit }: Unit, running: readonly CommandLine[], places: PlacesState): string[] {
  const { started = Number.POSITIVE_INFINITY } = places.units.get(unit) ?? {}
  return running.flatMap(({ config = '' }) =>
    (fileAt(places, config)?.changed ?? 0) > started
      ? [`its --config ${config} has changed since its start; restart it`]
      : [],
  )
}

/** Absolute paths in the values: `--tls-sni-cert-key=CERT,KEY:NAMES`. */
function namesIn(settings: readonly (readonly [by: string, value: string])[]): Named[] {
  return settings.flatMap(([by, value]) => pathsIn(value).map((path) => ({ by, path })))
}

const pathsIn = (value: string): string[] => value.split(/[,:]/).map(withoutDots).filter(isPlainPath)

/** A clause for each setting of a CA key that it does not get any more. */
function namesKeptOff({ keptOffNodes }: Pick<Unit, 'keptOffNodes'>, { named }: CommandLine): string[] {
  return keptOffNodes.flatMap(({ by, alongWith }) => {
    const [flag, [path]] = named(by)
    if (path === undefined || alongWith === undefined) return []
    return [
      `${flag} names ${path}, a key for no node (certificates.caKeyOnNodes: false); remove ${alongWith} and ${flag}, which ends CSR signing; then remove that file`,
    ]
  })
}

export type OtherProcess = Readonly<ReturnType<typeof otherProcessesOn>[number]>

/** Processes of no unit of the node's that may read files of ours, each with the paths that its command line names. */
export function otherProcessesOn(cluster: Cluster, node: ClusterNode, places: PlacesState) {
  const units = nodeUnits(cluster, node)
  return places.processes.flatMap((process) => {
    const component = componentOf(cluster, process)
    const isUnits = units.some(({ unit }) => (component ?? unit) === unit && isIn(process, { unit }, places))
    if (isUnits) return []
    return [
      {
        process,
        /** By its program's name. */
        component,
        isLeftOut: component !== undefined && isLeftOut(cluster, component, process),
        names: namesIn(readCommand(process.command.slice(1), places).flags),
      },
    ]
  })
}

/** A program's name may end with its version. */
function componentOf(cluster: Cluster, { command: [program = ''] }: ComponentProcess): string | undefined {
  const name = baseOf(program).replace(/[-.]v?\d[^/]*$/, '')
  return layoutOf(cluster).units.find(({ unit }) => unit === name)?.unit
}

/** Whether `false` in cluster.yaml leaves it to its owner wherever it runs, in a pod too. */
export const mayLeaveOut = (component: string): boolean => ![apiServer, store].includes(component)

/** A second API server or etcd may be of this cluster, where no rotation reaches it: of these only the unit is left out. */
function isLeftOut({ install }: Cluster, component: string, { group }: ComponentProcess): boolean {
  const isUnit = group.split('/').includes(`${component}.service`)
  return install !== false && install.units.get(component) === false && (isUnit || mayLeaveOut(component))
}

/** Why something on the node may still read a key that no node gets any more; undefined if nothing does. */
export function whyRead(units: readonly UnitSeen[], places: PlacesState, path: string): string | undefined {
  const { processes } = places
  const commands = [
    ...processes.map(({ command }) => command.join(' ')),
    ...[...places.units.values()].map(({ start }) => start),
  ]
  const words = commands.flatMap((text) => text?.split(/[\s=,'"]+/) ?? []).map(withoutDots)
  // Another process may see the file by another path.
  const isIt = (each: string) => realPath(places, each) === realPath(places, path)
  if (words.some((word) => isIt(word) || baseOf(word) === baseOf(path))) return 'a command line names it'
  const reader = units.find(({ files }) => files.some((place) => isIt(place.path)))
  if (reader) return `${reader.unit} reads it`
  const isSigner = ({ alongWith }: Reads) => alongWith !== undefined
  const readers = units.filter(({ keptOffNodes }) =>
    keptOffNodes.some((row) => isSigner(row) || row.file === baseOf(path)),
  )
  const [signs, unclear] = [
    readers.find(({ reading }) => reading === 'keptOffNodes'),
    readers.find(({ reading }) => reading === 'unknown'),
  ]
  if (signs) return `${signs.unit} still has a CA key`
  const flags = readers.flatMap(({ keptOffNodes }) => keptOffNodes.filter(isSigner).flatMap(({ by }) => by))
  const flag = flags.find((each) => words.some((word) => word.replaceAll('_', '-') === each))
  if (flag !== undefined) return `a command line has ${flag}`
  const isCut = processes.some(({ command }) => command.length === 0)
  return unclear || isCut ? `the files that ${unclear?.unit ?? 'a component'} reads can't be verified` : undefined
}

const baseOf = (path: string): string => path.replace(/.*\//, '')

/** Where a unit may have had the keys that it does not get any more: beside its other files, too. */
export function keptOffPaths({ keptOffNodes, files }: Pick<Unit, 'keptOffNodes' | 'files'>) {
  return keptOffNodes.flatMap(({ file, usual }) => {
    const paths = [usual, ...files.map(({ path }) => `${folderOf(path)}/${baseOf(usual)}`)]
    return [...new Set(paths)].map((path) => ({ file, path }))
  })
}

/** The key of an admin beside such a path: no deploy copies it, so its folder is an auth/, or a copy of one. */
export function adminKeyBeside(cluster: Cluster, path: string): string {
  const { files } = layoutOf(cluster)
  return `${folderOf(path)}/${files.key(files.names.admin)}`
}

interface KeptOff {
  readonly file: string
  readonly path: string
  /** Why no command that removes it is safe. */
  readonly why: string | undefined
}

/**
 * The keys there that units no longer get, and what killed runs left of them. A key that is switched off counts only if
 * it is ours.
 */
export function keptOffAt(
  { auth, cluster }: Pick<Run, 'auth' | 'cluster'>,
  units: readonly UnitSeen[],
  places: PlacesState,
): KeptOff[] {
  const rows = units.flatMap(keptOffPaths)
  return [...Map.groupBy(rows, ({ path }) => realPath(places, path))].flatMap(([real, [row, ...others]]) => {
    if (!row) return []
    // A link on the way is its owner's affair.
    const { file, path } = others.find((each) => each.path === real) ?? row
    return [path, ...besideOf(real)].flatMap((at): KeptOff[] => {
      const there = fileAt(places, at)
      const isOurs = there && hasDigest(auth, file, there.sha256)
      if (!there || (isSwitchedOff(cluster, file) && !isOurs)) return []
      const isPlain = there.kind === 'file' && realPath(places, at) === at
      const isOpen = foldersTo(places, path).some((each) => isOpenFolder([root], each.access, each.isParent))
      const why =
        whyRead(units, places, path) ??
        [
          !isPlain && 'it is not a regular file',
          !isOurs && 'auth/ has no copy',
          isOpen && 'other users could change its directory',
          fileAt(places, adminKeyBeside(cluster, real)) && "the admin's key is beside it, as in auth/",
        ].find((each) => typeof each === 'string')
      return [{ file, path: at, why }]
    })
  })
}

/** Settings by which a kubelet requests its client certificate from the cluster. Flags take precedence over the file. */
function ownClients({ unit }: Unit, { named, isSet, config }: CommandLine): string[] {
  const rotation = ['--rotate-certificates', 'rotateCertificates'] as const
  const [by] = named(rotation)
  return [
    ...(isSet(...rotation) ? [by.startsWith('--') ? by : `${by} in ${config}`] : []),
    ...(named(['--bootstrap-kubeconfig'])[1].length > 0 ? ['--bootstrap-kubeconfig'] : []),
  ].map(
    (each) =>
      `${each} has it request its own client certificates; turn it off, or leave ${unit} out in cluster.yaml (install.units: { ${unit}: false })`,
  )
}

/**
 * By which an etcd takes only some certificates of its CA: https://etcd.io/docs/v3.6/op-guide/configuration/#security
 */
const narrowing = ['--peer-cert-allowed-cn', '--peer-cert-allowed-hostname', '--client-cert-allowed-hostname']

function narrowings({ named }: CommandLine): string[] {
  return narrowing.flatMap((flag) => {
    const [value] = named([flag])[1]
    return value === undefined || (flag === narrowing[0] && value === ownEtcd.server)
      ? []
      : [`${flag} is ${value}, which certificates of the etcd CA don't match; remove it`]
  })
}

/** Its CA signs the clients whose headers an API server believes, whoever they name. */
export const proxyCaFlag = '--requestheader-client-ca-file'

/** A clause if a client of the cluster may claim to be anybody. */
function openProxies({ named }: CommandLine, places: PlacesState): string[] {
  const [clientFlag, namesFlag] = ['--client-ca-file', '--requestheader-allowed-names']
  const [proxyCa, clientCa = ''] = [proxyCaFlag, clientFlag].map((each) => named([each])[1].at(-1))
  if (proxyCa === undefined) return []
  const { published, contents } = places
  const pemAt = (path: string) => published.get(path) ?? contents.get(path) ?? ''
  const [ofProxies, ofClients] = [proxyCa, clientCa].map((path) => readCertificates(pemAt(realPath(places, path))))
  const isShared = ofProxies?.some((ca) => ofClients?.some(({ publicKey }) => publicKey.equals(ca.publicKey)))
  if (isShared || realPath(places, proxyCa) === realPath(places, clientCa))
    return [
      `${proxyCaFlag} has the CA of ${clientFlag} (${proxyCa}), whose clients may claim any user (X-Remote-User); remove it, and set aggregation: true in cluster.yaml, which adds a separate CA`,
    ]
  if (named([namesFlag])[1].length > 0) return []
  return [
    `without ${namesFlag} each client of ${proxyCaFlag} may claim any user (X-Remote-User); set ${namesFlag}=${frontProxy.client}`,
  ]
}

/** Between cluster.yaml, by which certificates are made, and the command line of an API server. */
function disagreements({ network }: Cluster, { name, ips }: ClusterNode, { named }: CommandLine): string[] {
  const [range, address] = ['--service-cluster-ip-range', '--advertise-address'].map((flag) => named([flag])[1].at(-1))
  const firsts = range?.split(',').map((block) => {
    const cidr = parseCidr(block.trim())
    return typeof cidr === 'object' ? firstAddress(cidr) : block
  })
  const ours = network.serviceCIDRs.map(firstAddress)
  const isSame = firsts === undefined || firsts.toSorted().join() === ours.toSorted().join()
  const isOwn = address === undefined || ips.includes(canonicalAddress(address))
  return [
    !isSame && `--service-cluster-ip-range is ${range}, but network.serviceCIDR has ${ours.join(', ')}`,
    !isOwn && `--advertise-address is ${address}, but cluster.yaml has ${ips.join(', ')} for ${name}`,
  ].flatMap((each) => (each === false ? [] : `${each}; correct one of them`))
}
