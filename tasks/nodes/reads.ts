/**
 * What the processes of a node read, and where. A unit's files are named by command lines, seen on the node, then judged. Of a unit that
 * runs as root its processes are believed, as what starts them may be a wrapper; of any other, only what root has written: the unit file
 * and cluster.yaml, since its user can start anything. Pure.
 */
import { canonicalAddress, firstAddress, parseCidr } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { hasDigest } from '../../lib/files/auth-dir.ts'
import { isPlainPath, secretMode } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/target.ts'
import { isOwnAuthorization } from '../../lib/kubernetes/authorization.ts'
import { besideOf, diff, folderOf } from '../../lib/node/place.ts'
import {
  type ComponentProcess,
  fileAt,
  isRunning,
  type PlacesState,
  realPath,
  type TextsSeen,
  textAt,
} from '../../lib/node/state.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { formatNames } from '../../lib/wording.ts'
import { apiServer, mergePlaces, type Place, placesAt, type Reads, store, type Unit } from '../layouts/layout.ts'
import { frontProxy, ownEtcd } from '../layouts/shared.ts'
import { isSwitchedOff, layoutOf, nodeUnits } from '../layouts/tables.ts'
import { type CommandLine, readCommand, reloadFlag, withoutDots } from './command-line.ts'
import { compareFlags, type Starting, type WantedFlag } from './flags.ts'

/** A unit of a node, with the places that its processes, and its unit file, name. */
export type UnitSeen = Readonly<ReturnType<typeof unitAt>>

/** Where an API server is started with a list although cluster.yaml has no `revoked`, or with one of its owner's own. */
export const leftLists = ({ unit, unlistedFlags }: Pick<UnitSeen, 'unit' | 'unlistedFlags'>): readonly Named[] =>
  unit === apiServer ? unlistedFlags.filter(({ by }) => by === '--authorization-config') : []

interface Named {
  /** The setting. */
  readonly by: string
  readonly path: string
}

