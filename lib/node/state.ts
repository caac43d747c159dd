/**
 * Sends node.sh with a verb and its values over the node's connection, and reads the answer: records between two lines
 * with a nonce, the last of which has their number. Whatever a login prints before or after is ignored; an answer that
 * is cut off, repeated or missing is an error. Each record is a word and its values.
 */
import { readFileSync } from 'node:fs'
import { formatAddress } from '../address.ts'
import { Failure } from '../failure.ts'
import { sha256 } from '../files/plain-file.ts'
import { excerpt, quote } from '../wording.ts'
import { type Account, type FileAccess, type FileState, type FilesSeen, folderOf, isOpenFolder, root } from './place.ts'

/** Its own files are those of the folder, by name. */
export type NodeState = Readonly<ReturnType<typeof readFolder>>

/** The places where the units of a node read our files, as root sees them: by absolute path, links resolved. */
export type PlacesState = Readonly<ReturnType<typeof readPlaces>>

type UnitState = Readonly<ReturnType<typeof unitState>>

export function fileAt({ files, real }: Pick<PlacesState, 'files' | 'real'>, path: string): FileState | undefined {
  return files.get(realPath({ real }, path))
}

export function realPath({ real }: Pick<PlacesState, 'real'>, path: string): string {
  return real.get(path) ?? path
}

/** The folders and links to a file, and to where it leads, that users other than root and the readers may change. */
export function openFoldersTo(
  { above, real }: Pick<PlacesState, 'above' | 'real'>,
  path: string,
  readers: readonly Account[],
) {
  const folders = new Set(['/', ...foldersAbove(path), path, ...foldersAbove(realPath({ real }, path))])
  return [...folders].flatMap((folder) => {
    const access = above.get(folder)
    return access && isOpenFolder(readers, access) ? [{ path: folder, access }] : []
  })
}

function foldersAbove(path: string): string[] {
  const folder = folderOf(path)
  return folder === '' ? [] : [...foldersAbove(folder), folder]
}

/** True for a unit that runs, or tries to. */
export function isRunning({ units }: Pick<PlacesState, 'units'>, unit: string): boolean {
  return !['inactive', undefined].includes(units.get(unit)?.active)
}

/** Throws a Failure if the part about the folder is incomplete. `hasPlaces`: places were queried. */
export function readState(output: string, nonce: string, hasPlaces = false): NodeState {
  const { records, stopped } = readAnswer(output, nonce, 'folder')
  if (stopped) throw new Failure(`can't enter ${stopped.said}`, { code: 'no-answer' })
  const state = readFolder(records)
  return hasPlaces ? { ...state, places: tryPlaces(output, nonce) } : state
}

