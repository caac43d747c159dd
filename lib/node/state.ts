/** What a look at a node has found: records, each read by one row of a table. Pure. */
import { formatAddress } from '../address.ts'
import { Failure } from '../failure.ts'
import { sha256 } from '../files/plain-file.ts'
import { notWhole, readAnswer, shellEnded } from './channel.ts'
import { type Account, type FileAccess, type FileState, type FilesSeen, folderOf, isOpenFolder, root } from './place.ts'

/** Its own files are those of the folder, by name. */
export type NodeState = Readonly<ReturnType<typeof readFolder>>

/** The places where the units of a node read our files, as root sees them: by absolute path, links resolved. */
export type PlacesState = Readonly<ReturnType<typeof readPlaces>>

type UnitState = Readonly<ReturnType<typeof readUnit>[number][1]>

/** The file that a path resolves to. */
export function fileAt({ files, real }: Pick<PlacesState, 'files' | 'real'>, path: string): FileState | undefined {
  return files.get(realPath({ real }, path))
}

export function realPath({ real }: Pick<PlacesState, 'real'>, path: string): string {
  return real.get(path) ?? path
}

/** The folders and links through which root, and a unit, come to a file: of the path, and of where it leads. */
function foldersTo({ above, real }: Pick<PlacesState, 'above' | 'real'>, path: string) {
  const folders = new Set(['/', ...foldersAbove(path), path, ...foldersAbove(realPath({ real }, path))])
  return [...folders].flatMap((folder) => {
    const access = above.get(folder)
    return access ? [{ path: folder, access }] : []
  })
}

/** Those of them in which users other than root and these readers may rename or replace files. */
export function openFoldersTo(seen: Pick<PlacesState, 'above' | 'real'>, path: string, readers: readonly Account[]) {
  return foldersTo(seen, path).filter(({ access }) => isOpenFolder(readers, access))
}

function foldersAbove(path: string): string[] {
  const folder = folderOf(path)
  return folder === '' ? [] : [...foldersAbove(folder), folder]
}

/** True for a unit that runs, or tries to. */
export function isRunning({ units }: Pick<PlacesState, 'units'>, unit: string): boolean {
  return !['inactive', undefined].includes(units.get(unit)?.active)
}

/** A file of the folder by its name, any other by its absolute path. */
const path = String.raw`((?:\/[\w@%+=:,.-]+)+)`
const name = String.raw`([\w.-]+|(?:\/[\w@%+=:,.-]+)+)`
const anyPath = ' (/.*)'
const seconds = String.raw` (\d{1,12})`

/** What follows the word of each kind of record. */
const shapes = {
  ...{ uid: seconds, now: seconds, folder: anyPath, absent: '()', shown: '', drained: '' },
  ...{
    exists: anyPath,
    odd: ` ${path}`,
    real: ` ${path} ${path}`,
  },
  // Of the folders above: with the mode and owner of each.
  above: String.raw` ([0-7]{1,5}) (\d{1,10}) (\d{1,10}) ([0-9a-f]{1,4}) (\/.*)`,
  content: ` ${name}`,
  file: String.raw` ([0-7]{1,5}) (\d{1,10}) (\d{1,10}) ([0-9a-f]{1,4}) (\d{1,15}) (\S+ \S+) \+0000 ${name}`,
  address: String.raw` ([\d.]{7,15}|[0-9a-f]{32})`,
  leftover: String.raw` ([\w.-]*\.harderway-[\w.-]+)`,
  hostname: String.raw` (\S{1,64})`,
  account: String.raw` (\d{1,10}) (\d{1,10}(?: \d{1,10})*) (\S+:.*)`,
  show: String.raw` (\w+)=([^]*)`,
  argument: String.raw` (\d{1,10}) ?([^]*)`,
}
const patterns = new Map([
  ...Object.entries(shapes).map(([word, shape]) => [word, new RegExp(`^${word}${shape}$`)] as const),
  // Those without a word belong to a record before them.
  ['sum', new RegExp(`^([0-9a-f]{64})  ${name}$`)],
  ['bytes', /^(?: [0-9a-f]{2}){1,64} ?$/],
])

type Records = ReturnType<typeof readRecords>

function readRecords(records: readonly string[]) {
  const entries = records.map((record) => {
    const word = /^[a-z]+(?= |$)/.exec(record)?.[0] ?? (record.startsWith(' ') ? 'bytes' : 'sum')
    const [, ...parts] = present(patterns.get(word)?.exec(record) ?? undefined)
    return { word, record, parts }
  })
  const byWord = Map.groupBy(entries, ({ word }) => word)
  const all = (word: string) => byWord.get(word)?.map(({ parts }) => parts) ?? []
  /** What may not be repeated. */
  const one = (word: string) => unique(all(word).map(([value]) => [word, value])).get(word)
  const pairs = (word: string) => unique(all(word).map(([from = '', to = '']) => [from, to]))
  return { entries, all, one, pairs }
}