/** In the order of the table. */
export function unitsOn(cluster: Cluster, node: ClusterNode, places: PlacesState): UnitSeen[] {
  const units = nodeUnits(cluster, node).map((unit) => withoutOwned(contextOf(cluster, unit, places)))
  // What is read on the node where no other file can be.
  const fixed = units.flatMap(({ unit, commands }) => {
    const rows = unit.reads.filter(({ mayMove }) => !mayMove)
    return rows.flatMap(({ by, file }) => commands.flatMap(({ named }) => named(by)[1].map((path) => ({ file, path }))))
  })
  return units.map((context) => {
    const isShared = (file: string, at: string | undefined) =>
      fixed.some(({ file: other, path }) => path === at && other !== file)
    const moved = context.unit.reads.flatMap((row) => movedTo(row, { ...context, isShared }) ?? [])
    return unitAt({ ...context, moved, isShared }, node)
  })
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

export function startingOf(
  cluster: Cluster,
  { unit, service }: UnitSeen,
  places: Pick<PlacesState, 'units' | 'processes'>,
): Starting {
  const [{ command } = { command: [] }] = processesOf({ unit }, places)
  const { sudo } = cluster.install || { sudo: '' }
  const { start, isRenamed = false } = places.units.get(unit) ?? {}
  return { unit, service, command, start, isRenamed, sudo }
}

/** The component's own processes of the unit. */
export function processesOf(
  unit: Pick<Unit, 'unit'>,
  places: Pick<PlacesState, 'units' | 'processes'>,
): ComponentProcess[] {
  return places.processes.filter((process) => isOf(process.command, unit) && isIn(process, unit, places))
}

type Context = Readonly<ReturnType<typeof contextOf>>

/** A flag that names a file of another row, with what it is to name. */
type MovedFlag = WantedFlag & Pick<Place, 'file'>

function contextOf(cluster: Cluster, unit: Unit, places: PlacesState) {
  const own = processesOf(unit, places)
  const { active, process, account } = places.units.get(unit.unit) ?? {}
  const runs = own.length > 0 || (active === 'active' && process !== 'gone')
  // What root starts may give up its rights, as with setpriv.
  const isRoots = !places.units.has(unit.unit) || (account?.uid === 0 && own.every(({ uid }) => uid === 0))
  const running = own.map(({ command: [, ...args], variables }) => readCommand(args, variables, places))
  const next = commandAtStart(unit, isRoots, places)
  const override = cluster.install ? cluster.install.units.get(unit.unit) : undefined
  const other = runs && own.length === 0 ? `its main process is not ${unit.unit} itself` : undefined
  return {
    ...{ cluster, unit, places, own, running },
    /** Of its next start: its unit file's, which a crash would start it with. */
    next,
    /** Both. */
    commands: [...running, ...(next ? [next] : [])],
    /** Those that say where its files are, as far as they are known. */
    heard: [...(isRoots ? running : []), ...(next ? [next] : [])],
    /** Why not all of these is known. */
    unread: isRoots ? running.reduce((why, each) => why ?? each.unread, other) : whyNotSaid(runs, next, places),
    /** It runs as root: its processes are believed. */
    isRoots,
    /** The files that cluster.yaml names, where its command lines do not. */
    inYaml: override ? Object.keys(override.files) : [],
    /** It has a process, or is about to. */
    runs,
    owned: [] as readonly string[],
    moved: [] as readonly MovedFlag[],
    /** Whether another file of the node's is read at that path. */
    isShared: (_file: string, _at: string | undefined): boolean => false,
  }
}

/** Why root has not written what a unit of another user reads. */
function whyNotSaid(runs: boolean, next: CommandLine | undefined, places: PlacesState): string | undefined {
  if (!next) return runs ? 'it runs as another user than root, and its unit file does not say what it reads' : undefined
  const { config, unread } = next
  const there = config === undefined ? undefined : fileAt(places, config)
  const isOpen = there !== undefined && (there.uid !== 0 || (there.mode & 0o022) !== 0)
  return unread ?? (isOpen ? `others than root may change its --config ${config}` : undefined)
}

/** Its unit file's; undefined where that has variables, or starts another program. */
function commandAtStart(unit: Unit, isRoots: boolean, places: PlacesState): CommandLine | undefined {
  const state = places.units.get(unit.unit)
  const { start = '', variables, environmentFiles = [] } = state ?? {}
  const command = start.split(' ')
  if (start.includes('$') || !isOf(command, unit)) return undefined
  const mayCount = isRoots || environmentFiles.every((path) => places.settings.get(path)?.isRoots !== false)
  const set = [variables?.unitFile, mayCount ? variables?.files : undefined].flatMap((each) => [...(each ?? [])])
  return readCommand(command.slice(1), new Map(set), places)
}

/** What was found of a unit: a place that it reads, or a clause on why not. */
type Found = FoundPlace | { readonly wrong: string } | { readonly unreached: string }

interface FoundPlace {
  readonly place: Place
  /** Named by a process, not only by the unit file. */
  readonly isRunning: boolean
}

function unitAt(context: Context, node: ClusterNode) {
  const { cluster, unit, places, next, commands, heard, unread, isRoots, inYaml, runs } = context
  const believed = heard.filter((command) => command.unread === undefined)
  const named = believed.flatMap((command) => placesNamed(context, command))
  // The environment of etcd is known only while it runs.
  const isKnown = !(inYaml.length > 0 && unread !== undefined) && (runs && isRoots ? believed : named).length > 0
  const usual = isKnown ? [] : unit.files.map((place): Found => ({ place, isRunning: false }))
  const seen = [...named, ...usual].flatMap((each) => ('place' in each ? placeSeen(context, each, isKnown) : [each]))
  const files: readonly Place[] = mergePlaces(seen.flatMap((each) => ('place' in each ? [each.place] : [])))
  const stillNamed = commands.flatMap((command) => namesKeptOff({ ...unit, files }, command))
  const disagree =
    unit.unit === apiServer
      ? commands.flatMap((each) => [...disagreements(cluster, node, each), ...openProxies(each, places)])
      : []
  const narrow = unit.unit === store && cluster.etcd.ca === 'own' ? commands.flatMap(narrowings) : []
  const judged = [...disagree, ...narrow, ...stillNamed, ...contradictions(context)]
  const isKnownAll = unread === undefined && (next ? next.unread === undefined : !places.units.get(unit.unit)?.isLoaded)
  /** Whether its processes and its unit file name a key that it does not get any more; or that is not known for sure. */
  const reading: 'keptOffNodes' | 'known' | 'unknown' =
    stillNamed.length > 0 ? 'keptOffNodes' : isKnownAll ? 'known' : 'unknown'
  return {
    ...unit,
    files,
    /** What it reads that `install` does not reach, in a clause each. */
    unreached: unique([
      ...whyUnreached(context),
      ...seen.flatMap((each) => ('unreached' in each ? each.unreached : [])),
    ]),
    /** Why its configuration of a setting is left to its owner, in a clause each. */
    owned: context.owned,
    /** What it has to be started with: flags that name a path of another file there, or none, and those of the table. */
    flags: compareFlags([...context.moved, ...(unit.startFlags ?? [])], context),
    /** Absolute paths of flags that the table does not have. */
    unlistedFlags: heard.flatMap(({ flags }) =>
      namesIn(flags.filter(([by]) => !unit.reads.some((row) => row.by.includes(by)))),
    ),
    /** What its command line says that can't be right, in a clause each. */
    wrong: unique([...seen.flatMap((each) => ('wrong' in each ? each.wrong : [])), ...judged]),
    /** YAML files that its command lines name. */
    configs: unique(heard.flatMap(({ config }) => config ?? [])),
    /**
     * It requests its client certificate from the cluster itself: a kubelet with --bootstrap-kubeconfig or rotateCertificates.
     * Undefined if that is not known for sure.
     */
    rotatesItself: unread === undefined ? believed.some(rotates) : undefined,
    /** The name that a kubelet gives its node; undefined without --hostname-override. */
    nodeName: commands.map(({ named }) => named(['--hostname-override'])[1].at(-1)).find((each) => each !== undefined),
    reading,
  }
}

const unique = (clauses: readonly string[]): string[] => [...new Set(clauses)]

/** Named: the places of each row that the command line has. */
function placesNamed(context: Context, command: CommandLine): Found[] {
  const { unit, next, runs, isRoots, moved } = context
  const isRunning = command !== next
  return unit.reads.flatMap((row): Found[] => {
    const [by, values] = command.named(row.by)
    // The keys of all its files count; of any other flag the last value does.
    const paths = row.isOfKeys ? values : values.slice(-1)
    const move = moved.find(({ file, flag }) => file === row.file && flag === by)
    if (move && (row.isWanted ? paths.length === 0 : context.isShared(row.file, paths[0])))
      return [{ place: { file: row.file, path: move.value, by, loads: 'now' }, isRunning }]
    const reloads = row.replaces !== undefined || (row.mayReload && command.isSet(reloadFlag))
    if (row.by.length === 0 || (row.replaces && paths.length === 0))
      return placesAt(row, row.usual, by).map((place) => ({ place, isRunning: false }))
    // Nothing waits for the next start of a unit whose process was believed.
    const loads = runs && isRoots && !isRunning ? 'now' : reloads ? 'reload' : row.loads
    if (paths.length === 0 && !row.isOptional && isRunning)
      return [{ wrong: `it has no ${row.by.join(' and no ')}: name ${row.usual} there` }]
    return paths.flatMap((path): Found[] =>
      isPlainPath(path)
        ? placesAt({ ...row, loads }, path, by).map((place) => ({ place, isRunning }))
        : [{ wrong: `${by} names ${JSON.stringify(path)}: write an absolute path of plain characters` }],
    )
  })
}

/** What a flag of the row is to name, where it stands for others, is missing, or names a file of another row. */
function movedTo(row: Reads, context: Context): MovedFlag | undefined {
  if (row.replaces) return addedFor(row, context)
  if (row.isWanted) return wantedTo(row, context)
  return row.mayMove ? apartTo(row, context) : undefined
}

/** Where its flag names a file of another row: it is to name one beside that, or what the unit file has by now. */
function apartTo({ by, file, usual }: Reads, { commands, next, isShared }: Context): MovedFlag | undefined {
  const last = ({ named }: CommandLine) => named(by)[1].at(-1)
  const shared = commands.find((command) => isShared(file, last(command)))
  if (!shared) return undefined
  const set = next && last(next)
  const isSet = set !== undefined && !isShared(file, set)
  const beside = folderOf(last(shared) ?? '') + usual.slice(folderOf(usual).length)
  return { file, flag: shared.named(by)[0], value: isSet ? set : beside }
}

/** Where its flag is missing: it is to name what another start of it does, or a file beside the first that the unit reads. */
function wantedTo({ by, file, usual }: Reads, { unit, commands, heard, inYaml }: Context): MovedFlag | undefined {
  const lastIn = (some: readonly CommandLine[], settings: readonly string[]) =>
    some.map(({ named }) => named(settings)[1].at(-1))
  if (!lastIn(commands, by).includes(undefined)) return undefined
  const [set] = lastIn(heard, by).filter((path) => path !== undefined)
  const [first = usual] = lastIn(heard, unit.reads[0]?.by ?? []).filter((path) => path !== undefined)
  const beside = folderOf(inYaml.includes(file) ? usual : first) + usual.slice(folderOf(usual).length)
  return { file, flag: by[0] ?? '', value: set ?? beside }
}

/** A setting that it has to get in place of others; where it is there, with the path that it names. */
function addedFor({ by: [flag = ''], file, usual, replaces = [] }: Reads, { heard }: Context): MovedFlag {
  const value = heard.flatMap(({ named }) => named([flag])[1].slice(-1)).at(-1) ?? usual
  return { file, flag, value, replaces }
}

/** What is another's configuration, or would take the place of more than the guide has, is left to its owner. */
function withoutOwned(context: Context): Context {
  const { unit, commands, places } = context
  const [row] = unit.reads.filter(({ replaces }) => replaces)
  if (!row) return context
  const owned = commands.flatMap((command) => whyOwned(row, command, places) ?? [])
  if (owned.length === 0) return context
  return { ...context, unit: { ...unit, reads: unit.reads.filter((each) => each !== row) }, owned: unique(owned) }
}

function whyOwned({ by }: Reads, { named, flags }: CommandLine, places: PlacesState): string | undefined {
  const [flag, [path]] = named(by)
  if (path !== undefined) {
    const text = places.contents.get(realPath(places, path))?.toString()
    return text !== undefined && isOwnAuthorization(text) ? `its ${flag} ${path} is your own` : undefined
  }
  const mode = named(['--authorization-mode'])[1].at(-1)
  const webhook = flags.find(([name]) => name.startsWith('--authorization-webhook-'))?.[0]
  if (mode?.split(',').toSorted().join() === 'Node,RBAC' && webhook === undefined) return undefined
  return webhook === undefined ? `its --authorization-mode is ${mode ?? 'not set'}` : `it has ${webhook}`
}

/** Seen: what is at the place, and whether the unit's processes see the same. */
function placeSeen(context: Context, found: FoundPlace, isKnown: boolean): Found[] {
  const { places, own } = context
  const { by, path } = found.place
  const at = [path, realPath(places, path)]
  const has = (paths: ReadonlySet<string>) => at.some((each) => paths.has(each))
  const isApart = own.some(({ apart }) => [...apart].some((each) => at.some((way) => isBelow(way, each))))
  const isReplaced = own.some(({ replaced }) => has(replaced))
  const isPassed = path.startsWith('/run/credentials/')
  if (isPassed || (isApart && !isReplaced)) {
    const why = isPassed ? 'systemd copies it at its start' : 'its process has mounts, or a root, of its own'
    return [{ unreached: `${by} (${path}) is no file of the node: ${why}` }]
  }
  const why = whyLost(context, path, isKnown) ?? whyWrong(context, found)
  // One that is mounted by itself is read by a restart alone.
  const isBound = isReplaced || own.some(({ bound }) => has(bound))
  const place: Place = isBound ? { ...found.place, loads: 'restart', isOfKeys: undefined, isReplaced } : found.place
  return [
    { ...found, place },
    ...(why === undefined
      ? []
      : [{ wrong: `${by === '' ? 'it needs' : `${by} names`} ${path}, ${why}, or name another` }]),
  ]
}

const isBelow = (path: string, folder: string) => `${path}/`.startsWith(folder.replace(/\/?$/, '/'))

/** A unit of which a folder is lost is not one that is not installed: its files would be taken for installed where nobody reads them. */
function whyLost({ places, unit, unread, inYaml, runs }: Context, path: string, isKnown: boolean): string | undefined {
  const unmounted = places.unmounted.find((folder) => isBelow(realPath(places, path), folder))
  if (unmounted !== undefined)
    return `and ${unmounted} is not mounted: systemctl start "$(systemd-escape --path --suffix=mount ${unmounted})"`
  const isUnsaid = unread !== undefined && inYaml.length === 0
  const isMeant = isKnown || runs || isRunning(places, unit.unit)
  if (isUnsaid || !isMeant || places.folders.has(folderOf(path))) return undefined
  return `and there is no ${folderOf(path)}: make that folder`
}

/** Root writes where a command line says, which a process may change: nothing is replaced that is of no cluster, and no owner changed. */
function whyWrong({ cluster, unit, isRoots, places }: Context, found: FoundPlace): string | undefined {
  const { path, part, file, isElsewhere } = found.place
  const there = fileAt(places, path)
  if (!isElsewhere || (!there && (part === 'pair' || part === 'ca'))) return undefined
  if (!there) return found.isRunning || !isRoots ? 'which is not there: put the file there' : undefined
  if (there.size > 0 && !there.isKnown) return 'which holds no certificate, key or configuration: remove it'
  const account = places.units.get(unit.unit)?.account
  if (isRoots || !account || part === 'pair' || part === 'ca') return undefined
  const isSecret = layoutOf(cluster).files.mode(file) === secretMode
  const [difference] = diff([{ path: realPath(places, path), sha256: undefined, isSecret, readers: [account] }], places)
  if (!difference) return undefined
  const mode = isSecret ? '600' : '644'
  return `which is ${difference.what}: chown ${account.uid} ${path} && chmod ${mode} ${path}`
}

/** What `install` does not reach of the unit as a whole. */
function whyUnreached({ unit, places, own, running, next, unread, inYaml }: Context): string[] {
  const {
    started = Number.POSITIVE_INFINITY,
    needsReload,
    environmentFiles = [],
    unitFiles = [],
  } = places.units.get(unit.unit) ?? {}
  const forgotten = unit.reads.filter(({ mayMove, isWanted, file }) => (mayMove || isWanted) && !inYaml.includes(file))
  const changedSince = (path: string) =>
    Math.max(fileAt(places, path)?.changed ?? 0, places.settings.get(path)?.changed ?? 0) > started
  const isUp = own.length > 0 || isRunning(places, unit.unit)
  const changed = [
    ...running.flatMap(({ config }) => (config === undefined ? [] : [['--config', config] as const])),
    ...environmentFiles.map((path) => ['EnvironmentFile', path] as const),
    // What it says otherwise is compared.
    ...(next ? [] : unitFiles.map((path) => ['unit file', path] as const)),
  ].filter(([, path]) => isUp && changedSince(path))
  return [
    unread !== undefined && inYaml.length === 0 && `${unread}: name its files in install.units`,
    unread !== undefined &&
      inYaml.length > 0 &&
      forgotten.length > 0 &&
      `${unread}: name ${formatNames(forgotten.map(({ file }) => file))} in install.units too`,
    needsReload && 'its unit file was changed since systemd read it: systemctl daemon-reload',
    ...changed.map(([what, path]) => `its ${what} ${path} was changed since its start: restart it`),
  ].filter((each) => typeof each === 'string')
}

/** Judged: a process of another user than root that reads other files than root has written. */
function contradictions({ unit, isRoots, running, next, inYaml }: Context): string[] {
  if (isRoots || (!next && inYaml.length === 0)) return []
  const source = next ? 'its unit file' : 'cluster.yaml'
  return unit.reads.flatMap((row) => {
    const said = next ? next.named(row.by)[1] : [row.usual]
    return running.flatMap(({ named }) => {
      const [by, values] = named(row.by)
      const others = values.filter((path) => !said.includes(path))
      return others.map((path) => `its process has ${by} ${path}, and ${source} has not: restart it`)
    })
  })
}

/** Absolute paths in the values: `--tls-sni-cert-key=CERT,KEY:NAMES`. */
function namesIn(settings: readonly (readonly [by: string, value: string])[]): Named[] {
  return settings.flatMap(([by, value]) => pathsIn(value).map((path) => ({ by, path })))
}

const pathsIn = (value: string): string[] => value.split(/[,:]/).map(withoutDots).filter(isPlainPath)

/** A clause for each setting of a key that it does not get any more. */
function namesKeptOff(unit: Pick<Unit, 'keptOffNodes' | 'switchedOff' | 'files'>, { named }: CommandLine): string[] {
  const isFound = (at: string) => keptOffPaths(unit).some(({ path }) => path === at)
  return unit.keptOffNodes.flatMap(({ by, alongWith }) => {
    const [flag, [path]] = named(by)
    if (path === undefined) return []
    return [
      `${flag} names ${path}, and by cluster.yaml no node has that key (certificates.caKeyOnNodes): take ${alongWith} and ${flag} out, and it signs no CSRs any more; then remove that file${isFound(path) ? ', or have --prune do it' : ', which --prune does not find'}`,
    ]
  })
}

export type OtherProcess = Readonly<ReturnType<typeof otherProcessesOn>[number]>

/**
 * Processes of no unit of the node's that may read files of ours, each with the paths that it names, and those that these name.
 * `component`: by its program's name. Those that cluster.yaml leaves out are not among them.
 */
export function otherProcessesOn(cluster: Cluster, node: ClusterNode, places: PlacesState) {
  const units = nodeUnits(cluster, node)
  return places.processes.flatMap((process) => {
    const row = layoutOf(cluster).units.find((each) => isOf(process.command, each))
    const isUnits = units.some((unit) => (!row || row.unit === unit.unit) && isIn(process, unit, places))
    const isLeftOut = row && cluster.install && cluster.install.units.get(row.unit) === false
    if (isUnits || (isLeftOut && process.group.split('/').includes(`${row.unit}.service`))) return []
    const { flags } = readCommand(process.command.slice(1), process.variables, places)
    return [{ process, component: row?.unit, names: withNamed(namesIn([...flags, ...process.variables]), places) }]
  })
}

/** Also what a configuration names, and what the kubeconfig that is named there does. */
export function withNamed(named: readonly Named[], places: TextsSeen): Named[] {
  const all = new Map(named.map((each) => [each.path, each]))
  // A Map also goes through what is added meanwhile.
  for (const { by, path } of all.values())
    for (const each of namedIn(path, places)) if (!all.has(each)) all.set(each, { by, path: each })
  return [...all.values()]
}

/** The paths of files in a YAML or JSON file. Other values may be secrets: none is sent to the node again as a path. */
function namedIn(path: string, places: TextsSeen): string[] {
  const settings = textAt(places, path).matchAll(
    /^[ \t-]*"?(?:certificate-authority|client-certificate|[\w-]*(?:[Ff]ile|[Kk]ube[Cc]onfig))"?:[ \t]*["']?([^\s"',]+)/gm,
  )
  return [...settings].flatMap(([, value = '']) =>
    pathsIn(value.startsWith('/') ? value : `${folderOf(path)}/${value}`),
  )
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
  const readers = units.filter(
    ({ keptOffNodes, switchedOff }) => keptOffNodes.length > 0 || switchedOff.some(({ file }) => file === baseOf(path)),
  )
  const [signs, unclear] = [
    readers.find(({ reading }) => reading === 'keptOffNodes'),
    readers.find(({ reading }) => reading === 'unknown'),
  ]
  if (signs) return `${signs.unit} still has a key of a CA`
  const flags = readers.flatMap(({ keptOffNodes }) => keptOffNodes.flatMap(({ by }) => by))
  const flag = flags.find((each) => words.some((word) => word.replaceAll('_', '-') === each))
  if (flag !== undefined) return `a command line has ${flag}`
  const isCut = processes.some(({ command }) => command.length === 0)
  return unclear || isCut ? `what ${unclear?.unit ?? 'a component'} reads is not known for sure` : undefined
}

const baseOf = (path: string): string => path.replace(/.*\//, '')

/** Where a unit may have had what it does not get any more: beside its other files, too. */
export function keptOffPaths({
  keptOffNodes,
  switchedOff,
  files,
}: Pick<Unit, 'keptOffNodes' | 'switchedOff' | 'files'>): { file: string; path: string }[] {
  return [...keptOffNodes, ...switchedOff].flatMap(({ file, usual }) => {
    const paths = [usual, ...files.map(({ path }) => `${folderOf(path)}/${baseOf(usual)}`)]
    return [...new Set(paths)].map((path) => ({ file, path }))
  })
}

interface KeptOff {
  readonly file: string
  readonly path: string
  /** Why it has to stay: something names it, or may. */
  readonly why?: string
  /** A killed run has left it beside its place. */
  readonly isLeftover?: true
}

/** The files there that units no longer get, and what killed runs left beside them. A file that is switched off counts only if it is ours. */
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
    const reader = whyRead(units, places, path)
    const at = (each: string, isLeftover?: true): KeptOff[] => {
      const there = fileAt(places, each)
      if (!there || (isSwitchedOff(cluster, file) && !hasDigest(auth, file, there.sha256))) return []
      const isPlain = there.kind === 'file' && realPath(places, each) === each
      const why = reader ?? (isPlain ? undefined : 'it is no plain file')
      return [{ file, path: each, ...(why !== undefined && { why }), ...(isLeftover && { isLeftover }) }]
    }
    return [...at(path), ...besideOf(real).flatMap((each) => at(each, true))]
  })
}

