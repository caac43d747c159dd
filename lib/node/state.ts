/** What a look at a node has found: records, each read by one row of a table. Pure. */
import { createHash } from 'node:crypto'
import { formatAddress } from '../address.ts'
import { Failure } from '../failure.ts'
import { notWhole, readAnswer, shellEnded } from './channel.ts'
import { type Account, type FileState, type FilesSeen, type Leftover, root } from './place.ts'

/** Its own files are those of the folder, by name. */
export interface NodeState extends FilesSeen {
  /** The absolute path of its folder; undefined where that does not exist. */
  readonly folder: string | undefined
  /** The folder, or one above it, in which users other than that one and root may rename or replace folders. */
  readonly open: string | undefined
  /** The id of the user that ssh logs in as. */
  readonly uid: number
  /** Seconds since 1970 by the node's clock; undefined after a change of the folder. */
  readonly now: number | undefined
  /** Archives of runs in the folder, and folders that they are unpacked in. */
  readonly leftovers: readonly Leftover[]
  /** The machine's own addresses, in one spelling; empty where it does not list them, and after a change of the folder. */
  readonly addresses: ReadonlySet<string>
  /** A Failure where they could not be looked at; undefined where they were not queried. */
  readonly places: PlacesState | Failure | undefined
}

/** The places where the units of a node read our files, as root sees them: by absolute path, links resolved. */
export interface PlacesState extends FilesSeen {
  /** Seconds since 1970 by the node's clock. */
  readonly now: number
  /** By each of its names. Empty where the node has no systemd, or knows none of them. */
  readonly units: ReadonlyMap<string, UnitState>
  /** Of the queried components, whatever started them. */
  readonly processes: readonly ComponentProcess[]
  /** The queried folders that exist. */
  readonly folders: ReadonlySet<string>
  /** Paths that resolve to another path, with that path. */
  readonly real: ReadonlyMap<string, string>
  /** For paths with a link in them: the first component whose owner is not root, and could redirect the path. */
  readonly links: ReadonlyMap<string, string>
  /** Paths that can't be resolved, or resolve to a name that is not plain. */
  readonly odd: readonly string[]
  /** Marks of runs that have drained the node, and not undrained it yet. */
  readonly drained: readonly Leftover[]
  /** Of files of others, by path: their certificates, and the lines of a kubeconfig that name or hold one. Never a key. */
  readonly published: ReadonlyMap<string, Buffer>
  /** Folders that systemd mounts a file system on, and that is not mounted. */
  readonly unmounted: readonly string[]
  /** Unit files and environment files of units, by path. */
  readonly settings: ReadonlyMap<string, SettingsFile>
  /** The machine's name, as the kernel has it; undefined if root did not look. */
  readonly hostname: string | undefined
}

/** A file that systemd reads before it starts a unit. */
interface SettingsFile {
  /** ctime, in seconds since 1970 by the node's clock. */
  readonly changed: number
  /** Only root may change it. */
  readonly isRoots: boolean
}

interface UnitState {
  /** The path of its control group: cgroups(7). Empty if it has no process. */
  readonly group: string
  /** Whether systemd has read a unit file for it. */
  readonly isLoaded: boolean
  /** `active`, `inactive`, `failed`, `activating`, `deactivating`: systemctl(1). */
  readonly active: string
  /** `running`, `auto-restart`, … */
  readonly sub: string
  /** Shutting down, or down with a queued job: whether it is stopped or restarted shows only when that is over. */
  readonly isStopping: boolean
  /** When its main process was started, in seconds since 1970 by the node's clock of that time; undefined if it never was. */
  readonly started: number | undefined
  /** Undefined if it has none, as for a container that something else runs; 'gone' if it has just ended. */
  readonly process: UnitProcess | 'gone' | undefined
  /** How often systemd has restarted it by itself since somebody last started it. */
  readonly restarts: number
  /** Seconds that systemd waits before it restarts it. */
  readonly restartsAfter: number
  /** Undefined where the node does not know its user. */
  readonly account: Account | undefined
  /** The command that its unit file has, as systemd prints it: with blanks between the arguments. Undefined if it has none, or several. */
  readonly start: string | undefined
  /** systemd has read its unit files before they were changed: it would start it as they were. */
  readonly needsReload: boolean
  /** The queried variables that its unit file sets, and those that its environment files do. */
  readonly variables: { readonly unitFile: Variables; readonly files: Variables }
  /** Paths, in the order of their precedence: the unit file and its drop-ins; its environment files. */
  readonly unitFiles: readonly string[]
  readonly environmentFiles: readonly string[]
}

