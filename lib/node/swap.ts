/**
 * Replaces a node's files as one set. They are copied as one archive; a script unpacks, checks, renames, rolls back and
 * inspects again. Pure.
 */
import type { FileNames } from '../files/names.ts'
import { quote } from '../wording.ts'
import type { FolderSeen } from './answer.ts'
import { lookFunctions, unchangedLines } from './look.ts'
import { closeAnswer, lockFunction, openAnswer, suffixes, syncFolders, wholeScript } from './shell.ts'

export interface Swap {
  readonly files: FileNames
  /** Absolute. */
  readonly folder: string
  /** The name of the archive in it. */
  readonly archive: string
  /** In the order of their renames. */
  readonly copied: readonly { name: string; mode: number; digest: string }[]
  readonly modes: readonly { name: string; mode: number }[]
  /** Files and symbolic links. */
  readonly pruned: readonly string[]
  /** What other runs have left: archives, and folders that they were unpacked in. */
  readonly leftovers: readonly string[]
  /** Files that must not have changed since the look. */
  readonly unchanged: readonly string[]
}

/**
 * Run where the archive was unpacked. A second link keeps an old file; it can't be made if the file can't be replaced (immutable, or
 * mounted on). It can't be made of another owner's file either (protected_hardlinks, proc(5)), which is moved away instead.
 */
const replaceFunctions = `keep() {
  [ $# -gt 0 ] || return 0
  if ln -- "$@" old 2>/dev/null; then return 0; fi
  for f; do
    if [ -d "$f" ] && [ ! -L "$f" ]; then undo "\${f##*/} is a folder"; fi
    if [ -e "old/\${f##*/}" ] || [ -L "old/\${f##*/}" ] || ln -- "$f" old 2>/dev/null; then continue; fi
    said=$(mv -- "$f" old 2>&1) || undo "$said"
  done
}
replace() {
  said=$(mv -f -- $names .. 2>&1) || undo "$said"
}
undo() {
  why=undone
  for f in $names; do
    if [ ! -e "$f" ]; then
      if [ -e "old/$f" ] || [ -L "old/$f" ]; then mv -f -- "old/$f" .. || why=half
      else case $had in *" $f "*) why=half ;; *) rm -f -- "../$f" || why=half ;; esac
      fi
    elif [ ! -e "../$f" ] && [ ! -L "../$f" ] && { [ -e "old/$f" ] || [ -L "old/$f" ]; }; then
      mv -- "old/$f" .. || why=half
    fi
  done 2>/dev/null
  [ $why = undone ] || trap - EXIT
  stop $why "$1"
}`

const replacing = [
  'mkdir old',
  'set -- ; had=" "',
  'for f in $names; do',
  '  if [ -L "../$f" ] || [ -e "../$f" ]; then set -- "$@" "../$f"; had="$had$f "; fi',
  'done',
  'keep "$@"',
  'replace',
]

/**
 * Unpacks the archive in a folder beside it, and checks every file. Then, under the lock, it checks that nothing has changed since
 * the look, keeps the old files and renames the new ones into place, one directly after the other. Before the renames the folder
 * gets another name, so that an interrupted run that removes it can't remove it meanwhile. Ends with another inspection.
 */
export function swapScript(swap: Swap, seen: FolderSeen, nonce: string): string {
  const { folder, copied, modes, pruned, leftovers, unchanged } = swap
  const archive = `${folder}/${swap.archive}`
  const [unpacked, inUse] = [quote(archive + suffixes.unpacked), quote(archive + suffixes.inUse)]
  const remove = (options: string, list: readonly string[]) =>
    list.length > 0 ? [`rm ${options} -- ${list.map(quote).join(' ')}`] : []
  return wholeScript(
    openAnswer(nonce),
    lookFunctions(swap.files),
    lockFunction('stop'),
    replaceFunctions,
    `names=${quote(copied.map(({ name }) => name).join(' '))}`,
    // A discard (shell.ts) can't remove a folder while this script unpacks into it.
    `trap ${quote(`rm -rf -- ${quote(archive)} ${unpacked} ${inUse} ${quote(archive + suffixes.discarded)}`)} EXIT`,
    "trap 'exit 1' HUP INT TERM",
    ...(copied.length > 0 ? unpacking(copied, quote(archive), unpacked) : []),
    `cd -- ${quote(folder)}`,
    'lock 9',
    ...unchangedLines(unchanged, seen.files, 'stop'),
    ...chmods(modes),
    "trap '' HUP INT TERM PIPE",
    ...(copied.length > 0
      ? [`mv -- ${unpacked} ${inUse}`, `cd -- ${inUse}`, ...replacing, 'cd ..', syncFolders('.')]
      : []),
    ...remove('-f', pruned),
    ...remove('-rf', leftovers),
    `rm -rf -- ${quote(archive)} ${inUse}`,
    'say_folder',
    closeAnswer(nonce),
  )
}

function unpacking(copied: Swap['copied'], archive: string, unpacked: string): string[] {
  return [
    `mkdir -m 700 -- ${unpacked}`,
    `cd -- ${unpacked}`,
    // GNU tar takes options from the environment too.
    `TAR_OPTIONS= tar -xof ${archive} -- $names`,
    "sha256sum -c >/dev/null <<'SUMS'",
    ...copied.map(({ name, digest }) => `${digest}  ${name}`),
    'SUMS',
    // The node's own time, so that rsync, cp -u and backups see that a file is new.
    `touch -c -- $names`,
    ...chmods(copied),
    // Without it a power cut after the renames might leave empty files: rename(2) does not wait for the data.
    'sync -- $names',
  ]
}

/** One call for all files with a mode. `--` comes first: with POSIXLY_CORRECT it would be a file after the mode. */
function chmods(files: Swap['modes']): string[] {
  return [...Map.groupBy(files, ({ mode }) => mode)].map(
    ([mode, group]) => `chmod -- ${mode.toString(8)} ${group.map(({ name }) => quote(name)).join(' ')}`,
  )
}

/** An archive of plain files (POSIX ustar), so that any number of files goes to a node in a single copy. */
const block = 512

export interface ArchivedFile {
  /** At most 100 bytes. */
  readonly name: string
  readonly mode: number
  readonly bytes: Buffer
}

export function buildTar(files: readonly ArchivedFile[]): Buffer {
  const parts = files.flatMap((file) => [header(file), file.bytes, Buffer.alloc(-file.bytes.length & (block - 1))])
  return Buffer.concat([...parts, Buffer.alloc(2 * block)])
}

function header({ name, mode, bytes }: ArchivedFile): Buffer {
  const head = Buffer.alloc(block)
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`
  head.write(name, 0)
  head.write(octal(mode, 8), 100)
  head.write(octal(0, 8) + octal(0, 8) + octal(bytes.length, 12) + octal(0, 12), 108)
  // The checksum is computed with its own field as spaces.
  head.write(' '.repeat(8), 148)
  head.write('0', 156)
  head.write('ustar\x0000', 257)
  head.write(
    `${octal(
      head.reduce((sum, byte) => sum + byte, 0),
      7,
    )} `,
    148,
  )
  return head
}