/** What of it --prune removes. */
export function prunedAt(
  run: Pick<Run, 'options' | 'auth' | 'cluster'>,
  units: readonly UnitSeen[],
  places: PlacesState,
): string[] {
  return run.options.prune ? keptOffAt(run, units, places).flatMap(({ path, why }) => (why ? [] : [path])) : []
}

/** Flags take precedence over the file. */
function rotates({ named, isSet }: CommandLine): boolean {
  return named(['--bootstrap-kubeconfig'])[1].length > 0 || isSet('--rotate-certificates', 'rotateCertificates')
}

/** By which an etcd takes only some certificates of its CA: https://etcd.io/docs/v3.6/op-guide/configuration/#security */
const narrowing = ['--peer-cert-allowed-cn', '--peer-cert-allowed-hostname', '--client-cert-allowed-hostname']

function narrowings({ named }: CommandLine): string[] {
  return narrowing.flatMap((flag) => {
    const [value] = named([flag])[1]
    return value === undefined || (flag === narrowing[0] && value === ownEtcd.server)
      ? []
      : [`${flag} is ${value}, and its certificates are others with a CA of its own: take it out`]
  })
}

/** Its CA signs the clients whose headers an API server believes, whoever they name. */
export const proxyCaFlag = '--requestheader-client-ca-file'

