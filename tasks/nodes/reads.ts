/** What the units of a node read, and where: by the command lines of their processes and of their unit files. Pure. */
import { canonicalAddress, firstAddress, parseCidr } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { isPlainPath } from '../../lib/files/plain-file.ts'
import type { Run } from '../../lib/graph/run.ts'
import { besideOf, folderOf } from '../../lib/node/place.ts'
import { type ComponentProcess, fileAt, type PlacesState, realPath } from '../../lib/node/state.ts'
import { formatNames } from '../../lib/wording.ts'
import { apiServer, mergePlaces, type Place, placesAt, type Reads, store, type Unit } from '../layouts/layout.ts'
import { ownEtcd } from '../layouts/shared.ts'
import { layoutOf } from '../layouts/table.ts'
import { nodeUnits, unitOf } from '../tables/places.ts'
import { type CommandLine, isTrue, readCommand, reloadFlag, withoutDots } from './command-line.ts'
import { compareFlags, type FlagsFound, type WantedFlag } from './flags.ts'

/** A unit of a node, with the places that its process, and its unit file, name. */
export interface UnitSeen extends Unit {
  /** What it reads that `install` does not reach, in a clause each. */
  readonly unreached: readonly string[]
  /** What its command line says that can't be right, in a clause each. */
  readonly wrong: readonly string[]
  /** Flags for files that have a path of another file there, and have to get their own. */
  readonly flags: FlagsFound<WantedFlag & Pick<Place, 'file'>>
  /** Absolute paths of flags that the table does not have. */
  readonly besides: readonly { readonly by: string; readonly path: string }[]
  /** YAML files that its command lines name. */
  readonly configs: readonly string[]
  /**
   * It requests its client certificate from the cluster itself: a kubelet with --bootstrap-kubeconfig or rotateCertificates.
   * Undefined if that is not known for sure.
   */
  readonly rotatesItself: boolean | undefined
  /** Whether its processes and its unit file name a key that it does not get any more; or that is not known for sure. */
  readonly reading: 'withdrawn' | 'known' | 'unknown'
  /** It never reads a CA again: the gate ClientsAllowCARotation is off. */
  readonly keepsCa: boolean
  /** What its process was started from; undefined if that is not known. */
  readonly program: { readonly id: number; readonly path: string } | undefined
}

type Seen = Pick<PlacesState, 'units' | 'processes' | 'folders' | 'files' | 'real' | 'contents'>

/** In the order of the table. */
export function unitsOn(cluster: Cluster, node: ClusterNode, places: Seen): UnitSeen[] {
  const units = nodeUnits(cluster, node).map((unit) => {
    const own = places.processes.filter((process) => isOf(process.command, unit) && isIn(process, unit, places))
    return { unit, commands: commandsOf(unit, own, places) }
  })
  const fixed = units.flatMap(({ unit, commands: { all } }) => {
    const rows = unit.reads.filter(({ mayMove }) => !mayMove)
    return rows.flatMap(({ by, file }) => all.flatMap(({ named }) => named(by)[1].map((path) => ({ file, path }))))
  })
  return units.map(({ unit, commands }) => {
    const override = cluster.install ? cluster.install.units.get(unit.unit) : undefined
    const named = override ? Object.keys(override.files) : []
    const judge = (command: CommandLine) => {
      if (unit.unit === apiServer) return disagreements(cluster, node, command)
      return unit.unit === store && cluster.etcd.ca === 'own' ? narrowings(command) : []
    }
    return unitAt(unit, commands, places, { named, fixed, judge })
  })
}

/** A component that runs, and is of no unit of the node's, with what it reads. */
export interface OtherSeen {
  readonly unit: UnitSeen
  readonly process: ComponentProcess
}

/** Those that cluster.yaml leaves out are not among them. */
export function othersOn(cluster: Cluster, node: ClusterNode, places: Seen): OtherSeen[] {
  const known = nodeUnits(cluster, node).map(({ unit }) => unit)
  return places.processes.flatMap((process) => {
    const row = layoutOf(cluster).units.find((each) => isOf(process.command, each))
    if (!row || (known.includes(row.unit) && isIn(process, row, places))) return []
    const isLeftOut = cluster.install && cluster.install.units.get(row.unit) === false
    if (isLeftOut && process.group.split('/').includes(`${row.unit}.service`)) return []
    const unit = unitOf(row, node.name)
    return [{ unit: unitAt(unit, commandsOf(unit, [process], places), places), process }]
  })
}

