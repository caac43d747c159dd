/** Text for a node's POSIX sh (with coreutils or busybox), and the small scripts: make a folder, try a copy, discard one. Pure. */
import { quote } from '../wording.ts'

/** `~` is the home of the user that we are there. */
export function folderWord(directory: string): string {
  const path = directory.replace(/^~(?=\/|$)/, '')
  // The colon: where HOME is empty, `cd ""` would stay where it is.
  return path === directory ? quote(directory) : `"\${HOME:?}"${quote(path || '/')}`
}

/**
 * The same whatever the environment says: bash takes options (noglob, noclobber) from SHELLOPTS, and hides the files that
 * match GLOBIGNORE. A core file would hold keys.
 */
export const shellStart =
  'LC_ALL=C; export LC_ALL; unset -v GLOBIGNORE; umask 077; ulimit -c 0 2>/dev/null || :; set +Cfu; set -e'

/**
 * The shell reads its script from its input, and a connection may be lost in the middle of it: nothing is done before
 * the closing brace has been read.
 */
export function wholeScript(...lines: readonly string[]): string {
  return ['{', 'exec </dev/null', shellStart, ...lines, 'exit', '}', ''].join('\n')
}

/**
 * Both of them in one go, each in a shell of its own. The status is that of the first; the second is not begun after a first
 * that ended with an error, and what it says on stderr is dropped.
 */
export function bothScripts(first: string, second: string): string {
  // No `||` or `if` around them: `set -e` has no force in what is tested.
  return `{\n(\n${first})\nstatus=$?\nif [ $status -eq 0 ]; then\n(\n${second}) 2>/dev/null\nfi\nexit $status\n}\n`
}

/** What was renamed there outlives a power cut. Some file systems can't do that for a folder alone. */
export function syncFolders(words: string): string {
  return `sync -- ${words} 2>/dev/null || sync`
}

/** Why a script that replaces files ended before it did; nothing has changed, but for `half`. */
export type Stop =
  /** Another run is in the middle of one. */
  | 'busy'
  | 'no-flock'
  /** A file could not be replaced; those that had been are back. */
  | 'undone'
  /** As `undone`, but one could not be put back. */
  | 'half'

/**
 * A lock of flock(2) on the folder that the shell is in: it leaves nothing behind, and ends with the last process that holds
 * it. On NFS it is of that machine alone. `stop` is a function that ends the script with a word; not waited for without end:
 * whoever started this may have gone, and what it would do then is of the past.
 */
export function lockFunction(stop: string): string {
  return `lock() {
  command -v flock >/dev/null || ${stop} no-flock
  exec 9<.
  tries=0
  while :; do
    status=0
    flock -n 9 || status=$?
    case $status in 0) return ;; 1) ;; *) exit 1 ;; esac
    tries=$((tries + 1))
    [ $tries -lt 30 ] || ${stop} busy
    sleep 1
  done
}`
}

/** Makes the staging folder and writes as many bytes into it as the archive has: fails where that can't be done. */
export function tryScript(folder: string, staging: string, size: number): string {
  const path = quote(`${folder}/${staging}`)
  return wholeScript(`mkdir -p -- ${path}`, `head -c ${size} /dev/zero > ${path}/try`, `rm -- ${path}/try`)
}

export const discardedSuffix = '-discarded'

/**
 * A swap that began may be about to rename the folder for itself: one of the two renames wins, and has all of it. Removed
 * under the name that both know, it would lose its files, and the old ones that it keeps, in the middle of the swap.
 */
export function discardScript(folder: string, staging: string): string {
  const discarded = quote(`${folder}/${staging}${discardedSuffix}`)
  return wholeScript(`mv -- ${quote(`${folder}/${staging}`)} ${discarded} 2>/dev/null || :`, `rm -rf -- ${discarded}`)
}
