/**
 * Agreement: a unit reads our files where cluster.yaml, else the guide, declares them, or nothing is installed on its
 * node. What counts are the arguments of its main process, with the YAML file that they name; where it does not run, the
 * command of its unit file. Root writes to declared paths alone. Pure.
 *
 * ```text
 *   the setting of a file                                            the file is
 *   ---------------------------------------------------------------  ---------------------------------------------
 *   names the declared path                                          placed
 *   is missing, and cluster.yaml declares the path                   placed: an environment or a wrapper may have it
 *   is wrong in the process, and right in the unit file              placed, and the unit is restarted
 *   is missing, and a key of cluster.yaml wants the file;            placed, and its owner has to set the flag
 *     or it names the declared path of another file of the node
 *   is missing, of a file that is optional                           not read
 *   is missing otherwise, or names any other path                    a disagreement
 *   can't be known: the unit has no process yet, and no command      placed
 * ```
 */

import { isMap } from 'yaml'
import { firstAddress, parseCidr } from '../../lib/address.ts'
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { memoised } from '../../lib/files/plain-file.ts'
import { isForeignAuthorization } from '../../lib/kubernetes/authorization.ts'
import { folderOf } from '../../lib/node/place.ts'
import { isRunning, type PlacesState, realPath } from '../../lib/node/state.ts'
import { formatNames, printable, quote } from '../../lib/wording.ts'
import { parseYaml } from '../../lib/yaml.ts'
import { apiServer, mergePlaces, NODE, type Place, placesAt, type Reads, type Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../layouts/tables.ts'

interface MissingFlag {
  readonly file: string
  readonly flag: string
  readonly value: string
  /** Flags in whose place it stands: the component takes only one of them. */
  readonly replaces?: readonly string[] | undefined
}

export interface UnitOnNode extends Unit {
  readonly files: readonly Place[]
  /** Flags that neither its process nor its unit file has: its owner has to set them. */
  readonly unset: readonly MissingFlag[]
  /** Flags that its unit file has, and its process has not: a restart sets them. */
  readonly notStartedWith: readonly MissingFlag[]
  readonly disagreement: Failure | undefined
  /** Why an API server gets no list of the revoked: a clause. */
  readonly owned: string | undefined
}

export function unitsOn(cluster: Cluster, node: ClusterNode, places: PlacesState): UnitOnNode[] {
  const units = nodeUnits(cluster, node)
  const declared = new Map(units.flatMap(({ files }) => files.map(({ path, file }) => [realPath(places, path), file])))
  return units.map((unit) => compareUnit({ cluster, node, unit, places, declared }))
}

export function refuseDisagreement(units: readonly UnitOnNode[]): void {
  for (const { disagreement } of units) if (disagreement) throw disagreement
}

/** For each unit, the flags that its owner has to set. Where it has variables, a run can't see them. */
export function unsetOn(units: readonly UnitOnNode[], concerns: (file: string) => boolean = () => true): string[] {
  const instead = ({ replaces = [] }: MissingFlag) =>
    replaces.length > 0 ? ` (instead of ${formatNames(replaces)})` : ''
  return units.flatMap(({ unit, service, unset }) => {
    if (!unset.some(({ file }) => concerns(file))) return []
    const flags = unset.map((desired) => `${desired.flag}=${desired.value}${instead(desired)}`)
    return [
      `${unit} needs ${flags.join(', ')}; set that where the command line of the unit comes from (systemctl cat ${quote(service)}), then run:\n    systemctl daemon-reload\nthe next run restarts ${unit}; if a run prints this again, restart ${unit} yourself, one node at a time`,
    ]
  })
}

interface Site {
  readonly cluster: Cluster
  readonly node: ClusterNode
  readonly unit: Unit
  readonly places: PlacesState
  /** The declared files of all units of the node, by their real paths. */
  readonly declared: ReadonlyMap<string, string>
}

function compareUnit(site: Site): UnitOnNode {
  const { cluster } = site
  const process = processOf(site)
  const next = commandAtStart(site)
  const command = process ?? next
  const owned = command && whyOwned(site, command)
  const unit = owned === undefined ? site.unit : withoutList(site.unit)
  const settings = unit.reads.map((row) => readSetting(site, row, process, next))
  const isDrained = cluster.install && cluster.install.drain !== '' ? unit.isDrained : undefined
  const files = placesIn(settings, process)
  const missing = command ? (unit.startFlags ?? []).filter(({ flag, value }) => command.last(flag) !== value) : []
  const isAtStart = ({ flag, value }: MissingFlag) => next?.last(flag) === value
  const flagsThat = (is: Setting['flag']) => settings.filter(({ flag }) => flag === is).map(flagFor)
  return {
    ...unit,
    ...{ files, owned, isDrained },
    unset: [...flagsThat('unset'), ...missing.filter((flag) => !isAtStart(flag))],
    notStartedWith: [...flagsThat('at its next start'), ...missing.filter(isAtStart)],
    disagreement:
      command && (findElsewhere(site, command, settings) ?? findWrong({ ...site, unit }, command, { settings, files })),
  }
}

/** Of a unit that runs; a container that has no main process shows no flag. */
function processOf({ unit, places }: Site): CommandLine | undefined {
  const { active, process, command } = places.units.get(unit.unit) ?? {}
  if (command) return readCommand(command.slice(1), places)
  return active === 'active' && process === undefined ? readCommand([], places) : undefined
}

/** The unit file's command; undefined where that has variables, or starts another program. */
function commandAtStart({ unit, places }: Site): CommandLine | undefined {
  const { start = '' } = places.units.get(unit.unit) ?? {}
  const [program = '', ...args] = start.split(' ')
  return start.includes('$') || program.replace(/.*\//, '') !== unit.unit ? undefined : readCommand(args, places)
}

function withoutList(unit: Unit): Unit {
  const reads = unit.reads.filter(({ replaces }) => !replaces)
  return { ...unit, reads, files: unit.files.filter(({ file }) => reads.some((row) => row.file === file)) }
}

/** A clause, unless the API server has our authorization, or the guide's, which ours replaces. */
function whyOwned({ unit, places }: Site, { named, last, flags }: CommandLine): string | undefined {
  const row = unit.reads.find(({ replaces }) => replaces)
  if (!row) return undefined
  const { by, path } = named(row.by)
  if (path !== undefined) {
    const text = places.contents.get(realPath(places, path))?.toString()
    if (realPath(places, path) !== realPath(places, row.usual)) return `its ${by} is ${path}, not ${row.usual}`
    return text !== undefined && isForeignAuthorization(text) ? `its ${by} ${path} is yours` : undefined
  }
  const webhook = flags.find((flag) => flag.startsWith('--authorization-webhook-'))
  if (webhook !== undefined) return `it has ${webhook}`
  const mode = last('--authorization-mode')
  return mode?.split(',').toSorted().join() === 'Node,RBAC'
    ? undefined
    : `its --authorization-mode is ${mode ?? 'not set'}`
}

interface Setting {
  readonly row: Reads
  readonly is: 'placed' | 'not read' | 'missing' | 'elsewhere'
  /** The setting, as cluster.yaml writes it: another node may have it in a YAML file. */
  readonly by: string
  readonly path?: string | undefined
  /** The declared path is not named yet: by neither command, or by that of the unit file alone. */
  readonly flag?: 'unset' | 'at its next start'
}

function readSetting(site: Site, row: Reads, process: CommandLine | undefined, next: CommandLine | undefined): Setting {
  const later = next && readRow(site, row, next)
  const now = process ? readRow(site, row, process) : later
  if (!now) return { row, is: 'placed', by: '' }
  const isNamed = ({ is, path, flag }: Setting) => is === 'placed' && path !== undefined && !flag
  return process && later && isNamed(later) && !isNamed(now) ? { ...later, flag: 'at its next start' } : now
}

function readRow({ places, declared }: Site, row: Reads, command: CommandLine): Setting {
  const isUsual = (path: string) => realPath(places, path) === realPath(places, row.usual)
  const { by, paths } = command.named(row.by)
  // An API server takes several files of keys, and some may be its owner's. Of any other flag the last value counts.
  const path = (row.isOfKeys ? paths.find(isUsual) : undefined) ?? paths.at(-1)
  const setting = { row, by: row.by.find((each) => each.startsWith('--')) ?? by, path }
  if (path === undefined) {
    if (row.replaces ?? row.isDesired) return { ...setting, is: 'placed', flag: 'unset' }
    if (row.by.length === 0 || row.isDeclared) return { ...setting, is: 'placed' }
    return { ...setting, is: row.isOptional ? 'not read' : 'missing' }
  }
  if (isUsual(path)) return { ...setting, is: 'placed' }
  const other = declared.get(realPath(places, path))
  if (other === undefined || other === row.file) return { ...setting, is: 'elsewhere' }
  return { ...setting, is: 'placed', flag: 'unset' }
}

const flagFor = ({ row: { file, usual: value, replaces }, by: flag }: Setting): MissingFlag => ({
  ...{ file, flag, value, replaces },
})

/** What no process reads yet does no harm now; what its command line says that it reloads needs no restart. */
function placesIn(settings: readonly Setting[], process: CommandLine | undefined): Place[] {
  return mergePlaces(
    settings.flatMap(({ row, is, flag }) => {
      if (is !== 'placed') return []
      const isReloaded = process && (row.replaces ?? (row.mayReload && process.isSet(reloadFlag)))
      const loads = flag ? 'now' : isReloaded ? 'reload' : undefined
      const isUnnamed = flag ? true : undefined
      return placesAt(row).map((place): Place => ({ ...place, isUnnamed, loads: loads ?? place.loads }))
    }),
  )
}

const general = (node: ClusterNode, text: string): string => text.replaceAll(node.name, NODE)

/** A unit that reads other paths: with the line of cluster.yaml that says the same. */
function findElsewhere({ node, unit }: Site, { configFlag, config }: CommandLine, settings: readonly Setting[]) {
  const refused = (path: string, by: string, key: string) =>
    new Failure(
      `${unit.unit} reads ${printable(path)} (${by}), and cluster.yaml has another path; nothing is installed`,
      {
        node: node.name,
        code: 'contradicted',
        remedy: `if the unit is right, set in cluster.yaml:\n    install.units.${unit.unit}.${printable(key)}`,
      },
    )
  if (config !== undefined && config !== unit.config && unit.files.length > 0)
    return refused(config, configFlag, `config: ${general(node, config)}`)
  const elsewhere = settings.filter(({ is }) => is === 'elsewhere')
  const [first] = elsewhere
  if (first?.path === undefined) return undefined
  const files = [...new Set(elsewhere.map(({ row }) => row.file))].map((file) => {
    const named = settings.filter(({ row, path }) => row.file === file && path !== undefined)
    const paths = named.map(({ by, path = '' }) => `${by}: ${general(node, path)}`)
    return `${general(node, file)}: { ${paths.join(', ')} }`
  })
  return refused(first.path, first.by, `files: { ${files.join(', ')} }`)
}

/** A setting that is missing or can't be right, or a path where nothing can be installed: the first. */
function findWrong(
  site: Site,
  command: CommandLine,
  { settings, files }: { readonly settings: readonly Setting[]; readonly files: readonly Place[] },
): Failure | undefined {
  const { node, unit, places } = site
  const change = `change that on ${node.name}, and restart it:\n    systemctl edit --full ${unit.service}`
  const wrong = (what: string, remedy = `${change}\nthen ${runAgain}`) =>
    new Failure(`${unit.unit}: ${what}`, { node: node.name, code: 'wrong-setting', remedy })
  const missing = settings.find(({ is }) => is === 'missing')?.row
  if (missing) {
    const { by, usual, file } = missing
    const why = command.isConfigRead ? `it has no ${by.join(' or ')}` : `couldn't read its --config ${command.config}`
    const declare = `install.units.${unit.unit}.files: { ${general(node, file)}: ${general(node, usual)} }`
    const remedy = `${change}\nor, where its environment or a wrapper has it, set in cluster.yaml:\n    ${declare}`
    return wrong(`${why}; set it to ${usual}`, remedy)
  }
  const absent = files.find(({ path }) => places.odd.includes(path) || !places.folders.has(folderOf(path)))?.path
  if (absent !== undefined)
    return wrong(
      `it needs ${absent}, but ${folderOf(absent)} does not exist, or a link leads nowhere; create that directory, or set another path`,
    )
  const what = findFault(site, command)
  return what === undefined ? undefined : wrong(what)
}

/** Settings beyond the paths of files that can't be right: a clause. */
function findFault({ cluster, node, unit, places }: Site, { last }: CommandLine): string | undefined {
  const signing = last('--cluster-signing-key-file')
  if (!cluster.certificates.caKeyOnNodes && signing !== undefined)
    return `--cluster-signing-key-file names ${signing}, a key for no node (certificates.caKeyOnNodes: false); remove it and --cluster-signing-cert-file, which ends CSR signing; then remove that file`
  if (unit.files.some(({ file }) => file === kubeconfigFile(node.name)) && isRunning(places, unit.unit)) {
    // With our kubeconfig it could change neither its own Node nor its lease, and would still get answers.
    const name = (last('--hostname-override') ?? places.hostname ?? node.name).toLowerCase()
    return name === node.name
      ? undefined
      : `it calls the node ${name}, not ${node.name}; use that name in cluster.yaml, or set --hostname-override=${node.name}`
  }
  if (unit.unit !== apiServer) return undefined
  const [clientCa, proxyCa] = [last('--client-ca-file'), last('--requestheader-client-ca-file')]
  if (proxyCa !== undefined && clientCa !== undefined && realPath(places, proxyCa) === realPath(places, clientCa))
    return `--requestheader-client-ca-file has the CA of --client-ca-file (${proxyCa}), whose clients may claim any user (X-Remote-User); remove it, and set aggregation: true in cluster.yaml, which adds a separate CA`
  const range = last('--service-cluster-ip-range')
  const ranges = cluster.network.serviceCIDRs.map(firstAddress)
  return range === undefined || firstAddresses(range).toSorted().join() === ranges.toSorted().join()
    ? undefined
    : `--service-cluster-ip-range is ${range}, but network.serviceCIDR has ${ranges.join(', ')}; correct one of them`
}

/** The first address of each block; a block that can't be parsed stands for itself. */
function firstAddresses(range: string): string[] {
  return range.split(',').map((block) => {
    const cidr = parseCidr(block.trim())
    return typeof cidr === 'object' ? firstAddress(cidr) : block
  })
}

type CommandLine = Readonly<ReturnType<typeof readCommand>>

const configs = ['--config', '--config-file']
/** Of kube-apiserver: it reads its encryption config again when that has changed. */
export const reloadFlag = '--encryption-provider-config-automatic-reload'

/** Go's strconv.ParseBool. */
const isTrue = (value: string): boolean => /^(1|t|T|true|TRUE|True)$/.test(value)

/** Without the slashes and dots that the kernel skips. */
const withoutDots = (path: string): string => path.replaceAll(/(?<!:)\/+(\.\/+)*/g, '/')

function readCommand(args: readonly string[], places: Pick<PlacesState, 'real' | 'contents'>) {
  const flags = readFlags(args)
  let fields: Fields | undefined
  const valuesOf = (by: string) => {
    const values = by.startsWith('--') ? (flags.get(by) ?? []) : [fields?.(by) ?? '']
    return values.map(withoutDots).filter(Boolean)
  }
  /** The first of the settings that is set, with its values: a flag, or a path in the YAML file. */
  const named = (by: readonly string[]) => {
    const set = by.find((each) => valuesOf(each).length > 0) ?? by[0] ?? ''
    const paths = valuesOf(set)
    return { by: set, paths, path: paths.at(-1) }
  }
  const last = (flag: string) => named([flag]).path
  const { by: configFlag, path: config } = named(configs)
  const bytes = config === undefined ? undefined : places.contents.get(realPath(places, config))
  fields = bytes && parseFields(bytes)
  return {
    configFlag,
    config,
    isConfigRead: config === undefined || fields !== undefined,
    flags: [...flags.keys()],
    named,
    last,
    isSet: (flag: string) => isTrue(last(flag) ?? ''),
  }
}

/** The values of each flag, as pflag reads them: `--name=value`, `--name value`, `--name`. etcd takes one hyphen. */
function readFlags(args: readonly string[]): Map<string, string[]> {
  const flags = args.flatMap((arg, at) => {
    const [, given, value] = /^--?([a-zA-Z][^=]*)(?:=(.*))?$/s.exec(arg) ?? []
    if (given === undefined) return []
    const name = `--${given.replaceAll('_', '-')}`
    const next = args[at + 1] ?? '--'
    const isAlone = value !== undefined || name === reloadFlag || next.startsWith('-')
    return { name, value: value ?? (isAlone ? 'true' : next) }
  })
  const byName = Map.groupBy(flags, ({ name }) => name)
  return new Map([...byName].map(([name, all]) => [name, all.map(({ value }) => value)]))
}

type Fields = (path: string) => string | undefined

/** Undefined if it is no map. What an alias or `<<` brings in is not read. Once a look. */
const parseFields = memoised((bytes): Fields | undefined => {
  const { errors, contents } = parseYaml(bytes.toString())
  if (errors.length > 0 || !isMap(contents)) return undefined
  return (path) => {
    const value = contents.getIn(path.split('.'))
    return typeof value === 'string' ? value : undefined
  }
})
