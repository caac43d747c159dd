/** A look at the units of a node and at the files that they read: a script, and the reader of its answer. Pure. */
import { Failure } from '../failure.ts'
import { quote } from '../wording.ts'
import { closeAnswer, notWhole, openAnswer, readAnswer } from './frame.ts'
import { largestFile } from './look.ts'
import { folderWord, shellStart, wholeScript } from './shell.ts'

interface UnitState {
  /** Whether systemd has read a unit file for it. */
  readonly isLoaded: boolean
  /** `active`, `inactive`, `failed`, `activating`, `deactivating`: systemctl(1). */
  readonly active: string
  /** `running`, `auto-restart`, … */
  readonly sub: string
  /** On its way down, or down with a job at hand: only the end of that tells whether it is stopped, or restarted. */
  readonly isStopping: boolean
  /** When its main process was started, in seconds since 1970 by the node's clock; undefined where it never was. */
  readonly started: number | undefined
}

interface PlacedFile {
  readonly isPlain: boolean
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** ctime, in seconds since 1970 by the node's clock: a rename changes it. */
  readonly changed: number
  /** SHA-256 in hex; undefined where it is no plain file, or too large to be one of ours. */
  readonly digest: string | undefined
}

export interface UnitsLook {
  /** Seconds since 1970 by the node's clock. */
  readonly now: number
  /** The absolute path of the folder that is deployed to; undefined where it does not exist. */
  readonly source: string | undefined
  /** Empty where the node has no systemd, or knows none of them. */
  readonly units: ReadonlyMap<string, UnitState>
  /** Of the folders asked for, those that exist. */
  readonly folders: ReadonlySet<string>
  /** By path; without those that do not exist. */
  readonly files: ReadonlyMap<string, PlacedFile>
  /** A run that was killed may have left it so. */
  readonly isDrained: boolean
}

export interface AskedUnits {
  /** Where deploy puts the files. */
  readonly directory: string
  /** How to become root; '' where we are. */
  readonly sudo: string
  readonly units: readonly string[]
  /** Absolute. */
  readonly paths: readonly string[]
  /** Of these: where one is there, root is asked even without a unit. */
  readonly alone: readonly string[]
  /** What may be left of another role: looked at where root is asked in any case. */
  readonly former: { readonly units: readonly string[]; readonly paths: readonly string[] }
}

/** Kept beside a file until the units that read it are well. */
export const oldSuffix = '.harderway-old'
export const newSuffix = '.harderway-new'
/** What a run may have left there, where it or the node was killed. */
export const besideOf = (path: string): string[] => [path + oldSuffix, path + newSuffix]
/** In the folder that is deployed to: gateways may keep requests from the node. */
export const drainedMark = '.harderway-drained'

/** For a script that root's shell reads from its input; it must not begin a line with the end mark. */
export function asRoot(sudo: string, script: string, mark: string): string {
  return `${sudo === '' ? '' : `${sudo} `}sh -s <<'${mark}'\n${script}\n${mark}`
}

export const folderOf = (path: string): string => path.replace(/\/[^/]*$/, '')

/** Where systemd reads unit files: systemd.unit(5). */
const unitFolders = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map((folder) => `${folder}/systemd/system`)

/**
 * Anybody may see whether there is a unit, and its folders; for its state and its files root is asked, and only where
 * there is such a unit.
 */
export function unitsScript(asked: AskedUnits, nonce: string): string {
  const { directory, sudo, units, paths, alone } = asked
  const folders = [...new Set(paths.map(folderOf))].map(quote).join(' ')
  const files = unitFolders.map((folder) => `-e ${folder}/"$f".service`).join(' -o ')
  return wholeScript(
    openAnswer(nonce),
    `if cd -- ${folderWord(directory)} 2>/dev/null; then`,
    '  say source "$(pwd -P)"',
    `  if [ -e ${drainedMark} ]; then say drained; fi`,
    'fi',
    'say now "$(date +%s)"',
    'unit= folder= asks=',
    `for f in ${folders}; do if [ -d "$f" ]; then say folder "$f"; folder=1; fi; done`,
    `for f in ${units.join(' ')}; do if [ -d /run/systemd/system ] && [ ${files} ]; then unit=1; fi; done`,
    '[ -z "$unit" ] || [ -z "$folder" ] || asks=1',
    ...alone.map((path) => `[ ! -e ${quote(path)} ] || asks=1`),
    'if [ -n "$asks" ]; then',
    `  root=$(${asRoot(sudo, describeAsRoot(asked), `ROOT${nonce}`)}`,
    // Why is asked of the same sudo: what it says itself never stands in the answer above.
    `) || { said=$(${sudo} true 2>&1) || stop root "$said"; stop look 'a command failed there'; }`,
    `  printf '%s\n' "$root"`,
    `  n=$((n + \${root##*rows } + 1))`,
    'fi',
    closeAnswer(nonce),
  )
}

