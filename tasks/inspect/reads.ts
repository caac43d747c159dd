/**
 * What the units of a node read, and where. cluster.yaml, else the guide, declares a path for each file; the command
 * lines of a unit confirm that path, contradict it, or can't be read for sure. Root writes to declared paths alone.
 * Pure.
 *
 * A row of a unit's table is a file, with the settings that may name its path. What a command line says of a row:
 *
 *   the row's setting                                                  is then
 *   -----------------------------------------------------------------  ------------
 *   is missing, and the user has to set it (isWanted, replaces)        in `flags`
 *   is missing from a process that can't do without it                 `wrong`
 *   is missing otherwise                                               not mentioned
 *   is not an absolute path of plain characters                        `wrong`
 *   names the declared path                                            `confirmed`
 *   names the declared path of another file of the node                in `flags`
 *   names any other path                                               `contradicted`
 *
 * A unit has the command line of its main process, and one for its next start, in its unit file. Both count, with two
 * exceptions that are of the process alone: the settings that it can't do without, and when it loads a file.
 */
import { firstAddress, parseCidr } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { isPlainPath } from '../../lib/files/plain-file.ts'
import { isForeignAuthorization } from '../../lib/kubernetes/authorization.ts'
import { folderOf } from '../../lib/node/place.ts'
import { isRunning, type PlacesState, realPath } from '../../lib/node/state.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { apiServer, mergePlaces, NODE, type Place, placesAt, type Reads, type Unit } from '../layouts/layout.ts'
import { frontProxy } from '../layouts/shared.ts'
import { nodeUnits } from '../layouts/tables.ts'
import { type CommandLine, readCommand, reloadFlag, withoutDots } from './command-line.ts'
import { compareFlags, formatUnset, type WantedFlag } from './flags.ts'

/** A path in a command line, and the setting that names it. */
interface NamedPath {
  readonly by: string
  readonly path: string
}

/** A path that is named for one of the unit's files; `file` is undefined where it is the unit's YAML file. */
interface NamedPlace extends NamedPath {
  /** The flag, as cluster.yaml writes it: another node may name the path in its YAML file. */
  readonly setting: string
  readonly file: string | undefined
}

/** A flag that the user has to set, and the file whose path it names. */
type FileFlag = WantedFlag & Pick<Place, 'file'>

/** A unit of a node, with what its command lines say of the files that it reads. */
export interface UnitOnNode extends Unit {
  /** Where the unit's files are installed, and when the unit loads each. */
  readonly files: readonly Place[]
  /** Settings that name other paths than are declared. With any of them nothing is installed on the node. */
  readonly contradicted: readonly NamedPlace[]
  readonly confirmed: readonly NamedPlace[]
  /** What the unit reads that is not verified: a clause each. */
  readonly unreached: readonly string[]
  /** Why the API server's authorization is left to its owner: a clause each. */
  readonly owned: readonly string[]
  /** Flags that the unit has to be started with, and is not. */
  readonly flags: {
    readonly unset: readonly FileFlag[]
    readonly notStartedWith: readonly FileFlag[]
  }
  /** Absolute paths in flags that the unit's table does not have. */
  readonly unlistedFlags: readonly NamedPath[]
  /** What its command lines have that can't be right: a clause each. */
  readonly wrong: readonly string[]
  /** The name that a kubelet gives its node; undefined without --hostname-override. */
  readonly nodeName: string | undefined
}

/** A list of the revoked that is not declared: cluster.yaml has no `revoked`, or the list is its owner's own. */
export function leftLists({
  unit,
  unlistedFlags,
  contradicted,
}: Pick<UnitOnNode, 'unit' | 'unlistedFlags' | 'contradicted'>): readonly NamedPath[] {
  if (unit !== apiServer) return []
  return [...unlistedFlags, ...contradicted].filter(({ by }) => by === '--authorization-config')
}