type Variables = ReadonlyMap<string, string>

/** The main process of a unit. */
interface UnitProcess {
  readonly id: number
  /** By SIGSTOP, or a debugger. */
  readonly isStopped: boolean
  /** Seconds since its start, by a clock that can't be set. */
  readonly age: number
  /** Its start, in seconds since 1970 by the node's present clock. */
  readonly started: number
}

/** A process that was started with a component's name, or a flag of certificates or kubeconfigs, as one of its arguments. */
export interface ComponentProcess {
  readonly id: number
  /** Whom it runs as. */
  readonly uid: number
  /** Seconds since its start, by a clock that can't be set; undefined for a process of no queried unit. */
  readonly age: number | undefined
  /** The path of its control group: cgroups(7). */
  readonly group: string
  /** Its command line, the program first; empty if it, or those of all that are of no unit, are too long. A line break is a control character. */
  readonly command: readonly string[]
  /** The queried variables of its environment. */
  readonly variables: ReadonlyMap<string, string>
  /** Paths, or links and folders above them, at which it sees another than root does, or none. */
  readonly apart: ReadonlySet<string>
  /** Queried paths of files that were mounted by themselves: it sees the file of that time, until it is started again. */
  readonly bound: ReadonlySet<string>
  /** Those of them whose file has been replaced since. */
  readonly replaced: ReadonlySet<string>
}

/** The file that a path resolves to. */
export function fileAt({ files, real }: Pick<PlacesState, 'files' | 'real'>, path: string): FileState | undefined {
  return files.get(realPath({ real }, path))
}

export function realPath({ real }: Pick<PlacesState, 'real'>, path: string): string {
  return real.get(path) ?? path
}

/** True for a unit that runs, or tries to. */
export function isRunning({ units }: Pick<PlacesState, 'units'>, unit: string): boolean {
  return !['inactive', undefined].includes(units.get(unit)?.active)
}

/** The properties that `systemctl show` prints for each unit: systemctl(1). node.sh names the same. */
const shownProperties = [
  ...['Id', 'Names', 'LoadState', 'ActiveState', 'SubState', 'Job', 'ExecMainStartTimestamp'],
  ...['MainPID', 'NRestarts', 'RestartUSec', 'User', 'Group', 'SupplementaryGroups', 'ControlGroup'],
  ...['NeedDaemonReload', 'FragmentPath', 'DropInPaths'],
] as const
/** Those that may be printed several times, or not at all; the first two are of queried variables alone. */
const listedProperties = ['Environment', 'EnvironmentOfFile', 'EnvironmentFiles', 'ExecStart'] as const

interface Records {
  readonly single: Map<string, string>
  readonly files: Map<string, FileState>
  /** `other`: of a file that is not ours, which somebody may be writing; `published`: of its certificates alone. */
  readonly content: { readonly word: string; readonly file: string; readonly lines: string[] }[]
  readonly leftovers: Leftover[]
  readonly addresses: Set<string>
  readonly folders: Set<string>
  readonly real: Map<string, string>
  readonly links: Map<string, string>
  readonly odd: string[]
  readonly unmounted: string[]
  readonly settings: Map<string, SettingsFile>
  readonly accounts: Map<string, Account>
  /** The properties of one unit after the other. */
  readonly shown: [string, string][][]
  /** By their ids: state and start, in ticks since boot. */
  readonly processes: Map<string, readonly [state: string, ticks: number]>
  /** Of components' processes, in the order of the answer. */
  readonly facts: { readonly id: string; readonly word: string; readonly value: string }[]
}

/** A file of the folder by its name, any other by its absolute path. */
const name = String.raw`([\w.-]+|(?:\/[\w@%+=:,.-]+)+)`
const path = String.raw`((?:\/[\w@%+=:,.-]+)+)`

