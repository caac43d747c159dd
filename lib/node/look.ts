/**
 * Scripts for one look at a node, in one command: at its folder as the login user, and as root at the places where its units
 * read our files. Pure; answer.ts reads the answers.
 */
import { addressBytes } from '../address.ts'
import { encryptionConfigFile, type FileNames, kubeconfigFile } from '../files/names.ts'
import { quote } from '../wording.ts'
import type { FileState } from './place.ts'
import { bothScripts, closeAnswer, folderWord, openAnswer, sayFunction, shellStart, wholeScript } from './shell.ts'
import { nodeFolder } from './staging.ts'

/** Stands for a digest that no file has: any file differs from it. */
export const noDigest = '-'

export interface FolderQuery {
  /** The folder that deploy puts files into, as in cluster.yaml. */
  readonly directory: string
  readonly files: FileNames
  /** Name → SHA-256 in hex. The answer includes the content of a file that differs. */
  readonly expected: ReadonlyMap<string, string>
  /** The answer also includes each other certificate there that has a key or kubeconfig of its name beside it. */
  readonly hasOthers?: boolean
}

export interface PlacesQuery {
  /** The command to become root; '' if the login user is root. */
  readonly sudo: string
  readonly units: readonly string[]
  /** Absolute path → SHA-256 in hex. The answer includes the content of a file that differs; with '' it never does. */
  readonly paths: ReadonlyMap<string, string>
  /** Files and folders that make root look even without a unit, if one exists. */
  readonly alsoIfPresent: readonly string[]
}

/** Bytes. Our files have a few thousand; a larger file gets no digest. */
export const largestFile = 256 * 1024
/** Bytes, for all contents together. */
const largestContents = 1024 * 1024

/** The old file, kept beside the new one until the units that read it are healthy. */
export const oldSuffix = '.harderway-old'
export const newSuffix = '.harderway-new'
/** Files that remain there if the run or the node is killed. */
export const besideOf = (path: string): string[] => [path + oldSuffix, path + newSuffix]

/**
 * Shell: opens a loop with $line as each line of the text that is not empty. It replaces "$@", and resets IFS. `read` takes a system
 * call for each byte. `set -f`: a line may hold a pattern.
 */
function eachLine(text: string): string {
  return `IFS=$nl; set -f; set -- ${text}; set +f; unset -v IFS; for line do`
}

/**
 * Shell functions, in addition to those of an answer. `say_leftovers` prints what runs have left in
 * the current folder; `stat_files NAME...` sets $stats and $sums to a line for each name, and
 * fails if a name or a tool does; `say_files` prints them as records; `differs NAME DIGEST [WORD]` prints the content of a file
 * that differs, in hexadecimal, as a record `content` or WORD. Names consist of letters, digits and a few signs: all others are
 * ignored, or refused.
 */
export const fileFunctions = `say_leftovers() {
  for f in .harderway-*; do
    case $f in *[!A-Za-z0-9._-]*) continue ;; esac
    if [ -L "$f" ] || { [ ! -d "$f" ] && [ ! -f "$f" ]; }; then continue; fi
    # One of a run that is at work may be gone by now.
    if made=$(stat -c %Y -- "$f"); then now=$(date +%s); say leftover $((now - made)) "$f"
    elif [ -e "$f" ]; then exit 1; fi
  done
}
stat_files() {
  stats= sums= small= sizes=' ' count=$#
  [ $# -gt 0 ] || return 0
  stats=$(TZ=UTC0 stat -c 'file %a %u %g %f %s %z %n' -- "$@")
  ${eachLine('$stats')}
    set -- $line
    # S_IFREG of stat(2)
    case $5 in 8???) ;; *) continue ;; esac
    if [ "$6" -le ${largestFile} ] && [ -r "\${10}" ]; then small="$small \${10}" sizes="$sizes\${10}:$6 "; fi
  done
  [ -z "$small" ] || sums=$(sha256sum -- $small)
}
say_files() {
  # Counted by the names, whatever the tools printed.
  [ $count -eq 0 ] || printf '%s\\n' "$stats"
  n=$((n + count))
  set -- $small
  [ $# -eq 0 ] || printf '%s\\n' "$sums"
  n=$((n + $#))
}
total=0
differs() {
  case $nl$sums$nl in *"$nl$2  $1$nl"*) return 0 ;; *"  $1$nl"*) ;; *) return 0 ;; esac
  size=\${sizes#*" $1:"} size=\${size%% *}
  total=$((total + size))
  [ $total -le ${largestContents} ] || return 0
  say "\${3:-content}" "$1"
  od -A n -t x1 -v < "$1"
}`

