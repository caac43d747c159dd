/** The inspection of a node's folder: a script that lists files with names that may be ours, and the reader of its answer. Pure. */
import { createHash } from 'node:crypto'
import { Failure } from '../failure.ts'
import { certificateFile, encryptionConfigFile, kubeconfigFile } from '../files/names.ts'
import { quote } from '../wording.ts'
import { closeAnswer, notWhole, openAnswer, readAnswer } from './frame.ts'
import { folderWord, wholeScript } from './shell.ts'
import type { Leftover, Uptime } from './staging.ts'

/** A file of a node's folder. */
export interface NodeFile {
  readonly kind: 'file' | 'folder' | 'other'
  readonly mode: number
  readonly uid: number
  /** Bytes. */
  readonly size: number
  /** SHA-256 in hex; undefined where it is no plain file, can't be read, or is too large to be one of ours. */
  readonly digest: string | undefined
  /** The lines of the answer about it, verbatim. */
  readonly told: string
}

export interface Inspection {
  /** The folder's absolute path; undefined where it does not exist. */
  readonly folder: string | undefined
  /** It, or a folder above it, in which others than that user and root may give names to other folders. */
  readonly open: string | undefined
  /** Of the user that ssh logs in as. */
  readonly uid: number
  readonly files: ReadonlyMap<string, NodeFile>
  /** Of the files asked for, those whose digest was another, as far as they are not too large. */
  readonly contents: ReadonlyMap<string, Buffer>
  /** Staging folders that are there. */
  readonly leftovers: readonly Leftover[]
  /** Undefined where the node does not tell. */
  readonly uptime: Uptime | undefined
}

/** Bytes: a file of ours has a few thousand; of a larger one there is no digest. */
export const largestFile = 256 * 1024
/** Bytes, of all contents together. */
const largestInspection = 1024 * 1024

/**
 * Shell functions, beside those of an answer. `stat_files NAME...` sets $stats and $sums to a line for each name, and fails
 * if a name or a tool does; `tell_folder` reports the current folder. Our names consist of letters, digits, dots, hyphens and
 * underscores: all others are ignored.
 */
export const inspectFunctions = `stat_files() {
  stats= sums= small= sizes=' '
  [ $# -gt 0 ] || return 0
  stats=$(stat -c 'stat %a %u %f %s %n' -- "$@")
  while read -r word mode uid type size name; do
    # S_IFREG of stat(2)
    case $type in 8???) ;; *) continue ;; esac
    if [ "$size" -le ${largestFile} ] && [ -r "$name" ]; then small="$small $name" sizes="$sizes$name:$size "; fi
  done <<STATS
$stats
STATS
  [ -z "$small" ] || sums=$(sha256sum -- $small)
}
tell_uptime() {
  { read -r boot < /proc/sys/kernel/random/boot_id && read -r up _ < /proc/uptime; } 2>/dev/null || return 0
  say uptime "$boot" "\${up%%.*}"
}
tell_open() {
  up=$1
  set -- /
  while [ -n "$up" ]; do set -- "$@" "$up"; up=\${up%/*}; done
  above=$(stat -c '%u %a %n' -- "$@")
  while read -r owner mode name; do
    # Of others, or to be written by others, without the sticky bit that keeps names to their owners.
    case $owner,$mode in
      0,*[2367]?|0,*[2367]|"$uid",*[2367]?|"$uid",*[2367]) case $mode in [1357]???) continue ;; esac ;;
      0,*|"$uid",*) continue ;;
    esac
    say open "$name"
    return 0
  done <<ABOVE
$above
ABOVE
}
tell_folder() {
  uid=$(id -u)
  say uid "$uid"
  tell_uptime
  folder=$(pwd -P)
  say folder "$folder"
  tell_open "$folder"
  ls >/dev/null
  for f in .harderway-*; do
    case $f in *[!A-Za-z0-9._-]*) continue ;; esac
    if [ ! -d "$f" ] || [ -L "$f" ]; then continue; fi
    # One of a run that is at work may be gone by now.
    if made=$(stat -c %Y -- "$f"); then now=$(date +%s); say leftover $((now - made)) "$f"
    elif [ -e "$f" ]; then exit 1; fi
  done
  set --
  for f in ${certificateFile('*')} ${kubeconfigFile('*')} ${encryptionConfigFile}; do
    case $f in *[!A-Za-z0-9._-]*) continue ;; esac
    if [ -L "$f" ] || [ -e "$f" ]; then set -- "$@" "$f"; fi
  done
  stat_files "$@"
  # Counted by the names, whatever the tools printed.
  [ $# -eq 0 ] || printf '%s\\n' "$stats"
  n=$((n + $#))
  set -- $small
  [ $# -eq 0 ] || printf '%s\\n' "$sums"
  n=$((n + $#))
}`

/** Sends the content of a file that is not as expected, in hexadecimal. */
const differsFunction = `total=0
differs() {
  case $nl$sums$nl in *"$nl$2  $1$nl"*) return 0 ;; *"  $1$nl"*) ;; *) return 0 ;; esac
  size=\${sizes#*" $1:"} size=\${size%% *}
  total=$((total + size))
  [ $total -le ${largestInspection} ] || return 0
  say content "$1"
  od -A n -t x1 -v < "$1"
}`

/**
 * A folder is absent only if its nearest existing parent can be entered. Any other folder that can't be entered or listed,
 * and any tool that fails, makes the inspection fail.
 */