/** The units that a node has, in the order of the table. */
export function unitsOn(cluster: Cluster, node: ClusterNode, places: PlacesState): UnitOnNode[] {
  const units = nodeUnits(cluster, node)
  const declared = new Map(units.flatMap(({ files }) => files.map(({ path, file }) => [realPath(places, path), file])))
  return units.map((unit) => unitOnNode(readCommandLines({ cluster, node, unit, places, declared })))
}

/**
 * A sentence for each unit whose flags still name a path of another file, with how to change all of them: a certificate
 * needs its key.
 */
export function unsetOn(units: readonly UnitOnNode[], concerns: (file: string) => boolean = () => true): string[] {
  return units.flatMap((unit) => {
    const { unset } = unit.flags
    return unset.some(({ file }) => concerns(file)) ? [formatUnset(unit, unset)] : []
  })
}

/** A unit of a node, as it is declared, and what a look at the node has found. */
interface Site {
  readonly cluster: Cluster
  readonly node: ClusterNode
  readonly unit: Unit
  readonly places: PlacesState
  /** The declared files of all units of the node, by their real paths. */
  readonly declared: ReadonlyMap<string, string>
}

/**
 * A unit of a node with its command lines. An API server's unit is without our list of the revoked where its owner has
 * another one.
 */
interface UnitCommands extends Site, Pick<UnitOnNode, 'owned'> {
  /** The command line of the main process; none where the unit does not run. */
  readonly running: readonly CommandLine[]
  /**
   * The command line of the next start, which a crash may bring; undefined where the unit file does not have all of it.
   */
  readonly next: CommandLine | undefined
  /** Both of these. */
  readonly commands: readonly CommandLine[]
}

function readCommandLines(site: Site): UnitCommands {
  const { unit } = site
  const running = commandsRunning(site)
  const next = commandAtStart(site)
  const commands = [...running, ...(next ? [next] : [])]
  const owned = unique(commands.flatMap((command) => whyOwned(site, command) ?? []))
  return { ...site, unit: owned.length > 0 ? withoutList(unit) : unit, running, next, commands, owned }
}

/** A unit that runs without a main process, as some containers do, shows no flag. */
function commandsRunning({ unit, places }: Site): CommandLine[] {
  const { active, process, command } = places.units.get(unit.unit) ?? {}
  if (command) return [readCommand(command.slice(1), places)]
  return active === 'active' && process === undefined ? [readCommand([], places)] : []
}

/** The unit file's command; undefined where that has variables, or starts another program. */
function commandAtStart({ unit, places }: Site): CommandLine | undefined {
  const { start = '' } = places.units.get(unit.unit) ?? {}
  const command = start.split(' ')
  if (start.includes('$') || baseOf(command[0] ?? '') !== unit.unit) return undefined
  return readCommand(command.slice(1), places)
}

/** The API server's unit without the list of who is revoked. */
function withoutList(unit: Unit): Unit {
  const reads = unit.reads.filter(({ replaces }) => !replaces)
  const isStillRead = ({ file }: Pick<Place, 'file'>) => reads.some((row) => row.file === file)
  return { ...unit, reads, files: unit.files.filter(isStillRead) }
}

/** A clause, unless the API server has our authorization, or the guide's, which ours replaces. */
function whyOwned({ unit, places }: Site, command: CommandLine): string | undefined {
  const row = unit.reads.find(({ replaces }) => replaces)
  if (!row) return undefined
  const [flag, [path]] = command.named(row.by)
  if (path !== undefined) {
    const text = places.contents.get(realPath(places, path))?.toString()
    return text !== undefined && isForeignAuthorization(text) ? `its ${flag} ${path} is yours` : undefined
  }
  const webhook = command.flags.find(([name]) => name.startsWith('--authorization-webhook-'))?.[0]
  if (webhook !== undefined) return `it has ${webhook}`
  const mode = lastValue(command, '--authorization-mode')
  return mode?.split(',').toSorted().join() === 'Node,RBAC'
    ? undefined
    : `its --authorization-mode is ${mode ?? 'not set'}`
}