/** Shell lines that stop with `changed` if one of the files has changed since the look. */
export function unchangedLines(
  names: readonly string[],
  files: ReadonlyMap<string, FileState>,
  stop: string,
): string[] {
  const lines = names.flatMap((name) => files.get(name)?.lines.split('\n') ?? [])
  const isStat = (line: string) => line.startsWith('file ')
  const seen = [...lines.filter(isStat), ...lines.filter((line) => !isStat(line))]
  return [
    'set --',
    `for f in ${names.map(quote).join(' ')}; do`,
    '  if [ -L "$f" ] || [ -e "$f" ]; then set -- "$@" "$f"; fi',
    'done',
    'stat_files "$@"',
    // The lists also differ if a file was added or removed, or became a symbolic link.
    `now=$stats\${sums:+$nl$sums}`,
    `[ "$now" = ${quote(seen.join('\n'))} ] || ${stop} changed`,
  ]
}

const folderFunctions = `say_open() {
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
say_folder() {
  uid=$(id -u)
  say uid "$uid"
  folder=$(pwd -P)
  say folder "$folder"
  say_open "$folder"
  ls >/dev/null
  say_leftovers
  set --
  for f in $pairs ${kubeconfigFile('*')} ${encryptionConfigFile}; do
    case $f in *[!A-Za-z0-9._-]*) continue ;; esac
    if [ -L "$f" ] || [ -e "$f" ]; then set -- "$@" "$f"; fi
  done
  stat_files "$@"
  say_files
}`

/**
 * `say_addresses` prints the machine's own addresses, as the kernel has them: iproute2 may be missing. An IPv6 address is
 * printed without colons; link-local ones are left out.
 */
const addressFunction = `say_addresses() {
  addresses=$(cat /proc/net/fib_trie /proc/net/if_inet6 2>/dev/null) || :
  ${eachLine('$addresses')}
    set -- $line
    case $1,$2,$3 in
      '|--',*) at=$2 ;;
      /32,host,LOCAL) say address "$at" ;;
      fe80*) ;;
      ????????????????????????????????,??,*) say address "$1" ;;
    esac
  done
}`

/** Functions for scripts that look at a folder, perhaps after they changed it. */
export function lookFunctions({ patterns }: FileNames): string {
  return `${fileFunctions}\n${folderFunctions}\npairs='${patterns.join(' ')}'`
}

export function lookScript(folder: FolderQuery, places: PlacesQuery | undefined, nonce: string): string {
  const first = folderScript(folder, `${nonce}1`)
  return places ? bothScripts(first, placesScript(places, `${nonce}2`)) : first
}

/**
 * A folder counts as absent only if its nearest existing parent can be entered. The look fails if any other folder can't be
 * entered or listed, or if a tool fails.
 */
