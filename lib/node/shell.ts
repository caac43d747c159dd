/**
 * Text for a node's POSIX sh (with coreutils or busybox), small scripts (lock, discard a copy), and the frame around
 * a script's answer: two lines with a nonce, the last with the number of records. Whatever a login prints before or after is
 * ignored; a truncated, repeated or missing answer is an error. Pure.
 */
import { Failure } from '../failure.ts'
import { excerpt, quote } from '../wording.ts'

/** `~` is the home folder of the login user. */
export function folderWord(directory: string): string {
  const path = directory.replace(/^~(?=\/|$)/, '')
  // The colon matters: with an empty HOME, `cd ""` would stay in the current folder.
  return path === directory ? quote(directory) : `"\${HOME:?}"${quote(path || '/')}`
}

/**
 * Makes a script independent of the environment: bash takes options (noglob, noclobber) from SHELLOPTS, and hides the files
 * that match GLOBIGNORE. No core file, since it would hold keys.
 */
export const shellStart =
  'LC_ALL=C; export LC_ALL; unset -v GLOBIGNORE; umask 077; ulimit -c 0 2>/dev/null || :; set +Cfu; set -e'

/**
 * The shell reads its script from its input, and the connection may be lost halfway: with the braces, nothing is done before
 * the whole script has been read.
 */
export function wholeScript(...lines: readonly string[]): string {
  return ['{', 'exec </dev/null', shellStart, ...lines, 'exit', '}', ''].join('\n')
}

/**
 * Runs both scripts in one command, each in its own shell. The status is that of the first. The second runs only if the first
 * succeeded, and its stderr is dropped.
 */
export function bothScripts(first: string, second: string): string {
  // No `||` or `if` around them: `set -e` has no effect inside a tested command.
  return `{\n(\n${first})\nstatus=$?\nif [ $status -eq 0 ]; then\n(\n${second}) 2>/dev/null\nfi\nexit $status\n}\n`
}

/** Makes renames in these folders survive a power cut. Some file systems can't sync a single folder. */
export function syncFolders(words: string): string {
  return `sync -- ${words} 2>/dev/null || sync`
}

/**
 * `lock DESCRIPTOR` is a lock by flock(2) on the current folder of the shell: it leaves nothing behind, and is released when the last process that
 * holds it exits. On NFS it covers that machine only. `stop` is a function that ends the script with a word. The wait is
 * limited: the run that started the script may be gone, and its changes out of date.
 */
export function lockFunction(stop: string): string {
  return `lock() {
  command -v flock >/dev/null || ${stop} no-flock
  eval "exec $1<."
  tries=0
  while :; do
    status=0
    flock -n "$1" || status=$?
    case $status in 0) return ;; 1) ;; *) exit 1 ;; esac
    tries=$((tries + 1))
    [ $tries -lt 30 ] || ${stop} busy
    sleep 1
  done
}`
}

/** Of an archive: where it is unpacked, where that is while it replaces files, and where it is before it is removed. */
export const suffixes = { unpacked: '-unpacked', inUse: '-swap', discarded: '-discarded' } as const

/**
 * A swap that has begun may be about to rename the folder: only one of the two renames succeeds, and gets the whole folder. If
 * the folder were removed under the shared name, the swap would lose its new files and the old ones it keeps.
 */
export function discardScript(archive: string): string {
  const discarded = quote(archive + suffixes.discarded)
  return wholeScript(
    `rm -f -- ${quote(archive)}`,
    `mv -- ${quote(archive + suffixes.unpacked)} ${discarded} 2>/dev/null || :`,
    `rm -rf -- ${discarded}`,
  )
}

interface Answer {
  /** One per line. A line that begins with a blank belongs to the previous record, and is not counted. */
  readonly records: readonly string[]
  /** Set where the script stopped early: its reason as one word, and the message of the tool that failed. */
  readonly stopped: { readonly why: string; readonly said: string } | undefined
}

/** Shell: `say` prints a record, and $n counts them. */
export const sayFunction = `n=0
nl='
'
say() { n=$((n + 1)); printf '%s\\n' "$*"; }`

/** Shell functions: `say`, and `stop`, which prints a reason and exits. Leaves the answer open. */
export function openAnswer(nonce: string): string {
  return `${sayFunction}
stop() { printf '${nonce} stopped %s %s\\n' "$1" "\${2%%"$nl"*}"; exit 0; }
printf '\\n${nonce} begin\\n'`
}

export function closeAnswer(nonce: string): string {
  return `printf '${nonce} end %s\\n' "$n"`
}

/** Throws a Failure if the answer is incomplete. */
export function readAnswer(output: string, nonce: string): Answer {
  const lines = output.split('\n')
  const marks = lines.flatMap((line, i) =>
    line.startsWith(`${nonce} `) ? [{ i, text: line.slice(nonce.length + 1) }] : [],
  )
  const [begin, end, ...more] = marks
  if (!begin || !end || more.length > 0 || begin.text !== 'begin') throw notWhole()
  const records = lines.slice(begin.i + 1, end.i)
  const [, why, said] = /^stopped (\S+) (.*)$/.exec(end.text) ?? []
  if (why !== undefined) return { records, stopped: { why, said: excerpt(said ?? '') } }
  if (end.text !== `end ${records.filter((line) => !line.startsWith(' ')).length}`) throw notWhole()
  return { records, stopped: undefined }
}

export function notWhole(): Failure {
  return new Failure('its answer is incomplete', {
    code: 'no-answer',
    remedy:
      'check what a command prints there (ssh to it, echo ok): its login shell must run it and let its output through',
  })
}
