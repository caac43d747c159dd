/** Scripts that change the files where units of a node read them, as root. Pure. */
import { clientPairFile } from '../files/names.ts'
import type { Part } from '../kubernetes/kubeconfig.ts'
import { quote } from '../wording.ts'
import { asRoot, besideOf, fileFunctions, folderOf, newSuffix, oldSuffix, unchangedLines } from './look.ts'
import type { FileAccess, FileState } from './place.ts'
import { closeAnswer, lockFunction, openAnswer, shellStart, syncFolders, wholeScript } from './shell.ts'
import { nodeFolder } from './staging.ts'

export interface PlacesChange {
  /** Absolute: the folder that deploy copies to. */
  readonly source: string
  readonly sudo: string
  readonly files: readonly ({
    /** Its name in the source. */
    readonly file: string
    /** Absolute, as the node resolves it. */
    readonly path: string
    /** The part of it that belongs there; undefined: all of it. */
    readonly part?: Part | undefined
    /** SHA-256 of what belongs there, in hex. */
    readonly digest: string
  } & FileAccess)[]
  /** Absolute: files that must not have changed since the look. */
  readonly unchanged: readonly string[]
  readonly seen: ReadonlyMap<string, FileState>
}

/**
 * First each new file is written beside its place, accessible only to root until its digest is that of the deployed file, and all are
 * synced. Then a second link keeps each old file; this fails for a file that can't be replaced. Then all new files are renamed into
 * place, one directly after the other, so at every moment each file is either the old one or the new one. An old file that is
 * kept already is what the units were last healthy with, and stays. The script answers `placed`,
 * or why it stopped.
 */
export function placeScript({ source, sudo, files, unchanged, seen }: PlacesChange, nonce: string): string {
  const each = (line: (file: PlacesChange['files'][number]) => string) => files.map(line)
  const all = (suffix: string) => each(({ path }) => quote(path + suffix)).join(' ')
  const script = [
    shellStart,
    `nl='\n'`,
    fileFunctions,
    ...placeFunctions,
    ...lockLines(source),
    ...unchangedLines(unchanged, seen, 'answer'),
    "trap '' HUP INT TERM PIPE",
    'made=',
    `leave() { rm -f -- ${all(newSuffix)} $made || true; answer "$@"; }`,
    'undo() {',
    '  why=undone',
    // In reverse, so that what names another file is never there without it.
    ...each(({ path }) => `  back ${quote(path)} || why=half`).toReversed(),
    // What could not be put back is still beside its place.
    '  [ $why = undone ] || made=',
    `  leave $why "$1"`,
    '}',
    ...each(
      ({ file, path, part = 'file', digest, uid, gid, mode }) =>
        `write ${quote(file)} ${quote(path)} ${digest} ${uid}:${gid} ${mode.toString(8)} ${part} ${quote(clientPairFile(file))}`,
    ),
    `said=$(sync -- ${all(newSuffix)} 2>&1) || leave undone "$said"`,
    ...each(({ path }) => `keep ${quote(path)}`),
    ...each(({ path }) => `said=$(mv -fT -- ${quote(path + newSuffix)} ${quote(path)} 2>&1) || undo "$said"`),
    syncFolders([...new Set(each(({ path }) => quote(folderOf(path))))].join(' ')),
    'answer placed',
  ].join('\n')
  return answering(sudo, script, nonce)
}

/** Admins may deploy to different folders, so the places that units read have one lock for all. Both are held until the script ends. */
function lockLines(source: string): string[] {
  const lockIn = (folder: string, descriptor: number) => [`cd -- ${quote(folder)}`, `lock ${descriptor}`]
  return [lockFunction('answer'), `mkdir -p -m 700 -- ${nodeFolder}`, ...lockIn(nodeFolder, 7), ...lockIn(source, 9)]
}

const answerFunction = `answer() { printf '%s\n' "$*"; exit 0; }`

/**
 * Each function handles one path. A new file that is still beside its place has not been renamed. If a previous run kept the
 * old file, it is put back all the same: other files of the set may already be the old ones again.
 */
