/** What is done on a node, as scripts for its POSIX sh (with coreutils or busybox): look, make a folder, swap. Pure. */
/** What stands on a node under one name. */
interface NodeFile {
  readonly mode: number
  readonly uid: number
  readonly isPlain: boolean
  readonly isFolder: boolean
  /** SHA-256 in hex; undefined where it is no plain file or can't be read. */
  readonly digest: string | undefined
}

export interface Look {
  /** The folder's absolute path; undefined where there is none. */
  readonly folder: string | undefined
  /** Of the user that we are there. */
  readonly uid: number
  readonly files: ReadonlyMap<string, NodeFile>
  /** Of the files asked for, those whose digest was another. */
  readonly contents: ReadonlyMap<string, Buffer>
  /** Staging folders that are there. */
  readonly leftovers: readonly string[]
}

/** For a POSIX shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** `~` is the home of the user that we are there. */
function changeFolder(directory: string): string {
  const path = directory.replace(/^~(?=\/|$)/, '')
  return path === directory ? quote(directory) : `"$HOME"${quote(path || '/')}`
}

const preamble = 'LC_ALL=C; export LC_ALL; umask 077\n'

/**
 * Lists certificates, kubeconfigs and the encryption config with mode, owner and digest; and sends the content of each
 * file whose digest is not the expected one.
 */
export function lookScript(directory: string, expected: ReadonlyMap<string, string>): string {
  const contents = [...expected].map(([name, digest]) => `differs ${quote(name)} ${quote(digest)}`)
  return `${preamble}printf 'uid %s\\n' "$(id -u)"
cd -- ${changeFolder(directory)} 2>/dev/null || exit 0
printf 'folder %s\\n' "$(pwd -P)"
for f in .harderway-*; do
  if [ -d "$f" ] && [ ! -L "$f" ]; then printf 'leftover %s\\n' "$f"; fi
done
set --
for f in *.pem *.kubeconfig encryption-config.yaml; do
  if [ -L "$f" ] || [ -e "$f" ]; then set -- "$@" "$f"; fi
done
[ $# -gt 0 ] || exit 0
stat -c 'stat %a %u %f %n' -- "$@"
for f; do
  shift
  if [ -f "$f" ] && [ ! -L "$f" ] && [ -r "$f" ]; then set -- "$@" "$f"; fi
done
[ $# -gt 0 ] || exit 0
sums=$(sha256sum -- "$@") || exit 1
printf '%s\\n' "$sums" | sed 's/^/sum /'
differs() {
  [ -f "$1" ] && [ ! -L "$1" ] && [ -r "$1" ] || return 0
  printf '%s\\n' "$sums" | grep -qxF -e "$2  $1" && return 0
  printf 'content %s %s\\n' "$1" "$(base64 < "$1" | tr -d '\\n')"
}
${contents.join('\n')}
`
}

export function parseLook(output: string): Look {
  const lines = output.split('\n').map((line) => /^(\w+) (.*)$/.exec(line) ?? [])
  const all = (kind: string) => lines.flatMap(([, word, rest]) => (word === kind && rest !== undefined ? [rest] : []))
  const digests = new Map(all('sum').map((line) => [line.slice(66), line.slice(0, 64)]))
  const files = all('stat').map((line): [string, NodeFile] => {
    const [, mode = '', uid = '', type = '', name = ''] = /^(\d+) (\d+) ([0-9a-f]+) (.*)$/.exec(line) ?? []
    // S_IFMT, S_IFREG and S_IFDIR of stat(2).
    const format = Number.parseInt(type, 16) & 0o170000
    const kind = { isPlain: format === 0o100000, isFolder: format === 0o040000 }
    return [name, { mode: Number.parseInt(mode, 8), uid: Number(uid), ...kind, digest: digests.get(name) }]
  })
  const contents = all('content').map((line): [string, Buffer] => {
    const [name = '', base64 = ''] = line.split(' ')
    return [name, Buffer.from(base64, 'base64')]
  })
  return {
    folder: all('folder')[0],
    uid: Number(all('uid')[0]),
    files: new Map(files),
    contents: new Map(contents),
    leftovers: all('leftover'),
  }
}

export function makeFolderScript(directory: string): string {
  return `${preamble}set -e
mkdir -p -- ${changeFolder(directory)}
cd -- ${changeFolder(directory)}
printf 'folder %s\\n' "$(pwd -P)"
`
}

export interface Swap {
  /** Absolute. */
  readonly folder: string
  /** The name of the folder inside it that holds `archive`. */
  readonly staging: string
  readonly copied: readonly { name: string; mode: number; digest: string }[]
  readonly modes: readonly { name: string; mode: number }[]
  readonly removed: readonly string[]
}

export const archiveName = 'files.tar'

/**
 * Unpacks and checks every file in the staging folder, then renames them into place one right after the other. Before
 * that the folder gets another name: who discards it, because the run was ended, takes nothing from under the renames.
 */
export function swapScript({ folder, staging, copied, modes, removed }: Swap): string {
  const [stage, swap] = [`${folder}/${staging}`, `${folder}/${staging}-swap`].map(quote)
  const names = copied.map(({ name }) => quote(name))
  const chmods = (files: Swap['modes']) => files.map(({ name, mode }) => `chmod ${mode.toString(8)} -- ${quote(name)}`)
  const swapping = [
    `cd ${stage}`,
    `tar -xof ${archiveName} -- ${names.join(' ')}`,
    "sha256sum -c >/dev/null <<'SUMS'",
    ...copied.map(({ name, digest }) => `${digest}  ${name}`),
    'SUMS',
    ...chmods(copied),
    "trap '' HUP INT TERM",
    `mv -- ${stage} ${swap}`,
    `cd ${swap}`,
    `mv -f -- ${names.join(' ')} ..`,
    'cd ..',
  ]
  return [
    `${preamble}set -e`,
    `trap ${quote(`rm -rf -- ${stage} ${swap}`)} EXIT`,
    "trap 'exit 1' HUP INT TERM",
    `cd -- ${quote(folder)}`,
    ...(copied.length > 0 ? swapping : []),
    ...chmods(modes),
    ...(removed.length > 0 ? [`rm -rf -- ${removed.map(quote).join(' ')}`] : []),
    '',
  ].join('\n')
}

/** Makes the staging folder and writes as many bytes into it as the archive has: fails where that can't be done. */
export function tryScript(folder: string, staging: string, size: number): string {
  const path = quote(`${folder}/${staging}`)
  return `${preamble}mkdir -p -- ${path} && head -c ${size} /dev/zero > ${path}/try && rm -- ${path}/try\n`
}

export function discardScript(folder: string, staging: string): string {
  return `rm -rf -- ${quote(`${folder}/${staging}`)}\n`
}