/** Started by the component's name. */
function isOf([program = '']: readonly string[], { unit }: Pick<Unit, 'unit'>): boolean {
  return program.replace(/.*\//, '') === unit
}

/** Of that unit of systemd: a user may give a unit, and so a control group, of their own the same name. */
function isIn({ id, group }: ComponentProcess, { unit }: Pick<Unit, 'unit'>, { units }: Pick<Seen, 'units'>): boolean {
  const { group: own = '', process } = units.get(unit) ?? {}
  return (typeof process === 'object' && process.id === id) || (own !== '' && `${group}/`.startsWith(`${own}/`))
}

interface Expected {
  /** The files that cluster.yaml names, where its processes do not. */
  readonly named: readonly string[]
  /** What is read on the node where no other file can be. */
  readonly fixed: readonly { readonly file: string; readonly path: string }[]
  /** What of a command line can't be right, in a clause each. */
  judge(command: CommandLine): readonly string[]
}

/** With the places that its processes name. */
function unitAt(
  unit: Unit,
  { own, running, next, all }: ReturnType<typeof commandsOf>,
  places: Seen,
  { named: inYaml, fixed, judge }: Expected = { named: [], fixed: [], judge: () => [] },
): UnitSeen {
  const [wrong, unreached] = [new Set<string>(), new Set<string>()]
  const { active, process, started = Number.POSITIVE_INFINITY } = places.units.get(unit.unit) ?? {}
  const runs = own.length > 0 || (active === 'active' && process !== 'gone')
  const isNamed = inYaml.length > 0
  const other = runs && own.length === 0 ? `its main process is not ${unit.unit} itself` : undefined
  const unread = running.reduce((why, each) => why ?? each.unread, other)
  if (unread !== undefined && !isNamed) unreached.add(`${unread}: name its files in install.units`)
  const forgotten = unit.reads.filter(({ mayMove, file }) => mayMove && !inYaml.includes(file))
  if (unread !== undefined && isNamed && forgotten.length > 0)
    unreached.add(`${unread}: name ${formatNames(forgotten.map(({ file }) => file))} in install.units too`)
  for (const { config } of running)
    if (config !== undefined && (fileAt(places, config)?.changed ?? 0) > started)
      unreached.add(`its --config ${config} was changed since its start: restart it`)

  const isShared = (file: string, at: string | undefined) =>
    fixed.some(({ file: other, path }) => path === at && other !== file)
  const moved = unit.reads.flatMap((row) => (row.mayMove && movedTo(row, { all, next, isShared })) || [])
  const flags = compareFlags(moved, { running, next })
  const placesBy = (command: CommandLine): Place[] =>
    unit.reads.flatMap((row) => {
      const [by, values] = command.named(row.by)
      // The keys of all its files count; of any other flag the last value does.
      const paths = row.isOfKeys ? values : values.slice(-1)
      const move = moved.find(({ file, flag }) => file === row.file && flag === by)
      if (move && isShared(row.file, paths[0])) return [{ file: row.file, path: move.value, by, loads: 'now' }]
      const reloads = row.mayReload && command.isSet(reloadFlag)
      const loads = runs && command === next ? 'now' : reloads ? 'reload' : row.loads
      if (paths.length === 0 && !row.isOptional && command !== next)
        wrong.add(`it has no ${row.by.join(' and no ')}: name ${row.usual} there`)
      return paths.flatMap((path) => {
        if (isPlainPath(path)) return placesAt({ ...row, loads }, path, by)
        wrong.add(`${by} names ${JSON.stringify(path)}: write an absolute path of plain characters`)
        return []
      })
    })
  const asSeen = (place: Place, isRunning: boolean): Place[] => {
    const { by, path } = place
    const at = [path, realPath(places, path)]
    const has = (paths: ReadonlySet<string>) => at.some((each) => paths.has(each))
    const isApart = own.some(({ apart }) =>
      [...apart].some((each) => at.some((way) => `${way}/`.startsWith(each.replace(/\/?$/, '/')))),
    )
    const isReplaced = own.some(({ replaced }) => has(replaced))
    const isPassed = path.startsWith('/run/credentials/')
    if (isPassed || (isApart && !isReplaced)) {
      const why = isPassed ? 'systemd copies it at its start' : 'its process has mounts, or a root, of its own'
      unreached.add(`${by} (${path}) is no file of the node: ${why}`)
      return []
    }
    // A unit of which a folder is not there is not installed: one that runs would be taken for that.
    const isLost = runs && (unread === undefined || isNamed) && !places.folders.has(folderOf(path))
    const why = isLost ? `and there is no ${folderOf(path)}: make that folder` : whyWrong(place, isRunning, places)
    if (why !== undefined) wrong.add(`${by} names ${path}, ${why}, or name another`)
    // One that is mounted by itself is read by a restart alone.
    const isBound = isReplaced || own.some(({ bound }) => has(bound))
    return [isBound ? { ...place, loads: 'restart', isOfKeys: undefined, isReplaced } : place]
  }
  const commands = [...(unread === undefined ? running : []), ...(next && next.unread === undefined ? [next] : [])]
  const named = commands.flatMap((command) => placesBy(command).flatMap((place) => asSeen(place, command !== next)))
  // The environment of etcd is known only while it runs.
  const isKnown = !(isNamed && unread !== undefined) && (runs ? commands : named).length > 0
  const files = mergePlaces([...named, ...(isKnown ? [] : unit.files.flatMap((place) => asSeen(place, false)))])
  const stillNamed = all.flatMap((command) => namesWithdrawn({ ...unit, files }, command))
  for (const what of [...all.flatMap(judge), ...stillNamed]) wrong.add(what)
  const isKnownAll = unread === undefined && (next ? next.unread === undefined : !places.units.get(unit.unit)?.isLoaded)
  return {
    ...unit,
    files,
    unreached: [...unreached],
    flags,
    besides: running.flatMap(({ flags }) =>
      flags.flatMap(([by, path]) =>
        isPlainPath(path) && !unit.reads.some((row) => row.by.includes(by)) ? [{ by, path }] : [],
      ),
    ),
    wrong: [...wrong],
    configs: all.flatMap(({ config }) => config ?? []),
    rotatesItself: unread === undefined ? commands.some(rotates) : undefined,
    reading: stillNamed.length > 0 ? 'withdrawn' : isKnownAll ? 'known' : 'unknown',
    keepsCa: running.some(isCaKept),
    program: own.map(({ id, command: [path = ''] }) => ({ id, path })).find(({ path }) => isPlainPath(path)),
  }
}

/** Where its flag names a file of another row: it is to name one beside that, or what the unit file has by now. */
function movedTo(
  { by, file, usual }: Reads,
  {
    all,
    next,
    isShared,
  }: Pick<ReturnType<typeof commandsOf>, 'all' | 'next'> & {
    readonly isShared: (file: string, at: string | undefined) => boolean
  },
): (WantedFlag & Pick<Place, 'file'>) | undefined {
  const last = ({ named }: CommandLine) => named(by)[1].at(-1)
  const [shared] = all.filter((command) => isShared(file, last(command)))
  if (!shared) return undefined
  const set = next && last(next)
  const isSet = set !== undefined && !isShared(file, set)
  const beside = folderOf(last(shared) ?? '') + usual.slice(folderOf(usual).length)
  return { file, flag: shared.named(by)[0], value: isSet ? set : beside }
}

/** A clause for each setting of a key that it does not get any more. */
function namesWithdrawn(unit: Pick<Unit, 'withdrawn' | 'files'>, { named }: CommandLine): string[] {
  const isFound = (at: string) => withdrawnPaths(unit).some(({ path }) => path === at)
  return unit.withdrawn.flatMap(({ by, alongWith }) => {
    const [flag, [path]] = named(by)
    if (path === undefined) return []
    return [
      `${flag} names ${path}, and by cluster.yaml no node has that key (certificates.caKeyOnNodes): take ${alongWith} and ${flag} out, and it signs no CSRs any more; then remove that file${isFound(path) ? ', or have --prune do it' : ', which --prune does not find'}`,
    ]
  })
}

/** Of its own processes, and of its next start. */
function commandsOf(unit: Unit, own: readonly ComponentProcess[], places: Seen) {
  const running = own.map(({ command: [, ...args], variables }) => readCommand(args, variables, places))
  // A crash would start it with that: it gets its files, and nothing waits until they are loaded.
  const next = commandAtStart(unit, own, places)
  return { own, running, next, all: [...running, ...(next ? [next] : [])] }
}

/** Root writes where a command line says, which a process may change: nothing is replaced that is of no cluster. */
function whyWrong({ path, part, isElsewhere }: Place, isRunning: boolean, places: Seen): string | undefined {
  const there = fileAt(places, path)
  if (!isElsewhere) return undefined
  if (!there)
    return isRunning && part !== 'pair' && part !== 'ca' ? 'which is not there: put the file there' : undefined
  return there.size > 0 && !there.isKnown ? 'which holds no certificate, key or configuration: remove it' : undefined
}

/** Why something on the node may still read a key that no node gets any more; undefined if nothing does. */
export function whyRead(units: readonly UnitSeen[], places: Seen, path: string): string | undefined {
  const { processes } = places
  const commands = [
    ...processes.map(({ command }) => command.join(' ')),
    ...[...places.units.values()].map(({ start }) => start),
  ]
  const words = commands.flatMap((text) => text?.split(/[\s=,'"]+/) ?? []).map(withoutDots)
  // Another process may see the file by another path.
  const isNamed = (word: string) => realPath(places, word) === realPath(places, path) || baseOf(word) === baseOf(path)
  if (words.some(isNamed)) return 'a command line names it'
  const readers = units.filter(({ withdrawn }) => withdrawn.length > 0)
  const [signs, unclear] = [
    readers.find(({ reading }) => reading === 'withdrawn'),
    readers.find(({ reading }) => reading === 'unknown'),
  ]
  if (signs) return `${signs.unit} still has a key of a CA`
  const flags = readers.flatMap(({ withdrawn }) => withdrawn.flatMap(({ by }) => by))
  const flag = flags.find((each) => words.some((word) => word.replaceAll('_', '-') === each))
  if (flag !== undefined) return `a command line has ${flag}`
  const isCut = processes.some(({ command }) => command.length === 0)
  return unclear || isCut ? `what ${unclear?.unit ?? 'a component'} reads is not known for sure` : undefined
}

const baseOf = (path: string): string => path.replace(/.*\//, '')

/** Where a unit may have had what it does not get any more: beside its other files, too. */
export function withdrawnPaths({
  withdrawn,
  files,
}: Pick<Unit, 'withdrawn' | 'files'>): { file: string; path: string }[] {
  return withdrawn.flatMap(({ file, usual }) => {
    const paths = [usual, ...files.map(({ path }) => `${folderOf(path)}/${baseOf(usual)}`)]
    return [...new Set(paths)].map((path) => ({ file, path }))
  })
}

interface Withdrawn {
  readonly file: string
  readonly path: string
  /** Why it has to stay: something names it, or may. */
  readonly why?: string
  /** A killed run has left it beside its place. */
  readonly isLeftover?: true
}

/** What is there of what units do not get any more, and what killed runs have left beside it. */
export function withdrawnAt(units: readonly UnitSeen[], places: Seen): Withdrawn[] {
  const rows = units.flatMap(withdrawnPaths)
  return [...Map.groupBy(rows, ({ path }) => realPath(places, path))].flatMap(([real, [row, ...others]]) => {
    if (!row) return []
    // A link on the way is its owner's affair.
    const { file, path } = others.find((each) => each.path === real) ?? row
    const reader = whyRead(units, places, path)
    const at = (each: string, isLeftover?: true): Withdrawn[] => {
      const there = fileAt(places, each)
      if (!there) return []
      const isPlain = there.kind === 'file' && realPath(places, each) === each
      const why = reader ?? (isPlain ? undefined : 'it is no plain file')
      return [{ file, path: each, ...(why !== undefined && { why }), ...(isLeftover && { isLeftover }) }]
    }
    return [...at(path), ...besideOf(real).flatMap((each) => at(each, true))]
  })
}

/** What of it --prune removes. */
export function prunedAt({ options }: Pick<Run, 'options'>, units: readonly UnitSeen[], places: Seen): string[] {
  return options.prune ? withdrawnAt(units, places).flatMap(({ path, why }) => (why ? [] : [path])) : []
}

/** Its unit file's; undefined where that has variables, or starts another program. */
function commandAtStart(unit: Unit, own: readonly ComponentProcess[], places: Seen): CommandLine | undefined {
  const { start = '' } = places.units.get(unit.unit) ?? {}
  const command = start.split(' ')
  if (start.includes('$') || !isOf(command, unit)) return undefined
  return readCommand(command.slice(1), own[0]?.variables ?? new Map(), places)
}

/** Flags take precedence over the file. */
function rotates({ named, isSet }: CommandLine): boolean {
  return named(['--bootstrap-kubeconfig'])[1].length > 0 || isSet('--rotate-certificates', 'rotateCertificates')
}

/** https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/ */
function isCaKept({ named }: CommandLine): boolean {
  const gates = /(?:^|,)(?:ClientsAllowCARotation|AllBeta)=([^,]*)/g
  const values = ['featureGates.ClientsAllowCARotation', 'featureGates.AllBeta'].flatMap((by) => named([by])[1])
  const flags = named(['--feature-gates'])[1].flatMap((text) =>
    [...text.matchAll(gates)].map(([, value = '']) => value),
  )
  return [...values, ...flags].some((value) => !isTrue(value))
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
  const correct = 'correct the one that is wrong'
  return [
    ...(isSame
      ? []
      : [`--service-cluster-ip-range is ${range}, and that of cluster.yaml has ${ours.join(', ')}: ${correct}`]),
    ...(isOwn
      ? []
      : [`--advertise-address is ${address}, and cluster.yaml has ${ips.join(', ')} for ${name}: ${correct}`]),
  ]
}
