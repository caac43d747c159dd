/** Copies files on a node from where they were deployed to where units read them, as root: scripts. Pure. */

import { quote } from '../wording.ts'
import { closeAnswer, openAnswer } from './frame.ts'
import { wholeScript } from './shell.ts'
import { asRoot, newSuffix, oldSuffix } from './units.ts'

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

/** Why a placing stopped: nothing has changed. */
export type PlacingStop =
  /** A file in the source is not the one that was deployed. */
  | 'source'
  /** One could not be written, or not be replaced. */
  | 'undone'
  /** As `undone`, but one could not be put back. */
  | 'half'

/**
 * Every file is first written beside its place, root's and with its mode from the first byte, and checked; a second link
 * keeps the old one; then all are renamed, one right after the other. At every moment each file is the old or the new.
 */
export function placeScript({ source, sudo, files }: Placing, nonce: string): string {
  const each = (line: (file: Placing['files'][number]) => string) => files.map(line)
  const script = [
    'LC_ALL=C; export LC_ALL; umask 077; set -e',
    `cd -- ${quote(source)}`,
    "trap '' HUP INT TERM PIPE",
    `fail() { printf '%s %s\\n' "$1" "$2"; exit 0; }`,
    'undo() {',
    '  why=undone',
    ...each(
      ({ path }) =>
        `  { [ ! -e ${quote(path + newSuffix)} ] && if [ -e ${quote(path + oldSuffix)} ]; then mv -f -- ${quote(path + oldSuffix)} ${quote(path)}; else rm -f -- ${quote(path)}; fi; } 2>/dev/null || [ -e ${quote(path + newSuffix)} ] || why=half`,
    ),
    `  rm -f -- ${each(({ path }) => `${quote(path + newSuffix)} ${quote(path + oldSuffix)}`).join(' ')} || true`,
    '  fail $why "$1"',
    '}',
    'tidy() {',
    `  rm -f -- ${each(({ path }) => quote(path + newSuffix)).join(' ')} || true`,
    '  fail $1 "$2"',
    '}',
    'write() {',
    `  rm -rf -- "$2${newSuffix}"`,
    `  said=$( { cat < "$1" > "$2${newSuffix}" && chown 0:0 -- "$2${newSuffix}" && chmod "$3" -- "$2${newSuffix}" && sync -- "$2${newSuffix}"; } 2>&1) || tidy undone "$said"`,
    `  sum=$(sha256sum < "$2${newSuffix}")`,
    '  case $sum in "$4 "*) ;; *) tidy source "$1" ;; esac',
    `  rm -rf -- "$2${oldSuffix}"`,
    '  if [ -e "$2" ]; then',
    `    said=$(ln -- "$2" "$2${oldSuffix}" 2>&1) || tidy undone "$said"`,
    '  fi',
    '}',
    ...each(({ file, path, mode, digest }) => `write ${quote(file)} ${quote(path)} ${mode.toString(8)} ${digest}`),
    ...each(({ path }) => `said=$(mv -f -- ${quote(path + newSuffix)} ${quote(path)} 2>&1) || undo "$said"`),
    "printf 'placed\\n'",
  ].join('\n')
  return answering(sudo, script, nonce)
}

/** The old ones back in their places; those that had no old one stay. */
export function putBackScript({ sudo, paths }: Kept, nonce: string): string {
  const back = paths.map(
    (path) => `if [ -e ${quote(path + oldSuffix)} ]; then mv -f -- ${quote(path + oldSuffix)} ${quote(path)}; fi`,
  )
  return answering(sudo, ['set -e', ...back, "printf 'done\\n'"].join('\n'), nonce)
}

/** When all is well. */
export function forgetScript({ sudo, paths }: Kept, nonce: string): string {
  const old = paths.map((path) => quote(path + oldSuffix)).join(' ')
  return answering(sudo, ['set -e', `rm -f -- ${old}`, "printf 'done\\n'"].join('\n'), nonce)
}

export interface Kept {
  readonly sudo: string
  /** Absolute. */
  readonly paths: readonly string[]
}

/** Root's shell runs the command; its answer has its status, then the first lines of what it said. */
export function commandScript(sudo: string, command: string, nonce: string): string {
  return answering(
    sudo,
    `status=0\nsaid=$( { ${command}\n} 2>&1) || status=$?\nprintf 'status %s\\n%s\\n' "$status" "$said" | head -n 40`,
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