/** Its last line counts the others. */
function describeAsRoot({ units: own, paths: places, former }: AskedUnits): string {
  const [units, paths] = [
    [...own, ...former.units],
    [...places, ...former.paths],
  ]
  const properties = ['Id', 'LoadState', 'ActiveState', 'SubState', 'Job', 'ExecMainStartTimestamp'].map(
    (name) => `-p ${name}`,
  )
  const names = units.map((unit) => `${unit}.service`).join(' ')
  const shown = [
    `shown=$(systemctl show --timestamp=us+utc ${properties.join(' ')} -- ${names})`,
    'while read -r line; do [ -z "$line" ] || { printf "show %s\\n" "$line"; n=$((n + 1)); }; done <<SHOWN',
    '$shown',
    'SHOWN',
  ]
  return [
    shellStart,
    'TZ=UTC0; export TZ',
    'n=0',
    ...(units.length > 0 ? shown : []),
    'set --',
    `for f in ${[...paths, ...places.flatMap(besideOf)].map(quote).join(' ')}; do`,
    '  if [ -e "$f" ] || [ -L "$f" ]; then set -- "$@" "$f"; fi',
    'done',
    // One process for all: a node has some twenty.
    'stats=',
    'if [ $# -gt 0 ]; then',
    '  stats=$(stat -c "place %a %u %g %f %z %s %n" -- "$@")',
    '  printf "%s\\n" "$stats"',
    'fi',
    'n=$((n + $#))',
    'set --',
    'while read -r word mode uid gid type day time zone size name; do',
    // S_IFREG of stat(2).
    `  case $type in 8???) if [ "$size" -le ${largestFile} ]; then set -- "$@" "$name"; fi ;; esac`,
    'done <<STATS',
    '$stats',
    'STATS',
    'if [ $# -gt 0 ]; then sha256sum -- "$@"; fi',
    'n=$((n + $#))',
    'printf "rows %s\\n" "$n"',
  ].join('\n')
}

/** Throws a Failure where the answer is not whole, or root could not be asked. */
export function parseUnits(output: string, nonce: string): UnitsLook {
  const { records, stopped } = readAnswer(output, nonce)
  if (stopped?.why === 'root') throw new Failure(stopped.said, { code: 'no-root' })
  if (stopped) throw new Failure(`root's shell ended early: ${stopped.said}`, { code: 'other' })
  const read = (pattern: RegExp) =>
    records.flatMap((record) => [pattern.exec(record)].filter((match) => match !== null))
  const digests = new Map(read(/^([0-9a-f]{64}) {2}(\/.+)$/).map(([, digest = '', path = '']) => [path, digest]))
  const places = read(/^place ([0-7]{1,5}) (\d+) (\d+) ([0-9a-f]{1,4}) (\S+ \S+) \+0000 \d+ (\/.+)$/)
  const shown = read(/^show (\w+)=(.*)$/).map(([, key = '', value = '']): [string, string] => [key, value])
  const rows = read(/^rows (\d+)$/)
  const known = read(/^(?:(source|folder|now) (.+)|drained)$/)
  const count = digests.size + places.length + shown.length + rows.length + known.length
  // Root's part counts its own lines.
  const byRoot = digests.size + places.length + shown.length
  const isCounted = rows.length === 0 ? byRoot === 0 : rows.length === 1 && Number(rows[0]?.[1]) === byRoot
  if (count !== records.length || !isCounted) throw notWhole()
  const named = (kind: string) => known.flatMap(([, word, name = '']) => (word === kind ? [name] : []))
  const [now, again] = named('now')
  const [source, ...others] = named('source')
  if (!/^\d{1,12}$/.test(now ?? '') || again !== undefined || others.length > 0) throw notWhole()
  return {
    now: Number(now),
    source,
    units: readStates(shown),
    folders: new Set(named('folder')),
    files: new Map(
      places.map(([, mode = '', uid, gid, type = '', changed = '', path = '']): [string, PlacedFile] => [
        path,
        {
          // S_IFMT and S_IFREG of stat(2).
          isPlain: (Number.parseInt(type, 16) & 0o170000) === 0o100000,
          mode: Number.parseInt(mode, 8),
          uid: Number(uid),
          gid: Number(gid),
          changed: readTime(changed),
          digest: digests.get(path),
        },
      ]),
    ),
    isDrained: known.some(([record]) => record === 'drained'),
  }
}

/** systemd tells the properties of one unit after the other, in an order of its own. */
function readStates(shown: readonly (readonly [string, string])[]): Map<string, UnitState> {
  const size = 6
  const blocks = Array.from({ length: Math.ceil(shown.length / size) }, (_, i) =>
    Object.fromEntries(shown.slice(i * size, (i + 1) * size)),
  )
  return new Map(
    blocks.map(({ Id, LoadState, ActiveState, SubState, Job, ExecMainStartTimestamp }): [string, UnitState] => {
      if (!Id?.endsWith('.service') || !LoadState || !ActiveState || !SubState) throw notWhole()
      if (Job === undefined || ExecMainStartTimestamp === undefined) throw notWhole()
      const isStopping = ActiveState === 'deactivating' || (ActiveState === 'inactive' && Job !== '')
      const started = readStart(ExecMainStartTimestamp)
      return [
        Id.slice(0, -'.service'.length),
        { isLoaded: LoadState === 'loaded', active: ActiveState, sub: SubState, isStopping, started },
      ]
    }),
  )
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