function tryPlaces(output: string, nonce: string): PlacesState | Failure {
  try {
    return readPlaces(output, nonce)
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

function readFolder(lines: readonly string[]) {
  const records = new Records(lines)
  const addresses = records.all('address').map((text) => (text.includes('.') ? text : formatAddress(fromHex(text))))
  return {
    /** The absolute path of its folder; undefined where that does not exist. */
    folder: records.one('absent') === undefined ? present(records.one('folder')) : undefined,
    above: readAbove(records),
    uid: number(records.one('uid')),
    now: number(records.one('now')),
    leftovers: records.all('leftover'),
    /** The machine's own addresses, in one spelling; empty where it lists none. */
    addresses: new Set(addresses) as ReadonlySet<string>,
    /** A Failure where they could not be looked at; undefined where they were not queried. */
    places: undefined as PlacesState | Failure | undefined,
    ...readFiles(records),
  }
}

/** Throws a Failure if the answer is incomplete, or root could not look. */
function readPlaces(output: string, nonce: string) {
  const { records: lines, stopped } = readAnswer(output, nonce, 'root')
  if (stopped?.why === 'root') throw new Failure(stopped.said, { code: 'no-root' })
  if (stopped) throw shellEnded(stopped.said)
  const records = new Records(lines)
  return {
    now: number(records.one('now')),
    /** By each of its names. Empty where the node has no systemd, or knows none of them. */
    units: readUnits(records),
    folders: new Set(records.all('exists')) as ReadonlySet<string>,
    /** Paths that resolve to another path, with that path. */
    real: records.by('real'),
    above: readAbove(records),
    /** Paths that can't be resolved, or resolve to a name that is not plain. */
    odd: records.all('odd'),
    isDrained: records.one('drained') !== undefined,
    hostname: records.one('hostname'),
    ...readFiles(records),
  }
}

/** Lines of an answer by their words: `mode uid gid type path` of `above 755 0 0 41ed /etc`. */
class Records {
  readonly entries: readonly { readonly word: string; readonly text: string; readonly line: string }[]

  constructor(lines: readonly string[]) {
    this.entries = lines.map((line) => {
      // Without a word: the digest of a file, and the bytes of one.
      if (/^[0-9a-f]{64} {2}/.test(line)) return { word: 'sum', text: line, line }
      if (line.startsWith(' ')) return { word: 'bytes', text: line.replaceAll(' ', ''), line }
      const [word, text] = splitAt(line, ' ')
      return { word, text, line }
    })
  }

  all(word: string): string[] {
    return this.entries.flatMap((entry) => (entry.word === word ? [entry.text] : []))
  }

  one(word: string): string | undefined {
    return this.all(word)[0]
  }

  by(word: string): ReadonlyMap<string, string> {
    return new Map(this.all(word).map((text) => splitAt(text, ' ')))
  }
}

function splitAt(text: string, mark: string): [before: string, after: string] {
  const at = text.indexOf(mark)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}

/** A link has no mode of its own: its owner alone may lead it elsewhere, in a folder where names are their owners'. */
function readAbove(records: Records): ReadonlyMap<string, FileAccess> {
  const rows = records.all('above').map((text): [string, FileAccess] => {
    const [mode, uid, gid, type, ...path] = text.split(' ')
    const isLink = kindOf(type) === 'link'
    return [path.join(' '), { mode: isLink ? 0o755 : number(`0o${mode}`), uid: number(uid), gid: number(gid) }]
  })
  return new Map(rows)
}

/** By st_mode of stat(2), in hex. */
const kindOf = (type = '') => kinds.get(number(`0x${type}`) & 0o170000) ?? 'other'

const kinds = new Map<number, FileState['kind']>([
  [0o100000, 'file'],
  [0o040000, 'folder'],
  [0o120000, 'link'],
])

function readFiles({ entries }: Records): FilesSeen {
  const files = new Map<string, FileState>()
  const hex = new Map<string, string>()
  let name = ''
  for (const { word, text, line } of entries) {
    if (word === 'file') {
      const [mode, uid, gid, type, size, day, time, , path = ''] = text.split(' ')
      const numbers = { mode: number(`0o${mode}`), uid: number(uid), gid: number(gid), size: number(size) }
      files.set(path, {
        ...{ kind: kindOf(type), ...numbers, changed: readTime(`${day} ${time}`), sha256: undefined, lines: line },
      })
    }
    if (word === 'sum') {
      const [digest, path] = splitAt(text, '  ').map((each) => each.trim()) as [string, string]
      const there = present(files.get(path))
      files.set(path, { ...there, sha256: digest, lines: `${there.lines}\n${line}` })
    }
    if (word === 'content') {
      name = text
      hex.set(name, '')
    }
    if (word === 'bytes') hex.set(name, hex.get(name) + text)
  }
  const contents = new Map([...hex].map(([file, digits]) => [file, fromHex(digits)]))
  // The file may have changed after it was summed, or the answer may be truncated.
  for (const [file, bytes] of contents) if (sha256(bytes) !== files.get(file)?.sha256) throw notWhole()
  return { files, contents }
}

function readUnits(records: Records): ReadonlyMap<string, UnitState> {
  const accounts = new Map(
    records.all('account').map((text): [string, Account] => {
      const [, uid, groups = '', key = ''] = /^(\d+) (\d+(?: \d+)*) (\S+:.*)$/.exec(text) ?? []
      const [first, ...others] = groups.split(' ').map(number)
      return [key, { uid: number(uid), gids: [present(first), ...others] }]
    }),
  )
  const commands = Map.groupBy(records.all('argument'), (text) => splitAt(text, ' ')[0])
  const units = new Map<string, UnitState>()
  let properties = new Map<string, string>()
  for (const { word, text } of records.entries) {
    if (word === 'show') properties.set(...splitAt(text, '='))
    if (word !== 'shown') continue
    const state = unitState(properties, accounts, commands)
    const names = `${properties.get('Id')} ${properties.get('Names')}`.split(' ')
    for (const name of names) units.set(name.replace(/\.service$/, ''), state)
    properties = new Map()
  }
  return units
}

/** From the properties that `systemctl show` prints for a unit: systemctl(1). */
function unitState(
  properties: ReadonlyMap<string, string>,
  accounts: ReadonlyMap<string, Account>,
  commands: ReadonlyMap<string, readonly string[]>,
) {
  const property = (key: string) => present(properties.get(key))
  const [user, main] = [property('User'), property('MainPID')]
  // "{ path=/usr/bin/etcd ; argv[]=/usr/bin/etcd --name=a ; ignore_errors=no ; …"
  const [, start]: readonly (string | undefined)[] =
    / ; argv\[\]=(.*?) ; ignore_errors=/.exec(properties.get('ExecStart') ?? '') ?? []
  return {
    hasUnitFile: property('LoadState') === 'loaded',
    /** `active`, `inactive`, `failed`, `activating`, `deactivating`: systemctl(1). */
    active: property('ActiveState'),
    sub: property('SubState'),
    /** When its main process was started, in seconds since 1970 by the node's clock; undefined if it never was. */
    started: readStart(property('ExecMainStartTimestamp')),
    /** The id of its main process; undefined if it has none, as for a container that something else runs. */
    process: main === '0' ? undefined : number(main),
    /** Of that process, the program first; a line break is a control character. Undefined if it has none. */
    command: commands.get(main)?.map((text) => splitAt(text, ' ')[1]) as readonly string[] | undefined,
    /** Undefined where the node does not know its user. */
    account: user === '' ? root : accounts.get(`${user}:${property('Group')}:${property('SupplementaryGroups')}`),
    /** The command that its unit file has, as systemd prints it: with blanks between the arguments. */
    start,
    /** systemd has read its unit files before they were changed: it would start it as they were. */
    needsReload: property('NeedDaemonReload') === 'yes',
  }
}

/** "Wed 2026-11-25 11:40:18.123456 UTC"; undefined for "n/a" and nothing. */
function readStart(text: string): number | undefined {
  const [, day, time] = text.split(' ')
  return day === undefined ? undefined : readTime(`${day} ${time}`)
}

/** Seconds since 1970, of "2026-11-25 11:40:18.123456" in UTC. */
function readTime(text: string): number {
  const [whole, fraction = '0'] = text.split('.')
  return number(Date.parse(`${whole?.replace(' ', 'T')}Z`) / 1000) + Number(`0.${fraction}`)
}

const fromHex = (digits: string) => Buffer.from(digits, 'hex')

/** Throws a Failure for what is no whole number. */
function number(text: string | number | undefined): number {
  const value = text === undefined || text === '' ? Number.NaN : Number(text)
  if (!Number.isInteger(value)) throw notWhole()
  return value
}

function present<T>(value: T | undefined): T {
  if (value === undefined) throw notWhole()
  return value
}

export type Verb = 'look' | 'replace' | 'back' | 'forget' | 'run'

/** Without comments and indentation, which need not travel. */
const program = quote(
  readFileSync(new URL('./node.sh', import.meta.url), 'utf8')
    .replaceAll(/^ *(#.*)?\n/gm, '')
    .replaceAll(/^ +/gm, ''),
)

/**
 * What the node's sh reads from its input. The connection may be lost halfway: with the braces, nothing is done before
 * all of it has been read. The values are a quoted here-document: no shell expands them. A value that is a list has no
 * blank in its items.
 */
export function message(verb: Verb, lines: readonly string[], nonce: string): string {
  if (lines.some((line) => line.includes('\n'))) throw new Error('a value with a line break')
  return `{\nprogram=${program}\neval "$program"\nmain "$program" ${verb} ${nonce} <<'${nonce}'\n${lines.join('\n')}\n${nonce}\nexit\n}\n`
}

interface Answer {
  /** One per line. A line that begins with a blank belongs to the previous record, and is not counted. */
  readonly records: readonly string[]
  /** Set where it stopped early: the reason as one word, and the message of the tool that failed. */
  readonly stopped: { readonly why: string; readonly said: string } | undefined
}

/** The part of that name. Throws a Failure if it is incomplete. */
export function readAnswer(output: string, nonce: string, part: string): Answer {
  const name = `${nonce}-${part} `
  const lines = output.split('\n')
  const marks = lines.flatMap((line, i) => (line.startsWith(name) ? [{ i, text: line.slice(name.length) }] : []))
  const [first, last = first, ...more] = marks
  if (!first || !last || more.length > 0) throw notWhole()
  const [, why, said = ''] = /^stopped (\S+) (.*)$/.exec(last.text) ?? []
  // A shell that could not be started has opened no answer.
  if (first !== last ? first.text !== 'begin' : why === undefined) throw notWhole()
  const records = lines.slice(first.i + 1, last.i)
  if (why !== undefined) return { records, stopped: { why, said: excerpt(said) } }
  if (last.text !== `end ${records.filter((line) => !line.startsWith(' ')).length}`) throw notWhole()
  return { records, stopped: undefined }
}

export function notWhole(): Failure {
  return new Failure('its answer is incomplete', {
    code: 'no-answer',
    remedy:
      'check that echo ok, run through ssh, prints ok; the login shell must run commands and pass on their output',
  })
}

export function shellEnded(said: string): Failure {
  return new Failure(`a shell on the node ended early (${said})`, { code: 'other' })
}