/** How each kind of record is read; throws if a record is repeated or out of place. */
const readers: readonly (readonly [RegExp, (draft: Records, record: string, ...parts: string[]) => void])[] = [
  [/^(uid|now) (\d{1,12})$/, ({ single }, _, key = '', value = '') => setOnce(single, key, value)],
  [/^(folder|open) (\/.*)$/, ({ single }, _, key = '', value = '') => setOnce(single, key, value)],
  [/^address ([\d.]{7,15}|[0-9a-f]{32})$/, addAddress],
  [/^exists (\/.*)$/, ({ folders }, _, folder = '') => folders.add(folder)],
  [/^(absent)()$/, ({ single }, _, key = '', value = '') => setOnce(single, key, value)],
  [/^leftover (-?\d{1,12}) (\.harderway-[\w.-]+)$/, addLeftover],
  [
    new RegExp(
      String.raw`^file ([0-7]{1,5}) (\d{1,10}) (\d{1,10}) ([0-9a-f]{1,4}) (\d{1,15}) (\S+ \S+) \+0000 ${name}$`,
    ),
    addFile,
  ],
  [new RegExp(`^([0-9a-f]{64})  ${name}$`), addSum],
  [new RegExp(`^known ${name}$`), addKnown],
  [
    new RegExp(`^(content|other|published) ${name}$`),
    ({ content }, _, word = '', file = '') => content.push({ word, file, lines: [] }),
  ],
  [/^(?: [0-9a-f]{2}){1,64} ?$/, ({ content }, record) => present(content.at(-1)).lines.push(record)],
  [new RegExp(`^real ${path} ${path}$`), ({ real }, _, from = '', to = '') => setOnce(real, from, to)],
  [new RegExp(`^link ${path} ${path}$`), ({ links }, _, from = '', link = '') => setOnce(links, from, link)],
  [new RegExp(`^odd ${path}$`), ({ odd }, _, each = '') => odd.push(each)],
  [/^unmounted (\/.*)$/, ({ unmounted }, _, each = '') => unmounted.push(each)],
  [/^setting (\d{1,10}) ([0-7]{1,5}) (\d{1,12}) (\/.*)$/, addSetting],
  [/^(hostname) (\S{1,64})$/, ({ single }, _, key = '', value = '') => setOnce(single, key, value)],
  [/^account (\d{1,10}) (\d{1,10}(?: \d{1,10})*) (\S+:.*)$/, addAccount],
  [/^(clock) (\d{1,12} \d{1,15})$/, ({ single }, _, key = '', value = '') => setOnce(single, key, value)],
  [
    /^process (\d{1,10}) ([A-Za-z]) (\d{1,15})$/,
    ({ processes }, _, id = '', state = '', ticks) => setOnce(processes, id, [state, Number(ticks)]),
  ],
  [
    /^(component|owner|argument|variable|unread|apart|bound|replaced) (\d{1,10}) ?(.*)$/s,
    ({ facts }, _, word = '', id = '', value = '') => facts.push({ id, word, value }),
  ],
  [/^show (\w+)=(.*)$/s, ({ shown }, _, key = '', value = '') => present(shown.at(-1)).push([key, value])],
  [/^shown$/, ({ shown }) => shown.push([])],
  [/^root$/, () => {}],
]

function addAddress({ addresses }: Records, _: string, text = ''): void {
  addresses.add(text.includes('.') ? text : formatAddress(Buffer.from(text, 'hex')))
}

function addLeftover({ leftovers }: Records, _: string, age?: string, leftover = ''): void {
  leftovers.push({ name: leftover, age: Number(age) })
}

function addFile({ files }: Records, lines: string, ...parts: string[]): void {
  const [mode = '', uid, gid, type = '', size, changed = '', file = ''] = parts
  const numbers = { mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid), size: Number(size) }
  setOnce(files, file, { kind: kindOf(type), ...numbers, changed: readTime(changed), sha256: undefined, lines })
}

/** S_IFMT of stat(2), in hex. */
function kindOf(type: string): FileState['kind'] {
  switch (Number.parseInt(type, 16) & 0o170000) {
    case 0o100000:
      return 'file'
    case 0o040000:
      return 'folder'
    case 0o120000:
      return 'link'
    default:
      return 'other'
  }
}