/** A clause if a client of the cluster may claim to be anybody. */
function openProxies({ named }: CommandLine, places: PlacesState): string[] {
  const [clientFlag, namesFlag] = ['--client-ca-file', '--requestheader-allowed-names']
  const [proxyCa, clientCa = ''] = [proxyCaFlag, clientFlag].map((each) => named([each])[1].at(-1))
  if (proxyCa === undefined) return []
  const [ofProxies, ofClients] = [proxyCa, clientCa].map((path) => readCertificates(textAt(places, path)))
  const isShared = ofProxies?.some((ca) => ofClients?.some(({ publicKey }) => publicKey.equals(ca.publicKey)))
  if (isShared || realPath(places, proxyCa) === realPath(places, clientCa))
    return [
      `${proxyCaFlag} has the CA of ${clientFlag} (${proxyCa}), whose clients may claim to be anybody (X-Remote-User): take it out, and set aggregation: true in cluster.yaml, which gives it a CA of its own`,
    ]
  if (named([namesFlag])[1].length > 0) return []
  return [
    `without ${namesFlag} each client of ${proxyCaFlag} may claim to be anybody (X-Remote-User): set ${namesFlag}=${frontProxy.client}`,
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
    !isSame && `--service-cluster-ip-range is ${range}, and that of cluster.yaml has ${ours.join(', ')}`,
    !isOwn && `--advertise-address is ${address}, and cluster.yaml has ${ips.join(', ')} for ${name}`,
  ].flatMap((each) => (each === false ? [] : `${each}: correct the one that is wrong`))
}
