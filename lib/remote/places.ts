/** Copies files on a node from where they were deployed to where units read them, as root: scripts. Pure. */
import { addressBytes } from '../address.ts'
import { quote } from '../wording.ts'
import { closeAnswer, openAnswer } from './frame.ts'
import { lockFunction, shellStart, syncFolders, wholeScript } from './shell.ts'
import { asRoot, besideOf, folderOf, newSuffix, oldSuffix } from './units-look.ts'

export interface Placing {
  /** Absolute: the folder that is deployed to. */
  readonly source: string
  readonly sudo: string
  readonly files: readonly {
    /** Its name in the source. */
    readonly file: string
    /** Absolute. */
    readonly path: string
    readonly mode: number
    /** SHA-256 in hex. */
    readonly digest: string
  }[]
}

/**
 * Every file is first written beside its place, nobody's but root's until it is shown to be the one that was deployed;
 * then a second link keeps each old one, which can't be made where a place may not be changed; then all are renamed, one
 * right after the other. At every moment each file is the old or the new. The lock is the one that a deploy takes.
 * It answers `placed`; or a Stop; or `source`, where a file in the source is not the one that was deployed.
 */
export function placeScript({ source, sudo, files }: Placing, nonce: string): string {
  const each = (line: (file: Placing['files'][number]) => string) => files.map(line)
  const all = (suffix: string) => each(({ path }) => quote(path + suffix)).join(' ')
  const script = [
    shellStart,
    ...placeFunctions,
    lockFunction('answer'),
    `cd -- ${quote(source)}`,
    'lock',
    "trap '' HUP INT TERM PIPE",
    `leave() { rm -f -- ${all(newSuffix)} || true; answer "$@"; }`,
    `forget() { rm -f -- ${all(oldSuffix)} || true; leave "$@"; }`,
    'undo() {',
    '  why=undone',
    ...each(({ path }) => `  back ${quote(path)} || why=half`),
    `  forget $why "$1"`,
    '}',
    ...each(({ file, path, mode, digest }) => `write ${quote(file)} ${quote(path)} ${digest} ${mode.toString(8)}`),
    ...each(({ path }) => `keep ${quote(path)}`),
    ...each(({ path }) => `said=$(mv -f -- ${quote(path + newSuffix)} ${quote(path)} 2>&1) || undo "$said"`),
    syncFolders([...new Set(each(({ path }) => quote(folderOf(path))))].join(' ')),
    'answer placed',
  ].join('\n')
  return answering(sudo, script, nonce)
}

/** Each for one path; a new file that is still beside its place has not been renamed. */
const placeFunctions = [
  `answer() { printf '%s\n' "$*"; exit 0; }`,
  'write() {',
  `  new=$2${newSuffix}`,
  '  rm -rf -- "$new"',
  '  [ -f "$1" ] || leave source "$1"',
  '  status=0',
  // The folder may be another user's, who can give its name to a link: by its descriptor it stays this file.
  '  said=$( {',
  '    set -C && exec 8> "$new" && cat < "$1" >&8 && sync -- "$new" &&',
  '    { case $(sha256sum < /proc/self/fd/8) in "$3 "*) ;; *) exit 9 ;; esac; } &&',
  '    chown -- 0:0 /proc/self/fd/8 && chmod -- "$4" /proc/self/fd/8',
  '  } 2>&1) || status=$?',
  '  case $status in 0) ;; 9) leave source "$1" ;; *) leave undone "$said" ;; esac',
  '}',
  'keep() {',
  `  rm -rf -- "$1${oldSuffix}"`,
  '  if [ -e "$1" ] || [ -L "$1" ]; then',
  `    said=$(ln -- "$1" "$1${oldSuffix}" 2>&1) || forget undone "$said"`,
  '  fi',
  '}',
  'back() {',
  `  [ ! -e "$1${newSuffix}" ] || return 0`,
  `  if [ -e "$1${oldSuffix}" ] || [ -L "$1${oldSuffix}" ]; then mv -f -- "$1${oldSuffix}" "$1"; else rm -f -- "$1"; fi 2>/dev/null`,
  '}',
]