function addKnown({ files }: Records, _: string, file = ''): void {
  files.set(file, { ...present(files.get(file)), isKnown: true })
}

function addSum({ files }: Records, line: string, sha256 = '', file = ''): void {
  const there = present(files.get(file))
  if (there.kind !== 'file' || there.sha256 !== undefined) throw notWhole()
  files.set(file, { ...there, sha256, lines: `${there.lines}\n${line}` })
}

function addSetting({ settings }: Records, _: string, uid = '', mode = '', changed = '', file = ''): void {
  const isRoots = uid === '0' && (Number.parseInt(mode, 8) & 0o022) === 0
  settings.set(file, { changed: Number(changed), isRoots })
}

function addAccount({ accounts }: Records, _: string, uid?: string, gids = '', key = ''): void {
  const [first = 0, ...others] = gids.split(' ').map(Number)
  setOnce(accounts, key, { uid: Number(uid), gids: [first, ...others] })
}

/** Throws a Failure if the part about the folder is incomplete, or has an unknown record. */
export function readState(output: string, nonce: string): NodeState {
  const { records, stopped } = readAnswer(output, nonce, 'folder')
  if (stopped) throw new Failure(`${stopped.said} can't be entered`, { code: 'no-answer' })
  const state = readFolder(records)
  return output.includes(`${nonce}-places `) ? { ...state, places: tryPlaces(output, nonce) } : state
}

export function readFolder(records: readonly string[]): NodeState {
  const draft = readRecords(records)
  const { single, leftovers, addresses } = draft
  if (single.has('folder') === single.has('absent')) throw notWhole()
  return {
    folder: single.get('folder'),
    open: single.get('open'),
    uid: Number(present(single.get('uid'))),
    now: single.has('now') ? Number(single.get('now')) : undefined,
    leftovers,
    addresses,
    places: undefined,
    ...seen(draft),
  }
}