const placeFunctions = [
  answerFunction,
  // The same as partOf; the digest confirms the result.
  'made_of() {',
  '  case $2 in',
  '    file) cat < "$1" ;;',
  `    kubeconfig) sed -e '/^preferences: {}$/d' -e "s/^\\( *client-[a-z]*\\)-data: .*/\\1: $3/" < "$1" ;;`,
  `    pair) for p in certificate key; do sed -n "s/^ *client-$p-data: //p" < "$1" | base64 -d; echo; done ;;`,
  '  esac',
  '}',
  'write() {',
  `  new=$2${newSuffix}`,
  '  if [ -e "$new" ] || [ -L "$new" ]; then rm -rf -- "$new"; fi',
  '  [ -f "$1" ] || leave source "$1"',
  '  status=0',
  // The folder may belong to another user, who can replace the name by a link; the descriptor stays on this file.
  '  said=$( {',
  '    set -C && exec 8> "$new" && [ -f /proc/self/fd/8 ] && made_of "$1" "$6" "$7" >&8 &&',
  '    { case $(sha256sum < /proc/self/fd/8) in "$3 "*) ;; *) exit 9 ;; esac; } &&',
  '    chown -- "$4" /proc/self/fd/8 && chmod -- "$5" /proc/self/fd/8',
  '  } 2>&1) || status=$?',
  '  case $status in 0) ;; 9) leave source "$1" ;; *) leave undone "$said" ;; esac',
  '}',
  'keep() {',
  `  if [ -e "$1${oldSuffix}" ] || [ -L "$1${oldSuffix}" ]; then return 0; fi`,
  '  if [ -e "$1" ] || [ -L "$1" ]; then',
  `    said=$(ln -T -- "$1" "$1${oldSuffix}" 2>&1) || leave undone "$said"`,
  `    made="$made $1${oldSuffix}"`,
  '  fi',
  '}',
  'back() {',
  `  old=$1${oldSuffix}`,
  `  if [ -e "$1${newSuffix}" ]; then case "$made " in *" $old "*) return 0 ;; esac; fi`,
  '  if [ -e "$old" ] || [ -L "$old" ]; then mv -fT -- "$old" "$1" 2>/dev/null',
  `  elif [ ! -e "$1${newSuffix}" ]; then rm -f -- "$1"; fi`,
  '}',
]

/** Puts the old files back; a file without an old one stays. It answers `done`, or why it stopped. */
export function putBackScript(
  at: Pick<PlacesChange, 'source' | 'sudo'>,
  paths: readonly string[],
  nonce: string,
): string {
  const back = paths
    .toReversed()
    .map(
      (path) =>
        `f=${quote(path)}; if [ -e "$f${oldSuffix}" ] || [ -L "$f${oldSuffix}" ]; then mv -fT -- "$f${oldSuffix}" "$f"; fi`,
    )
  return lockedScript(at, back, nonce)
}

/**
 * Removes the old files, once all units are healthy: of each path that still has the digest (SHA-256 in hex), since another
 * run may be working there by now. It answers `done`, or why it stopped.
 */
export function forgetScript(
  at: Pick<PlacesChange, 'source' | 'sudo'>,
  files: ReadonlyMap<string, string>,
  nonce: string,
): string {
  return lockedScript(at, removeWhere(files, besideOf), nonce)
}

function lockedScript(
  { source, sudo }: Pick<PlacesChange, 'source' | 'sudo'>,
  lines: readonly string[],
  nonce: string,
): string {
  return answering(sudo, [shellStart, answerFunction, ...lockLines(source), ...lines, 'answer done'].join('\n'), nonce)
}

/** Removes `files` of each path whose file still has its digest. */
function removeWhere(digests: ReadonlyMap<string, string>, files: (path: string) => readonly string[]): string[] {
  const words = (paths: Iterable<string>) => [...paths].map(quote).join(' ')
  return [
    `nl='\n'`,
    // Its status is 1 if one of them is gone.
    `sums=$(sha256sum -- ${words(digests.keys())} </dev/null 2>/dev/null) || :`,
    'set --',
    ...[...digests].map(
      ([path, digest]) =>
        `case $nl$sums$nl in *"$nl"${quote(`${digest}  ${path}`)}"$nl"*) set -- "$@" ${words(files(path))} ;; esac`,
    ),
    'rm -f -- "$@"',
  ]
}

/** Runs the command in root's shell, without input. The answer has its status, then the first lines of its output. */
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