function unitOnNode(unitCommands: UnitCommands): UnitOnNode {
  const { unit, owned, running, next, commands } = unitCommands
  const rows = unit.reads.map((row) => readRow(unitCommands, row))
  const { contradicted, confirmed, flags, wrong } = merge([...configsOf(unitCommands), ...rows])
  const unread = running.find((command) => command.unread !== undefined)?.unread
  const files = placesOf(unitCommands, rows)
  return {
    ...unit,
    files,
    contradicted: uniqueBy(contradicted),
    confirmed: uniqueBy(confirmed),
    unreached: whyUnverified(unitCommands, unread),
    owned,
    flags: compareFlags([...uniqueBy(flags), ...(unit.startFlags ?? [])], { running, next }),
    unlistedFlags: commands.flatMap((command) => unlistedIn(unit, command)),
    wrong: unique([...wrong, ...missingFolders(unitCommands, files, { confirmed, unread }), ...faultsOf(unitCommands)]),
    nodeName: commands.map((command) => lastValue(command, '--hostname-override')).find((name) => name !== undefined),
  }
}

const unique = (clauses: readonly string[]): string[] => [...new Set(clauses)]
const uniqueBy = <T>(all: readonly T[]): T[] => [...new Map(all.map((each) => [JSON.stringify(each), each])).values()]

/** The value that counts of a flag which is given more than once. */
const lastValue = ({ named }: CommandLine, flag: string): string | undefined => named([flag])[1].at(-1)

/** What command lines say of rows: the right column of the table at the top. */
interface Statements extends Pick<UnitOnNode, 'contradicted' | 'confirmed' | 'wrong'> {
  readonly flags: readonly FileFlag[]
}

const nothing: Statements = { contradicted: [], confirmed: [], flags: [], wrong: [] }

function merge(all: readonly Statements[]): Statements {
  return {
    contradicted: all.flatMap(({ contradicted }) => contradicted),
    confirmed: all.flatMap(({ confirmed }) => confirmed),
    flags: all.flatMap(({ flags }) => flags),
    wrong: all.flatMap(({ wrong }) => wrong),
  }
}

/** What all command lines of the unit say of a row. */
interface RowReading extends Statements {
  readonly row: Reads
  /** A running process has still to be started with the flag that names the file. */
  readonly isUnnamed: boolean
}

function readRow(unitCommands: UnitCommands, row: Reads): RowReading {
  const { running, next } = unitCommands
  const now = merge(running.map((command) => readLine({ ...unitCommands, row, command, isOfProcess: true })))
  const atNext = next ? readLine({ ...unitCommands, row, command: next, isOfProcess: false }) : nothing
  return { row, isUnnamed: now.flags.length > 0, ...merge([now, atNext]) }
}

/** A row, and a command line that may name its path: of the main process, or of the next start. */
interface RowLine extends Site {
  readonly row: Reads
  readonly command: CommandLine
  readonly isOfProcess: boolean
}

function readLine(line: RowLine): Statements {
  const { row, command, places } = line
  if (row.by.length === 0) return nothing
  const [by, values] = command.named(row.by)
  if (values.length === 0) return ofMissing(line)
  // An API server takes several files of keys, and some may be its owner's. Of any other flag the last value counts.
  const isDeclared = values.some((path) => isSamePath(places, path, row.usual))
  const paths = !row.isOfKeys ? values.slice(-1) : isDeclared ? [row.usual] : values
  return merge(paths.map((path) => ofPath(line, by, path)))
}

/** The row's setting is missing. */
function ofMissing({ row, unit, command, isOfProcess }: RowLine): Statements {
  const { by, file, usual } = row
  if (row.replaces ?? row.isWanted) return { ...nothing, flags: [flagFor(row, by[0])] }
  // A configuration that can't be read may have the setting; so may an environment or a container, where cluster.yaml has
  // the path.
  if (row.isOptional || !isOfProcess || command.unread !== undefined || row.isDeclared) return nothing
  const orElse = `or, where its environment or a wrapper has it, declare ${file} in cluster.yaml: install.units.${unit.unit}.files`
  return { ...nothing, wrong: [`it has no ${by.join(' or ')}; set it to ${usual}, ${orElse}`] }
}