/** The old ones back in their places; those that had no old one stay. */
export function putBackScript({ sudo, paths }: Kept, nonce: string): string {
  const back = paths.map(
    (path) =>
      `f=${quote(path)}; if [ -e "$f${oldSuffix}" ] || [ -L "$f${oldSuffix}" ]; then mv -f -- "$f${oldSuffix}" "$f"; fi`,
  )
  return answering(sudo, [shellStart, ...back, "printf 'done\\n'"].join('\n'), nonce)
}

/** When all is well. */
export function forgetScript({ sudo, paths }: Kept, nonce: string): string {
  const old = paths.flatMap(besideOf).map(quote).join(' ')
  return answering(sudo, [shellStart, `rm -f -- ${old}`, "printf 'done\\n'"].join('\n'), nonce)
}

/** Which of the ports a process listens on, on the address or on all: proc_pid_net(5), where 0A is LISTEN. */
export function listensScript(address: string, ports: readonly number[], nonce: string): string {
  const hex = (port: number) => port.toString(16).toUpperCase().padStart(4, '0')
  const places = [...new Set(kernelAddresses(address))]
  const lines = (port: number) =>
    places.map((place) => `*' ${place}:${hex(port)} ${place.replaceAll(/./g, '0')}:0000 0A '*`).join('|')
  return wholeScript(
    openAnswer(nonce),
    'listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null) || true',
    ...ports.map((port) => `case $listening in ${lines(port)}) say ${port} ;; esac`),
    closeAnswer(nonce),
  )
}

/** It, and all: words of four bytes in the byte order of the machine, which is either. An IPv6 socket serves IPv4 too. */
function kernelAddresses(address: string): string[] {
  const bytes = addressBytes(address) ?? Buffer.alloc(4)
  const mapped = bytes.length === 4 ? [Buffer.concat([Buffer.alloc(10), Buffer.alloc(2, 0xff), bytes])] : []
  const all = [bytes, ...mapped, Buffer.alloc(4), Buffer.alloc(16)]
  return all.flatMap((each) => [each, Buffer.from(each).swap32()]).map((each) => each.toString('hex').toUpperCase())
}

/** What stands there, each file as a line of hexadecimal. */
export function readScript({ sudo, paths }: Kept, nonce: string): string {
  return answering(
    sudo,
    [shellStart, ...paths.map((path) => `od -A n -t x1 -v < ${quote(path)} | tr -d ' \\n'; echo`), 'echo done'].join(
      '\n',
    ),
    nonce,
  )
}

/** Removes files that are what a look has found. */
export function removeScript(sudo: string, files: ReadonlyMap<string, string>, nonce: string): string {
  const lines = [...files].map(
    ([path, digest]) => `case $(sha256sum < ${quote(path)}) in "${digest} "*) rm -f -- ${quote(path)} ;; esac`,
  )
  return answering(sudo, [shellStart, ...lines, "printf 'done\\n'"].join('\n'), nonce)
}

export interface Kept {
  readonly sudo: string
  /** Absolute. */
  readonly paths: readonly string[]
}

/** Root's shell runs the command, which gets no input; its answer has its status, then the first lines of what it said. */
export function commandScript(sudo: string, command: string, nonce: string): string {
  return answering(
    sudo,
    `status=0\nsaid=$( { ${command}\n} </dev/null 2>&1) || status=$?\nprintf 'status %s\\n%s\\n' "$status" "$said" | head -n 40`,
    nonce,
  )
}

function answering(sudo: string, script: string, nonce: string): string {
  return wholeScript(
    openAnswer(nonce),
    `root=$(${asRoot(sudo, script, `ROOT${nonce}`)}`,
    `) || stop root 'a command failed'`,
    'while read -r line; do say "said $line"; done <<SAID',
    '$root',
    'SAID',
    closeAnswer(nonce),
  )
}