function folderScript({ directory, files, expected, hasOthers = false }: FolderQuery, nonce: string): string {
  const word = folderWord(directory)
  return wholeScript(
    openAnswer(nonce),
    lookFunctions(files),
    addressFunction,
    'say_addresses',
    `if cd -- ${word} 2>/dev/null; then`,
    '  say_folder',
    ...[...expected].map(([name, digest]) => `  differs ${quote(name)} ${quote(digest)}`),
    ...(hasOthers ? otherCertificates(files, [...expected.keys()]) : []),
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

/**
 * After the expected files, so that these come first within the limit of what may be printed. The folder may be somebody's home:
 * no private key leaves it, and nothing but certificates.
 */
function otherCertificates(files: FileNames, expected: readonly string[]): string[] {
  return [
    `  for f in ${files.certificate('*')}; do`,
    `    case $f in ${files.key('*')}|*[!A-Za-z0-9._-]*) continue ;; esac`,
    `    case ${quote(` ${expected.join(' ')} `)} in *" $f "*) continue ;; esac`,
    // A regular file that could be summed.
    '    case $sizes in *" $f:"*) ;; *) continue ;; esac',
    `    name=\${f%${files.certificate('')}}`,
    `    if [ ! -e "${files.key('$name')}" ] && [ ! -e "${kubeconfigFile('$name')}" ]; then continue; fi`,
    '    grep -q \'^-----BEGIN CERTIFICATE-----\' < "$f" || continue',
    // 1: there is no such line. The file may have gone meanwhile.
    '    status=0',
    '    grep -q \'PRIVATE KEY\' < "$f" || status=$?',
    `    if [ $status -eq 1 ]; then differs "$f" ${noDigest} other; fi`,
    '  done',
  ]
}

export function makeFolderScript(
  { directory, files }: Pick<FolderQuery, 'directory' | 'files'>,
  nonce: string,
): string {
  const word = folderWord(directory)
  return wholeScript(
    openAnswer(`${nonce}1`),
    lookFunctions(files),
    `mkdir -p -- ${word}`,
    `cd -- ${word}`,
    'say_folder',
    closeAnswer(`${nonce}1`),
  )
}

/** Passes the script to root's shell on its input. No line of the script may begin with the end mark. */
export function asRoot(sudo: string, script: string, mark: string): string {
  return `${sudo === '' ? '' : `${sudo} `}sh -s <<'${mark}'\n${script}\n${mark}`
}

const foldersOf = (paths: PlacesQuery['paths']): string =>
  [...new Set([...paths.keys()].map(folderOf))].map(quote).join(' ')

export const folderOf = (path: string): string => path.replace(/\/[^/]*$/, '')

/** Where systemd reads unit files: systemd.unit(5). */
const unitFolders = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map((folder) => `${folder}/systemd/system`)

/**
 * Checks as the login user whether there is a unit, and its folders. Only where there is one does root look at its state and
 * files.
 */
export function placesScript(query: PlacesQuery, nonce: string): string {
  const { sudo, units, paths, alsoIfPresent } = query
  const folders = foldersOf(paths)
  const files = unitFolders.map((folder) => `-e ${folder}/"$f".service`).join(' -o ')
  return wholeScript(
    openAnswer(nonce),
    'say now "$(date +%s)"',
    'unit= folder= isRoots=',
    // Root looks at one that can't be seen from here.
    `for f in ${folders}; do`,
    '  if [ -d "$f" ]; then say exists "$f"; folder=1; continue; fi',
    `  while [ -n "$f" ] && [ ! -e "$f" ]; do f=\${f%/*}; done`,
    `  [ -x "\${f:-/}" ] || folder=1`,
    'done',
    `for f in ${units.join(' ')}; do if [ -d /run/systemd/system ] && [ ${files} ]; then unit=1; fi; done`,
    '[ -z "$unit" ] || [ -z "$folder" ] || isRoots=1',
    ...alsoIfPresent.map((path) => `[ ! -e ${quote(path)} ] || isRoots=1`),
    'if [ -n "$isRoots" ]; then',
    `  root=$(${asRoot(sudo, rootScript(query), `ROOT${nonce}`)}`,
    // Runs sudo alone to learn the reason: its own messages are not part of the answer above.
    `) || { said=$(${sudo} true 2>&1) || stop root "$said"; stop look 'a command failed there'; }`,
    `  printf '%s\n' "$root"`,
    `  n=$((n + \${root##*rows } + 1))`,
    'fi',
    closeAnswer(nonce),
  )
}

/**
 * Reports the clock, and those of the ports of that address on which a process listens. No part of a look: the kernel goes through
 * all its sockets.
 */
export function machineScript(address: string, ports: readonly number[], nonce: string): string {
  return wholeScript(
    openAnswer(nonce),
    'say now "$(date +%s)"',
    ...(ports.length > 0 ? ['listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null) || :'] : []),
    ...ports.map((port) => `case $listening in ${listeningPattern(address, port)}) say port ${port} ;; esac`),
    closeAnswer(nonce),
  )
}

/** A shell pattern for a line of /proc/net/tcp: proc_pid_net(5), where 0A is LISTEN. */
function listeningPattern(address: string, port: number): string {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const places = [...new Set(kernelAddresses(address))]
  return places.map((place) => `*' ${place}:${hex} ${place.replaceAll(/./g, '0')}:0000 0A '*`).join('|')
}

/** The address and the wildcard addresses, in four-byte words of either byte order. An IPv6 socket serves IPv4 too. */
function kernelAddresses(address: string): string[] {
  const bytes = addressBytes(address) ?? Buffer.alloc(4)
  const mapped = bytes.length === 4 ? [Buffer.concat([Buffer.alloc(10), Buffer.alloc(2, 0xff), bytes])] : []
  const all = [bytes, ...mapped, Buffer.alloc(4), Buffer.alloc(16)]
  return all.flatMap((each) => [each, Buffer.from(each).swap32()]).map((each) => each.toString('hex').toUpperCase())
}

/** The properties that `systemctl show` prints for each unit: systemctl(1). */
export const shownProperties = [
  ...['Id', 'Names', 'LoadState', 'ActiveState', 'SubState', 'Job', 'ExecMainStartTimestamp'],
  ...['MainPID', 'NRestarts', 'RestartUSec', 'User', 'Group', 'SupplementaryGroups'],
] as const

/**
 * `resolve PATH` sets $real to the resolved path, and $ways to every link and folder on the way, one link after the other.
 * It fails if the path can't be resolved, or resolves to a name that is not plain. Without a link it starts no process.
 * `say_links` reports the first of $ways that belongs to another user than root, who could lead it elsewhere.
 */
const resolveFunctions = `resolve() {
  real=$1 ways= hops=0
  while :; do
    case $real in ''|*[!A-Za-z0-9_@%+=:,./-]*) return 1 ;; esac
    at= rest=\${real#/}
    while [ -n "$rest" ]; do
      at=$at/\${rest%%/*}
      case $rest in */*) rest=\${rest#*/} ;; *) rest= ;; esac
      [ ! -L "$at" ] || break
      [ -z "$rest" ] || ways="$ways $at"
    done
    [ -L "$at" ] || break
    ways="$ways $at" hops=$((hops + 1))
    [ $hops -le 40 ] || return 1
    to=$(readlink -- "$at")
    case $to in /*) ;; *) to=\${at%/*}/$to ;; esac
    real=$to\${rest:+/$rest}
    while :; do
      case $real in
        */../*) rest=\${real%%/../*} real=\${rest%/*}/\${real#*/../} ;;
        */./*) real=\${real%%/./*}/\${real#*/./} ;;
        *//*) real=\${real%%//*}/\${real#*//} ;;
        *) break ;;
      esac
    done
  done
  [ $hops -eq 0 ] || [ ! -e "$1" ] || [ "$real" = "$(readlink -f -- "$1")" ]
}
say_links() {
  owners=$(stat -c '%u %n' -- $ways 2>/dev/null) || :
  while read -r owner name; do
    case $owner in ''|0) ;; *) say link "$owner" "$name"; return 0 ;; esac
  done <<OWNERS
$owners
OWNERS
}`

const accountFunction = `say_account() {
  [ -n "$user" ] || return 0
  key=$user:$group:$others
  case $nl$accounts in *"$nl$key$nl"*) return 0 ;; esac
  accounts=$accounts$key$nl
  uid=$(id -u -- "$user" 2>/dev/null) || return 0
  gids=$(id -G -- "$user")
  # With POSIXLY_CORRECT, getent would look for a group named --; no name begins with a hyphen.
  for g in $others; do gid=$(getent group "$g") && gid=\${gid#*:*:} && gids="$gids \${gid%%:*}"; done
  if [ -n "$group" ]; then gid=$(getent group "$group") && gid=\${gid#*:*:} && gids="\${gid%%:*} $gids"; fi
  say account "$uid" "$gids" "$key"
}`

/**
 * `read_stat FILE` sets $state and $ticks to the state of a process and the time of its start since boot: proc_pid_stat(5). That
 * clock is never set, runs while a computer sleeps, and is the same in every container. The start of a new subshell is the time
 * now.
 */
const processFunctions = `read_stat() {
  { read -r stat < "$1"; } 2>/dev/null || return 1
  # A program's name may hold blanks and parentheses.
  set -- \${stat##*) }
  state=$1 ticks=\${20}
}
say_clock() {
  ticks=$(read_stat /proc/self/stat; printf %s "$ticks")
  say clock "$(date +%s)" "$ticks"
}
say_process() {
  case $pid in ''|0) return 0 ;; esac
  if read_stat "/proc/$pid/stat"; then
    say process "$pid" "$state" "$ticks"
    processes="$processes /proc/$pid/cmdline"
  fi
}`

export const encryptionFlag = 'encryption-provider-config'
/** Of kube-apiserver: it reads that file again when it has changed. */
export const reloadFlag = 'encryption-provider-config-automatic-reload'

/**
 * The flags of the units' main processes that say which credentials they use, and what they reload; and the lines of their
 * --config files.
 */
const argumentFunctions = `say_flag() {
  # What answer.ts does not read, or where the comma is not the one between the two.
  case $1,$2 in
    *,*,*|*[!A-Za-z0-9,./_-]*) case $1 in --config|--config-dir) say flag "$process" config '' ;; esac ;;
    --config,/*) configs="$configs $2"; say flag "$process" config "$2" ;;
    --${encryptionFlag},/*)
      # It may be a link to ours.
      at=$(readlink -f -- "$2") || at=$2
      case $at in *[!A-Za-z0-9./_-]*) ;; *) say flag "$process" ${encryptionFlag} "$at" ;; esac ;;
    # Files in it may say otherwise.
    --config,*|--config-dir,*) say flag "$process" config '' ;;
    --kubeconfig,*|--bootstrap-kubeconfig,*|--rotate-certificates,*|--${reloadFlag},*) say flag "$process" "\${1#--}" "$2" ;;
  esac
}
say_flags() {
  [ -n "$processes" ] || return 0
  process= configs= name=
  # One process for all; a header tells them apart.
  flags=$(head -v -c 65536 -- $processes /dev/null 2>/dev/null | tr '\\0' '\\n')
  ${eachLine('$flags')}
    case $line in
      '==> /proc/'*) process=\${line#==> /proc/} process=\${process%%/*} name= ;;
      # Without a value, a flag for yes or no is a yes.
      --rotate-certificates|--${reloadFlag}) say_flag "$line" true; name= ;;
      --*=*) say_flag "\${line%%=*}" "\${line#*=}"; name= ;;
      --*) name=$line ;;
      *) [ -z "$name" ] || say_flag "$name" "$line"; name= ;;
    esac
  done
  set --
  # A process may name a pipe, or a file of /proc (of no size) whose read waits: root opens neither.
  for f in $configs; do if [ -f "$f" ] && [ -s "$f" ]; then set -- "$@" "$f"; else say setting "$f:unread"; fi; done
  [ $# -gt 0 ] || return 0
  settings=$(head -v -c 65536 -- "$@" /dev/null 2>/dev/null | tr '\\0' '\\n' |
    grep -E '^==> /[A-Za-z0-9,./_-]+ <==$|^([^#]|[^ #]#)*rotateCertificates|^ *kubeconfig: *"?[A-Za-z0-9./_-]+"? *$')
  ${eachLine('$settings')}
    case $line in
      '==> '*) config=\${line#==> } config=\${config% <==} ;;
      # As in a line of JSON: it may say anything.
      *[!A-Za-z0-9./_:\\"\\'#\\ -]*) say setting "$config:unread" ;;
      *) say setting "$config:$line" ;;
    esac
  done
}`

/** The last line of its output is the number of the others. */
function rootScript({ units, paths: places }: PlacesQuery): string {
  const paths = [...places].map(([path, digest]) => `${path} ${digest}`)
  const folders = foldersOf(places)
  const properties = shownProperties.map((name) => `-p ${name}`).join(' ')
  const names = units.map((unit) => `${unit}.service`).join(' ')
  const shown = [
    'accounts= user= group= others= pid= processes=',
    `shown=$(systemctl show --timestamp=us+utc ${properties} -- ${names})`,
    'while read -r line; do',
    '  case $line in',
    `    User=*) user=\${line#*=} ;;`,
    `    Group=*) group=\${line#*=} ;;`,
    `    SupplementaryGroups=*) others=\${line#*=} ;;`,
    `    MainPID=*) pid=\${line#*=} ;;`,
    '    "") say_account; say_process; user= group= others= pid= ; continue ;;',
    '  esac',
    '  say show "$line"',
    'done <<SHOWN',
    '$shown',
    '',
    'SHOWN',
    'say_clock',
    'say_flags',
  ]
  return [
    shellStart,
    sayFunction,
    fileFunctions,
    resolveFunctions,
    accountFunction,
    processFunctions,
    argumentFunctions,
    ...(units.length > 0 ? shown : []),
    `for f in ${folders}; do [ ! -d "$f" ] || say exists "$f"; done`,
    `! cd ${nodeFolder} 2>/dev/null || say_leftovers`,
    'found= expected= resolved=" "',
    `paths=${quote(paths.join('\n'))}`,
    eachLine('$paths'),
    `  path=\${line%% *} digest=\${line#* }`,
    '  resolve "$path" || { say odd "$path"; continue; }',
    `  if [ "$real" != "$path" ]; then say real "$path" "$real"; say_links; fi`,
    // Several paths may resolve to one file.
    '  case $resolved in *" $real "*) continue ;; esac',
    '  resolved="$resolved$real "',
    `  for f in "$real" "$real${oldSuffix}" "$real${newSuffix}"; do`,
    '    if [ -e "$f" ] || [ -L "$f" ]; then found="$found $f"; fi',
    '  done',
    '  [ -z "$digest" ] || expected="$expected$real $digest$nl"',
    'done',
    'cd /',
    // One process for all files: a node has some twenty.
    'stat_files $found',
    'say_files',
    `${eachLine('$expected')} differs "\${line%% *}" "\${line#* }"; done`,
    'printf "rows %s\\n" "$n"',
  ].join('\n')
}