/** The setting `by` names the path. */
function ofPath(line: RowLine, by: string, path: string): Statements {
  const { row, places, declared } = line
  if (!isPlainPath(path))
    return { ...nothing, wrong: [`${by} names ${JSON.stringify(path)}; use an absolute path of plain characters`] }
  const setting = row.by.find((each) => each.startsWith('--')) ?? row.by[0] ?? ''
  const place = { by, setting, path, file: row.file }
  if (isSamePath(places, path, row.usual)) return { ...nothing, confirmed: [place] }
  const other = declared.get(realPath(places, path))
  if (other === undefined || other === row.file) return { ...nothing, contradicted: [place] }
  return { ...nothing, flags: [flagFor(row, by)] }
}

/** A flag that replaces others is the row's first; any other row keeps the setting by which the path is named. */
function flagFor({ file, usual, replaces, by: [first = ''] }: Reads, by = first): FileFlag {
  return { file, flag: replaces ? first : by, value: usual, ...(replaces && { replaces }) }
}

const isSamePath = (places: PlacesState, one: string, other: string): boolean =>
  realPath(places, one) === realPath(places, other)

/** A command line's YAML file, which is declared like other files of the unit. */
function configsOf({ unit, places, commands }: UnitCommands): Statements[] {
  if (unit.files.length === 0) return []
  return commands.map(({ config: path, configFlag }) => {
    if (path === undefined || (unit.config !== undefined && isSamePath(places, path, unit.config))) return nothing
    return { ...nothing, contradicted: [{ by: configFlag, setting: configFlag, path, file: undefined }] }
  })
}

/** A place for each path that a row names. */
function placesOf(unitCommands: UnitCommands, rows: readonly RowReading[]): Place[] {
  const read = rows.filter(({ row }) => isRead(row, unitCommands))
  const places = read.flatMap(({ row, isUnnamed }) => {
    const reloads = isReloaded(row, unitCommands.running) || undefined
    return placesAt(row).map((place) => ({ ...place, isUnnamed: isUnnamed || undefined, reloads }))
  })
  return mergePlaces(places).map((place) => ({ ...place, loads: loadsOf(place) }))
}

/**
 * False for an optional file of which neither a command line nor cluster.yaml has anything. Where no command line can
 * be read, the unit may have it.
 */
function isRead(row: Reads, { commands }: UnitCommands): boolean {
  return (
    !row.isOptional ||
    row.isDeclared ||
    row.isWanted ||
    row.replaces !== undefined ||
    commands.every(({ unread }) => unread !== undefined) ||
    commands.some(({ named }) => named(row.by)[1].length > 0)
  )
}