export function inspectScript(directory: string, expected: ReadonlyMap<string, string>, nonce: string): string {
  const word = folderWord(directory)
  return wholeScript(
    openAnswer(nonce),
    inspectFunctions,
    differsFunction,
    `if cd -- ${word} 2>/dev/null; then`,
    '  tell_folder',
    ...[...expected].map(([name, digest]) => `  differs ${quote(name)} ${quote(digest)}`),
    'else',
    `  f=${word}`,
    '  while [ ! -e "$f" ] && [ ! -L "$f" ]; do f=$(dirname -- "$f"); done',
    '  if [ ! -d "$f" ] || [ ! -x "$f" ]; then stop closed "$f"; fi',
    `  if [ "$f" = ${word} ]; then stop closed "$f"; fi`,
    '  uid=$(id -u)',
    '  say uid "$uid"',
    '  say absent',
    'fi',
    closeAnswer(nonce),
  )
}

export function makeFolderScript(directory: string, nonce: string): string {
  const word = folderWord(directory)
  return wholeScript(
    openAnswer(nonce),
    inspectFunctions,
    `mkdir -p -- ${word}`,
    `cd -- ${word}`,
    'tell_folder',
    closeAnswer(nonce),
  )
}

interface Draft {
  readonly uids: number[]
  /** '' where it does not exist. */
  readonly folders: string[]
  readonly files: Map<string, NodeFile>
  readonly content: { readonly file: string; readonly lines: string[] }[]
  readonly leftovers: Leftover[]
  readonly uptimes: Uptime[]
  readonly open: string[]
}

const name = String.raw`([\w.-]+)`

/** How each kind of record is read; throws if a record is repeated or out of place. */
const readers: readonly (readonly [RegExp, (draft: Draft, record: string, ...parts: string[]) => void])[] = [
  [/^uid (\d{1,10})$/, ({ uids }, _, uid) => uids.push(Number(uid))],
  [/^folder (\/.*)$/, ({ folders }, _, folder = '') => folders.push(folder)],
  [/^absent$/, ({ folders }) => folders.push('')],
  [/^open (\/.*)$/, ({ open }, _, path = '') => open.push(path)],
  [
    /^uptime ([0-9a-f-]{36}) (\d{1,12})$/,
    ({ uptimes }, _, boot = '', seconds) => uptimes.push({ boot, seconds: Number(seconds) }),
  ],
  [
    /^leftover (-?\d{1,12}) (\.harderway-[\w.-]+)$/,
    ({ leftovers }, _, age, leftover = '') => leftovers.push({ name: leftover, age: Number(age) }),
  ],
  [new RegExp(`^stat ([0-7]{1,5}) (\\d{1,10}) ([0-9a-f]{4}) (\\d{1,15}) ${name}$`), addStat],
  [new RegExp(`^([0-9a-f]{64})  ${name}$`), addSum],
  [new RegExp(`^content ${name}$`), ({ content }, _, file = '') => content.push({ file, lines: [] })],
  [/^(?: [0-9a-f]{2}){1,64} ?$/, ({ content }, record) => must(content.at(-1)).lines.push(record)],
]

function addStat({ files }: Draft, told: string, mode = '', uid = '', type = '', size = '', file = ''): void {
  // S_IFMT, S_IFREG and S_IFDIR of stat(2).
  const format = Number.parseInt(type, 16) & 0o170000
  const kind = format === 0o100000 ? 'file' : format === 0o040000 ? 'folder' : 'other'
  const numbers = { mode: Number.parseInt(mode, 8), uid: Number(uid), size: Number(size) }
  setOnce(files, file, { kind, ...numbers, digest: undefined, told })
}

function addSum({ files }: Draft, told: string, digest = '', file = ''): void {
  const there = must(files.get(file))
  if (there.kind !== 'file' || there.digest !== undefined) throw notWhole()
  files.set(file, { ...there, digest, told: `${there.told}\n${told}` })
}

/** Throws a Failure if the answer is incomplete or has an unknown record. */
export function parseInspection(output: string, nonce: string): Inspection {
  const { records, stopped } = readAnswer(output, nonce)
  if (stopped) throw new Failure(`${stopped.said} can't be entered`, { code: 'no-answer' })
  return readInspection(records)
}

export function readInspection(records: readonly string[]): Inspection {
  const draft: Draft = { uids: [], folders: [], files: new Map(), content: [], leftovers: [], uptimes: [], open: [] }
  for (const record of records) {
    const [parts, add] = must(readers.map(([pattern, read]) => [pattern.exec(record), read] as const).find(([m]) => m))
    add(draft, record, ...(parts?.slice(1) ?? []))
  }
  const { uids, folders, files, leftovers, uptimes, open } = draft
  const [uid, folder] = [must(uids[0]), must(folders[0])]
  if (uids.length + folders.length !== 2 || uptimes.length > 1 || open.length > 1) throw notWhole()
  const contents = new Map<string, Buffer>()
  for (const { file, lines } of draft.content) setOnce(contents, file, decode(lines, files.get(file)?.digest))
  return { folder: folder || undefined, open: open[0], uid, files, contents, leftovers, uptime: uptimes[0] }
}

/** Checks the digest: the file may have changed after it was summed, or the answer may be truncated. */
function decode(lines: readonly string[], digest: string | undefined): Buffer {
  const bytes = Buffer.from(lines.join('').replaceAll(' ', ''), 'hex')
  if (createHash('sha256').update(bytes).digest('hex') !== digest) throw notWhole()
  return bytes
}

function setOnce<T>(map: Map<string, T>, key: string, value: T): void {
  if (map.has(key)) throw notWhole()
  map.set(key, value)
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw notWhole()
  return value
}