function fileState(lines: string, [mode = '', uid, gid, type = '', size, changed = '']: readonly string[]): FileState {
  const numbers = { mode: Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid), size: Number(size) }
  return { kind: kindOf(type), ...numbers, changed: readTime(changed), sha256: undefined, lines }
}

/** By st_mode of stat(2), in hex. */
const kindOf = (type: string) => kinds.get(Number.parseInt(type, 16) & 0o170000) ?? 'other'

const kinds = new Map<number, FileState['kind']>([
  [0o100000, 'file'],
  [0o040000, 'folder'],
  [0o120000, 'link'],
])

/**
 * `hasPlaces`: places were queried. Throws a Failure if the part about the folder is incomplete, or has an unknown
 * record.
 */
export function readState(output: string, nonce: string, hasPlaces = false): NodeState {
  const { records, stopped } = readAnswer(output, nonce, 'folder')
  if (stopped) throw new Failure(`can't enter ${stopped.said}`, { code: 'no-answer' })
  const state = readFolder(records)
  return hasPlaces ? { ...state, places: tryPlaces(output, nonce) } : state
}

export function readFolder(lines: readonly string[]) {
  const records = readRecords(lines)
  const { all, one } = records
  if ((one('folder') === undefined) === (one('absent') === undefined)) throw notWhole()
  const now = one('now')
  const addresses: ReadonlySet<string> = new Set(
    all('address').map(([text = '']) => (text.includes('.') ? text : formatAddress(Buffer.from(text, 'hex')))),
  )
  const { files, contents } = readSeen(records)
  return {
    /** The absolute path of its folder; undefined where that does not exist. */
    folder: one('folder'),
    /** The folder and those above it, by path. */
    above: readAbove(records),
    /** The id of the user that ssh logs in as. */
    uid: Number(present(one('uid'))),
    /** Seconds since 1970 by the node's clock; undefined after a change of the folder. */
    now: now === undefined ? undefined : Number(now),
    /** What runs that were killed have left in the folder. */
    leftovers: all('leftover').map(([left = '']) => left),
    /**
     * The machine's own addresses, in one spelling; empty where it does not list them, and after a change of the
     * folder.
     */
    addresses,
    /** A Failure where they could not be looked at; undefined where they were not queried. */
    places: undefined as PlacesState | Failure | undefined,
    files,
    contents,
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
function readPlaces(output: string, nonce: string) {
  const { records: lines, stopped } = readAnswer(output, nonce, 'root')
  if (stopped?.why === 'root') throw new Failure(stopped.said, { code: 'no-root' })
  if (stopped) throw shellEnded(stopped.said)
  const records = readRecords(lines)
  const { all, one, pairs } = records
  const folders: ReadonlySet<string> = new Set(all('exists').flat())
  return {
    /** Seconds since 1970 by the node's clock. */
    now: Number(present(one('now'))),
    /** By each of its names. Empty where the node has no systemd, or knows none of them. */
    units: readUnits(records),
    /** The queried folders that exist. */
    folders,
    /** Paths that resolve to another path, with that path. */
    real: pairs('real'),
    /** The folders above the files, by path. */
    above: readAbove(records),
    /** Paths that can't be resolved, or resolve to a name that is not plain. */
    odd: all('odd').flat(),
    /** A run has drained the node, and not undrained it yet. */
    isDrained: all('drained').length > 0,
    /** The machine's name, as the kernel has it. */
    hostname: one('hostname'),
    ...readSeen(records),
  }
}

/** A link has no mode of its own: its owner alone may lead it elsewhere, in a folder where names are their owners'. */
function readAbove({ all }: Records): ReadonlyMap<string, FileAccess> {
  const rows = all('above').flatMap(([mode = '', uid, gid, type = '', path = '']): [string, FileAccess][] => {
    const kind = kindOf(type)
    const access = { mode: kind === 'link' ? 0o755 : Number.parseInt(mode, 8), uid: Number(uid), gid: Number(gid) }
    return kind === 'folder' || kind === 'link' ? [[path, access]] : []
  })
  return unique(rows)
}

function readSeen({ entries }: Records): FilesSeen {
  const files = new Map<string, FileState>()
  const content: { readonly file: string; hex: string }[] = []
  for (const { word, record, parts } of entries) {
    const [first = '', file = ''] = parts
    if (word === 'file') setOnce(files, parts.at(-1) ?? '', fileState(record, parts))
    if (word === 'sum') {
      const there = present(files.get(file))
      if (there.kind !== 'file' || there.sha256 !== undefined) throw notWhole()
      files.set(file, { ...there, sha256: first, lines: `${there.lines}\n${record}` })
    }
    if (word === 'content') content.push({ file: first, hex: '' })
    if (word === 'bytes') present(content.at(-1)).hex += record.replaceAll(' ', '')
  }
  const contents = new Map<string, Buffer>()
  for (const { file, hex } of content) {
    const bytes = Buffer.from(hex, 'hex')
    // The file may have changed after it was summed, or the answer may be truncated.
    if (sha256(bytes) !== files.get(file)?.sha256) throw notWhole()
    setOnce(contents, file, bytes)
  }
  return { files, contents }
}

function readUnits(records: Records): ReadonlyMap<string, UnitState> {
  const blocks: [string, string][][] = [[]]
  for (const { word, parts } of records.entries) {
    const [key = '', value = ''] = parts
    if (word === 'show') blocks.at(-1)?.push([key, value])
    if (word === 'shown') blocks.push([])
  }
  const accounts = unique(
    records.all('account').map(([uid, gids = '', key = '']): [string, Account] => {
      const [first = 0, ...others] = gids.split(' ').map(Number)
      return [key, { uid: Number(uid), gids: [first, ...others] }]
    }),
  )
  const commands = Map.groupBy(records.all('argument'), ([id = '']) => id)
  return new Map(blocks.flatMap((block) => (block.length > 0 ? readUnit(block, accounts, commands) : [])))
}

/** By each name: an alias is the unit. From the properties that `systemctl show` prints for it: systemctl(1). */
function readUnit(
  properties: readonly [string, string][],
  accounts: ReadonlyMap<string, Account>,
  commands: ReadonlyMap<string, readonly (readonly string[])[]>,
) {
  const all = (wanted: string) => properties.flatMap(([key, value]) => (key === wanted ? [value] : []))
  const one = (wanted: string) => {
    const [value, ...more] = all(wanted)
    if (value === undefined || more.length > 0) throw notWhole()
    return value
  }
  const [id, active, sub] = [one('Id'), one('ActiveState'), one('SubState')]
  const [load, user, main] = [one('LoadState'), one('User'), one('MainPID')]
  const account = `${user}:${one('Group')}:${one('SupplementaryGroups')}`
  if (!id.endsWith('.service') || !load || !active || !sub || !/^\d{1,10}$/.test(main)) throw notWhole()
  const starts = all('ExecStart')
  // "{ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd --name=a ; ignore_errors=no ; …"
  const [, start]: readonly (string | undefined)[] =
    /^\{ path=.*? ; argv\[\]=(.*?) ; ignore_errors=/.exec((starts.length === 1 && starts[0]) || '') ?? []
  const names = [...new Set([id, ...one('Names').split(' ')])].map((each) => each.replace(/\.service$/, ''))
  const state = {
    /** Whether systemd has read a unit file for it. */
    isLoaded: load === 'loaded',
    /** `active`, `inactive`, `failed`, `activating`, `deactivating`: systemctl(1). */
    active,
    /** `running`, `auto-restart`, … */
    sub,
    /**
     * When its main process was started, in seconds since 1970 by the node's clock of that time; undefined if it never
     * was.
     */
    started: readStart(one('ExecMainStartTimestamp')),
    /** The id of its main process; undefined if it has none, as for a container that something else runs. */
    process: main === '0' ? undefined : Number(main),
    /** Of that process, the program first; a line break is a control character. Undefined if it has none. */
    command: commands.get(main)?.map(([, argument = '']) => argument) as readonly string[] | undefined,
    /** Undefined where the node does not know its user. */
    account: user === '' ? root : accounts.get(account),
    /**
     * The command that its unit file has, as systemd prints it: with blanks between the arguments. Undefined if it has
     * none, or several.
     */
    start,
    /** systemd has read its unit files before they were changed: it would start it as they were. */
    needsReload: one('NeedDaemonReload') === 'yes',
  }
  return names.map((each) => [each, state] as const)
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

function unique<T>(entries: readonly (readonly [string, T])[]): Map<string, T> {
  const map = new Map(entries)
  if (map.size < entries.length) throw notWhole()
  return map
}

function setOnce<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.has(key)) throw notWhole()
  map.set(key, value)
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw notWhole()
  return value
}