/** When a unit reads a new file at a place. `polls`: the unit's metrics say that it reads its CA again. */
export function loadsOf(place: Place, { polls = false } = {}): Place['loads'] {
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
 * A clause for each directory that does not exist. A unit that runs, or would, is not one that is not installed yet:
 * its files must not count as installed where nothing reads them.
 */
function missingFolders(
  { unit, places, commands }: UnitCommands,
  files: readonly Place[],
  { confirmed, unread }: Pick<UnitOnNode, 'confirmed'> & { readonly unread: string | undefined },
): string[] {
  if (commands.length === 0 && !isRunning(places, unit.unit)) return []
  return files.flatMap(({ by, path, file }) => {
    const isKnown = unread === undefined || unit.named.includes(file)
    const folder = folderOf(path)
    if (!isKnown || places.folders.has(folder)) return []
    const needs = confirmed.some((place) => place.path === path) ? `${by} names` : 'it needs'
    return [`${needs} ${path}, but ${folder} does not exist; create that directory, or set another path`]
  })
}

/** A clause for what the unit reads that could not be verified, and for a unit file that systemd has not read again. */
function whyUnverified({ node, unit, places }: Site, unread: string | undefined): string[] {
  const undeclared = unit.reads.filter(({ file }) => !unit.named.includes(file))
  const files = unique(undeclared.map(({ file, usual }) => `${file}: ${usual}`.replaceAll(node.name, NODE)))
  return [
    unread !== undefined &&
      files.length > 0 &&
      `${unread}; set its files in cluster.yaml:\n    install.units: { ${unit.unit}: { files: { ${files.join(', ')} } } }`,
    places.units.get(unit.unit)?.needsReload === true &&
      `its unit file has changed since systemd read it; run:\n    systemctl daemon-reload`,
  ].filter((each) => typeof each === 'string')
}

function unlistedIn({ reads }: Unit, { flags }: CommandLine): NamedPath[] {
  const unlisted = flags.filter(([by]) => !reads.some((row) => row.by.includes(by)))
  return unlisted.map(([by, value]) => ({ by, path: withoutDots(value) })).filter(({ path }) => isPlainPath(path))
}

/** What is wrong with command lines beyond the paths of files: a clause each. */
function faultsOf(unitCommands: UnitCommands): string[] {
  const { unit, commands } = unitCommands
  return commands.flatMap((command) => [
    ...(unit.unit === apiServer ? [...otherRange(unitCommands, command), ...openProxies(unitCommands, command)] : []),
    ...keptOffClauses(unit, command),
  ])
}

/** A clause for each setting that names a CA key which no node gets any more. */
function keptOffClauses({ keptOffNodes }: Pick<Unit, 'keptOffNodes'>, { named }: CommandLine): string[] {
  return keptOffNodes.flatMap(({ by, alongWith }) => {
    const [flag, [path]] = named(by)
    if (path === undefined || alongWith === undefined) return []
    return [
      `${flag} names ${path}, a key for no node (certificates.caKeyOnNodes: false); remove ${alongWith} and ${flag}, which ends CSR signing; then remove that file`,
    ]
  })
}

/** The CA at this flag signs the clients whose headers an API server believes, whomever they name. */
export const proxyCaFlag = '--requestheader-client-ca-file'

/** A clause if a client of the cluster may claim to be any user. */
function openProxies({ places }: Site, command: CommandLine): string[] {
  const [clientFlag, namesFlag] = ['--client-ca-file', '--requestheader-allowed-names']
  const proxyCa = lastValue(command, proxyCaFlag)
  if (proxyCa === undefined) return []
  if (isSharedCa(places, proxyCa, lastValue(command, clientFlag) ?? ''))
    return [
      `${proxyCaFlag} has the CA of ${clientFlag} (${proxyCa}), whose clients may claim any user (X-Remote-User); remove it, and set aggregation: true in cluster.yaml, which adds a separate CA`,
    ]
  if (command.named([namesFlag])[1].length > 0) return []
  return [
    `without ${namesFlag} each client of ${proxyCaFlag} may claim any user (X-Remote-User); set ${namesFlag}=${frontProxy.client}`,
  ]
}

/** True if the two paths are of one file, or a certificate in one has the key of a certificate in the other. */
function isSharedCa(places: PlacesState, one: string, other: string): boolean {
  if (isSamePath(places, one, other)) return true
  const { published, contents } = places
  const [ofOne, ofOther] = [one, other].map((path) => {
    const real = realPath(places, path)
    return readCertificates(published.get(real) ?? contents.get(real) ?? '')
  })
  return ofOne?.some((ca) => ofOther?.some(({ publicKey }) => publicKey.equals(ca.publicKey))) === true
}

/** A clause if an API server gives its service another address than its certificate has. */
function otherRange({ cluster: { network } }: Site, command: CommandLine): string[] {
  const range = lastValue(command, '--service-cluster-ip-range')
  const ranges = network.serviceCIDRs.map(firstAddress)
  if (range === undefined || firstAddresses(range).toSorted().join() === ranges.toSorted().join()) return []
  return [
    `--service-cluster-ip-range is ${range}, but network.serviceCIDR has ${ranges.join(', ')}; correct one of them`,
  ]
}

/** The first address of each block; a block that can't be parsed stands for itself. */
function firstAddresses(range: string): string[] {
  return range.split(',').map((block) => {
    const cidr = parseCidr(block.trim())
    return typeof cidr === 'object' ? firstAddress(cidr) : block
  })
}

const baseOf = (path: string): string => path.replace(/.*\//, '')