function tryPlaces(output: string, nonce: string): PlacesState | Failure {
  try {
    return readPlaces(output, nonce)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

/** Throws a Failure if the answer is incomplete, or root could not look. */
function readPlaces(output: string, nonce: string): PlacesState {
  const own = readAnswer(output, nonce, 'places')
  if (own.stopped) throw notWhole()
  const { records, stopped } = own.records.includes('root')
    ? readAnswer(output, nonce, 'root')
    : { records: [], stopped: undefined }
  if (stopped?.why === 'root') throw new Failure(stopped.said, { code: 'no-root' })
  if (stopped) throw shellEnded(stopped.said)
  const draft = readRecords([...own.records, ...records])
  const { single, folders, real, links, odd, leftovers, unmounted, settings } = draft
  return {
    now: Number(present(single.get('now'))),
    units: readUnits(draft),
    processes: readProcesses(draft),
    folders,
    real,
    links,
    odd,
    drained: leftovers,
    published: publishedIn(draft),
    unmounted,
    settings,
    hostname: single.get('hostname'),
    ...seen(draft),
  }
}

/** `now` in seconds since 1970, by the node's clock; the ports that a process listens on. Throws a Failure if the answer is incomplete. */
export function readListening(
  output: string,
  nonce: string,
): { readonly now: number; readonly ports: ReadonlySet<number> } {
  const { records } = readAnswer(output, nonce, 'places')
  const numberIn = (pattern: RegExp, record: string) => Number(present(pattern.exec(record)?.[1]))
  return {
    now: numberIn(/^now (\d{1,12})$/, records.at(-1) ?? ''),
    ports: new Set(records.slice(0, -1).map((record) => numberIn(/^port (\d{1,5})$/, record))),
  }
}

function readRecords(records: readonly string[]): Records {
  const draft: Records = {
    ...{ single: new Map(), files: new Map(), content: [], leftovers: [], addresses: new Set(), folders: new Set() },
    ...{ real: new Map(), links: new Map(), odd: [], accounts: new Map(), shown: [[]] },
    ...{ processes: new Map(), facts: [], unmounted: [], settings: new Map() },
  }
  for (const record of records) {
    const [parts, add] = present(
      readers.map(([pattern, read]) => [pattern.exec(record), read] as const).find(([m]) => m),
    )
    add(draft, record, ...(parts?.slice(1) ?? []))
  }
  return draft
}

const bytesOf = (lines: readonly string[]) => Buffer.from(lines.join('').replaceAll(' ', ''), 'hex')

function publishedIn({ content }: Records): Map<string, Buffer> {
  return new Map(content.flatMap(({ word, file, lines }) => (word === 'published' ? [[file, bytesOf(lines)]] : [])))
}

function seen({ files, content }: Records): FilesSeen {
  const contents = new Map<string, Buffer>()
  for (const { word, file, lines } of content) {
    if (word === 'published') continue
    const bytes = bytesOf(lines)
    // The file may have changed after it was summed, or the answer may be truncated.
    const isWhole = createHash('sha256').update(bytes).digest('hex') === files.get(file)?.sha256
    if (isWhole) setOnce(contents, file, bytes)
    else if (word !== 'other') throw notWhole()
  }
  return { files, contents }
}

function readUnits(draft: Records): Map<string, UnitState> {
  const blocks = draft.shown.filter((properties) => properties.length > 0)
  return new Map(blocks.flatMap((properties) => readUnit(properties, draft)))
}

type Block = Readonly<Partial<Record<(typeof shownProperties)[number], string>>>

/** By each name: an alias is the unit. */
function readUnit(properties: readonly [string, string][], draft: Records): (readonly [string, UnitState])[] {
  const block: Block = Object.fromEntries(properties)
  const { Id, Names, LoadState, ActiveState, SubState, Job, ExecMainStartTimestamp, MainPID, NRestarts, RestartUSec } =
    block
  const { User, Group, SupplementaryGroups, ControlGroup, NeedDaemonReload, FragmentPath, DropInPaths } = block
  if (!Id?.endsWith('.service') || Names === undefined || !LoadState || !ActiveState || !SubState) throw notWhole()
  const printed = { Job, ExecMainStartTimestamp, User, Group, SupplementaryGroups, ControlGroup, NeedDaemonReload }
  if (Object.values(printed).includes(undefined)) throw notWhole()
  if (!/^\d{1,10}$/.test(NRestarts ?? '')) throw notWhole()
  const isListed = (key: string) => (listedProperties as readonly string[]).includes(key)
  const valuesOf = (wanted: (typeof listedProperties)[number]) =>
    properties.flatMap(([key, value]) => (key === wanted ? [value] : []))
  const single = properties.filter(([key]) => !isListed(key))
  if (Object.keys(block).filter((key) => !isListed(key)).length !== single.length) throw notWhole()
  const starts = valuesOf('ExecStart')
  const names = [...new Set([Id, ...Names.split(' ')])].map((each) => each.replace(/\.service$/, ''))
  const state = {
    group: ControlGroup ?? '',
    isLoaded: LoadState === 'loaded',
    active: ActiveState,
    sub: SubState,
    isStopping: ActiveState === 'deactivating' || (ActiveState === 'inactive' && Job !== ''),
    started: readStart(ExecMainStartTimestamp ?? ''),
    process: readProcess(MainPID ?? '', draft),
    restarts: Number(NRestarts),
    restartsAfter: readSpan(RestartUSec ?? ''),
    account: User === '' ? root : draft.accounts.get(`${User}:${Group}:${SupplementaryGroups}`),
    // "{ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd --name=a ; ignore_errors=no ; …"
    start: starts.length > 1 ? undefined : /^\{ path=.*? ; argv\[\]=(.*?) ; ignore_errors=/.exec(starts[0] ?? '')?.[1],
    needsReload: NeedDaemonReload === 'yes',
    variables: {
      unitFile: readVariables(valuesOf('Environment')),
      files: readVariables(valuesOf('EnvironmentOfFile')),
    },
    unitFiles: [FragmentPath, ...(DropInPaths ?? '').split(' ')].flatMap((path) => path || []),
    // "/etc/default/etcd (ignore_errors=yes)"
    environmentFiles: valuesOf('EnvironmentFiles').map((each) => each.replace(/ \(ignore_errors=\w+\)$/, '')),
  }
  return names.map((each) => [each, state])
}

/** NAME=VALUE, or NAME="VALUE": what is quoted otherwise stays as it is, and is no path. The last one counts. */
function readVariables(settings: readonly string[]): Variables {
  return new Map(
    settings.map((each) => {
      const [, name = '', value = ''] = /^(.*?)=(.*)$/s.exec(each.trimEnd()) ?? []
      return [name, value.replace(/^(["'])([^"'\\]*)\1$/, '$2')]
    }),
  )
}

/** USER_HZ, which is the same wherever the components run: proc_pid_stat(5). */
const ticksPerSecond = 100

function readProcess(id: string, draft: Records): UnitState['process'] {
  const { single, processes } = draft
  if (!/^\d{1,10}$/.test(id)) throw notWhole()
  if (id === '0') return undefined
  const [now = Number.NaN] = present(single.get('clock')).split(' ').map(Number)
  const [state = ''] = processes.get(id) ?? []
  // A zombie, until systemd has noticed.
  if (state === '' || 'ZXx'.includes(state)) return 'gone'
  const age = ageOf(id, draft) ?? Number.NaN
  return {
    id: Number(id),
    isStopped: 'Tt'.includes(state),
    age,
    started: now - age,
  }
}

/** Seconds since its start; undefined where that was not queried. */
function ageOf(id: string, { single, processes }: Records): number | undefined {
  const ticks = processes.get(id)?.[1]
  const [, ticksNow] = single.get('clock')?.split(' ').map(Number) ?? []
  return ticks === undefined || ticksNow === undefined ? undefined : (ticksNow - ticks) / ticksPerSecond
}

function readProcesses(draft: Records): ComponentProcess[] {
  const { facts } = draft
  return [...Map.groupBy(facts, ({ id }) => id)].flatMap(([id, own]) => {
    const all = (wanted: string) => own.flatMap(({ word, value }) => (word === wanted ? [value] : []))
    const [group, ...more] = all('component')
    if (group === undefined || more.length > 0) throw notWhole()
    const isUnread = all('unread').length > 0
    const command = isUnread ? [] : all('argument')
    // It has ended since it was found.
    if (!isUnread && command.length === 0) return []
    return {
      id: Number(id),
      // Root's, where that is not known: it counts for more.
      uid: Number(all('owner')[0] ?? 0),
      age: ageOf(id, draft),
      group,
      command,
      variables: new Map(all('variable').map((each) => [each.replace(/=.*/s, ''), each.replace(/^.*?=/, '')])),
      apart: new Set(all('apart')),
      bound: new Set(all('bound')),
      replaced: new Set(all('replaced')),
    }
  })
}

/** Seconds, by the unit that systemd prints: systemd.time(7). */
const spans: Readonly<Record<string, number>> = {
  ...{ us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600, d: 86_400, w: 604_800, month: 2_629_800, y: 31_557_600 },
}

/** "1min 30s", "100ms", "0", "infinity" */
function readSpan(text: string): number {
  if (text === 'infinity') return Number.POSITIVE_INFINITY
  if (text === '0') return 0
  const parts = text.split(' ').map((part) => /^([\d.]{1,15})([a-z]+)$/.exec(part))
  return parts.reduce((sum, part) => {
    const seconds = Number(part?.[1]) * (spans[part?.[2] ?? ''] ?? Number.NaN)
    if (Number.isNaN(seconds)) throw notWhole()
    return sum + seconds
  }, 0)
}

/** "Wed 2026-11-25 11:40:18.123456 UTC"; undefined for "n/a" and nothing. */
function readStart(text: string): number | undefined {
  if (text === '' || text === 'n/a') return undefined
  const [, time = ''] = /^\w{3} (\S+ \S+) UTC$/.exec(text) ?? []
  return readTime(time)
}

/** Seconds since 1970. */
function readTime(text: string): number {
  const [, day, time, fraction = '0'] = /^([\d-]{10}) ([\d:]{8})(\.\d{1,9})?$/.exec(text) ?? []
  const seconds = Date.parse(`${day}T${time}Z`) / 1000 + Number(fraction)
  if (Number.isNaN(seconds)) throw notWhole()
  return seconds
}

function setOnce<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.has(key)) throw notWhole()
  map.set(key, value)
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw notWhole()
  return value
}
