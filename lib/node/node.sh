#!/bin/sh
# All that runs on a node, as the login user and as root, in POSIX sh (dash, bash, busybox sh, ksh, zsh) with the tools
# of coreutils or of busybox. state.ts sends it with a verb and lines of values, and reads the records that it
# prints.
#
#   look     reports the folder, and the places where units read our files. It changes nothing, except that it makes the
#            folder on request.
#   replace  replaces files with those of an archive, all or none.
#   back     puts the old files back at their places.
#   forget   removes the old files that replace has kept, or the archive of a replace that failed.
#   run      runs a command.
#
# The journal of a replace, and what a crash leaves after each of its steps, is described above replace_files.

# Lists are split into words: the names and paths in a list have no blanks and no patterns.
# shellcheck disable=SC2086

[ -z "${ZSH_VERSION-}" ] || emulate sh
# The environment is the login's: bash takes options (noglob, noclobber) from SHELLOPTS, and hides the files that match
# GLOBIGNORE; an older grep takes options from GREP_OPTIONS. A core file would hold keys, so none is written.
LC_ALL=C
export LC_ALL
unset -v GLOBIGNORE GREP_OPTIONS
umask 077
# Every shell that is named above has ulimit -c.
# shellcheck disable=SC3045
ulimit -c 0 2>/dev/null || :
set +Cfu
set -e

# Root's folder, where runs of all login users lock each other out. A file in it, `drained`, marks the node as drained.
marks=/var/lib/harderway
# Beside a file that is replaced: the new file, until it is renamed; and the old file, until the units are healthy with the
# new one.
new_suffix=.harderway-new
old_suffix=.harderway-old
# Bytes: our files have a few thousand. The content of a larger file is not sent.
largest=262144
# Bytes, for all contents together.
largest_contents=1048576
nl='
'

# main PROGRAM VERB NONCE [root] < LINES. The program is this text: root's shell gets it from here.
main() {
  program=$1 verb=$2 nonce=$3 who=${4-}
  folder='' patterns='' expected='' makes='' archive='' unchanged='' was='' removed='' leftovers='' modes='' olds=''
  sudo='' as_root='' uid='' units='' places='' folders='' signs=''
  files='' paths='' reversed='' command=''
  lines=$(cat)
  exec </dev/null
  with_lines read_request "$lines"
  case $verb$who in
    look) look ;;
    lookroot) open_answer root; look_as_root; close_answer ;;
    run) run_command ;;
    *)
      if [ -z "$as_root" ] || [ -n "$who" ]; then open_answer "$verb"; "$verb"_files; close_answer
      else in_root "$verb" || { frame=$nonce-$verb; stop shell 'a command failed'; }; fi
      ;;
  esac
}

# with_lines FUNCTION TEXT: calls the function with each line that is not empty as an argument. It does not use `read`,
# which takes a system call for each byte.
with_lines() {
  IFS=$nl
  # A line may hold a pattern.
  set -f
  set -- "$1" $2
  set +f
  unset -v IFS
  "$@"
}

read_request() {
  for line do
    value=${line#* }
    case ${line%% *} in
      folder) folder=$value ;;
      make) makes=1 ;;
      pattern) patterns="$patterns $value" ;;
      expect) expect "${value%% *}" "${value#* }" ;;
      sudo) as_root=1 sudo=$value ;;
      unit) units="$units $value" ;;
      sign) signs="$signs $value" ;;
      place)
        places=$places$value$nl
        target=${value%% *}
        case "$folders " in *" ${target%/*} "*) ;; *) folders="$folders ${target%/*}" ;; esac
        ;;
      archive) archive=$value ;;
      file) files=$files$value$nl paths="$paths ${value%% *}" reversed="${value%% *} $reversed" ;;
      mode) modes=$modes$value$nl ;;
      remove) removed="$removed $value" ;;
      leftover) leftovers="$leftovers $value" ;;
      unchanged) unchanged="$unchanged $value" ;;
      was) was=$was${was:+$nl}$value ;;
      do) command=$command$value$nl ;;
    esac
  done
}

# Runs this program in root's shell, which reads it from a pipe: with the braces, the shell does nothing before it has
# read all of it.
in_root() {
  printf '%s\n' '{' "$program" "main '' $1 $nonce root <<'$nonce'" "$lines" "$nonce" exit '}' | eval "$sudo sh -s"
}

# expect NAME DIGEST: adds the line that sha256sum prints for a file with that digest.
expect() { expected="$expected$2  $1$nl"; }

# An answer: records between two lines with a nonce, the last of which has their number. A line that begins with a blank
# belongs to the record before it.
open_answer() { frame=$nonce-$1 n=0; printf '\n%s begin\n' "$frame"; }
say() { n=$((n + 1)); printf '%s\n' "$*"; }
say_each() { for line do say "$line"; done; }
close_answer() { printf '%s end %s\n' "$frame" "$n"; }
# stop WORD [MESSAGE]: ends the answer early. Of a tool's message it prints the first line.
stop() { printf '%s stopped %s %s\n' "$frame" "$1" "${2%%"$nl"*}"; exit 0; }

there() { [ -e "$1" ] || [ -L "$1" ]; }

#### look

look() {
  if [ -n "$folder" ]; then open_answer folder; look_at_folder; close_answer; fi
  [ -n "$as_root" ] || return 0
  # Without `||` or `if`: `set -e` has no effect inside a tested command.
  set +e
  (
    set -e
    look_at_places
  ) 2>/dev/null
  exit 0
}

# Reports the folder, which counts as absent only if its nearest existing parent can be entered.
look_at_folder() {
  say_now
  say_addresses
  case $folder in
    [~]) folder=${HOME:?}/ ;;
    [~]/*) folder=${HOME:?}/${folder#??} ;;
  esac
  [ -z "$makes" ] || mkdir -p -- "$folder"
  if cd -P -- "$folder" 2>/dev/null; then
    say_folder
    say_differing
    return 0
  fi
  f=$folder
  while ! there "$f"; do f=$(dirname -- "$f"); done
  if [ "$f" = "$folder" ] || [ ! -d "$f" ] || [ ! -x "$f" ]; then stop closed "$f"; fi
  uid=$(id -u)
  say uid "$uid"
  say absent
}

# The machine's own addresses, as the kernel has them: iproute2 may be missing. One of IPv6 is printed without colons;
# link-local ones are left out.
say_addresses() {
  addresses=$(cat /proc/net/fib_trie /proc/net/if_inet6 2>/dev/null) || :
  with_lines say_each_address "$addresses"
}
say_each_address() {
  for line do
    set -- $line
    case $1,$2,$3 in
      '|--',*) at=$2 ;;
      /32,host,LOCAL) say address "$at" ;;
      fe80*) ;;
      ????????????????????????????????,??*,*) say address "$1" ;;
    esac
  done
}

say_folder() {
  uid=$(id -u)
  say uid "$uid"
  # As `cd -P` has set it.
  say folder "$PWD"
  say_above "$PWD"
  ls >/dev/null
  say_leftovers
  set --
  for f in $patterns; do
    case $f in *[!A-Za-z0-9._-]*) continue ;; esac
    if there "$f"; then set -- "$@" "$f"; fi
  done
  stat_files "$@"
  say_files
}

# say_above FOLDER: reports the folder and those above it, with who may change them.
say_above() {
  up=${1%/}
  set -- /
  while [ -n "$up" ]; do set -- "$@" "$up"; up=${up%/*}; done
  above=$(stat -c 'above %a %u %g %f %n' -- "$@")
  with_lines say_each "$above"
}

# Reports what runs have left in the current folder: archives, and what is beside a file of ours. A run that is at work
# there may lose its archive to the next one, and then changes nothing.
say_leftovers() {
  for f in .harderway-* *"$new_suffix" *"$old_suffix"; do
    case $f in
      *[!A-Za-z0-9._-]*) continue ;;
      .harderway-*) case ${f#.harderway-} in ''|*[!0-9a-f-]*) continue ;; esac ;;
      *) if [ -d "$f" ] || ! is_name "${f%.harderway-*}"; then continue; fi ;;
    esac
    if [ ! -L "$f" ] && [ -f "$f" ]; then say leftover "$f"; fi
  done
}
# is_name NAME: true for a name that a file of ours may have.
is_name() {
  set -f
  for g in $patterns; do
    # shellcheck disable=SC2254
    case $1 in $g) set +f; return 0 ;; esac
  done
  set +f
  return 1
}

# stat_files NAME...: sets $stats and $sums to a line for each of the names, and fails if one of them or a tool does.
stat_files() {
  stats='' sums='' plain='' sizes=' ' count=$#
  [ $# -gt 0 ] || return 0
  stats=$(TZ=UTC0 stat -c 'file %a %u %g %f %s %z %n' -- "$@")
  with_lines find_plain "$stats"
  [ -z "$plain" ] || sums=$(sha256sum -- $plain)
}
find_plain() {
  for line do
    set -- $line
    # S_IFREG of stat(2)
    case $5 in 8???) ;; *) continue ;; esac
    [ -r "${10}" ] || continue
    plain="$plain ${10}" sizes="$sizes${10}:$6 "
  done
}
say_files() {
  # The records are counted by the names of files, whatever the tools have printed.
  [ $count -eq 0 ] || printf '%s\n' "$stats"
  [ -z "$sums" ] || printf '%s\n' "$sums"
  set -- $plain
  n=$((n + count + $#))
}

# Reports the content of files that are not as expected. One grep leaves out the others, which are most: a shell is slow
# at searching long texts. The last line of the expected ones belongs to no file: if grep does not print it, something
# has failed, such as a here-document.
say_differing() {
  [ -n "$expected" ] || return 0
  [ -r /proc/self/fd ] || stop closed /proc
  differing=$(grep -vxF -f /proc/self/fd/8 8<<SUMS <<EXPECTED
$sums
SUMS
$expected
-  .
EXPECTED
  )
  with_lines say_each_differing "$differing"
}
say_each_differing() {
  for line do
    say_content "${line#*  }"
  done
}
# say_content NAME: reports the content of a file that has a digest, in hexadecimal. The file may grow meanwhile.
total=0
say_content() {
  case $sums$nl in *"  $1$nl"*) ;; *) return 0 ;; esac
  size=${sizes#*" $1:"} size=${size%% *}
  [ "$size" -le $largest ] || return 0
  total=$((total + size))
  [ $total -le $largest_contents ] || return 0
  say content "$1"
  od -A n -t x1 -v -N $((largest + 1)) < "$1"
}

# Reports the places, as root sees them; or that nothing is there, if the login user sees none of the signs.
look_at_places() {
  if ! has_sign; then open_answer root; say_now; close_answer; return 0; fi
  frame=$nonce-root
  # Root's answer goes to the output as it is, by descriptor 3; messages of tools go to $said.
  { said=$(in_root look 2>&1 >&3); } 3>&1 && return 0
  why=$said
  # Runs sudo alone to learn whether sudo or this program has failed.
  said=$(eval "$sudo true" 2>&1) || stop root "$said"
  stop shell "${why:-a command failed}"
}

# True if one of the signs exists, or may exist where the login user can't see it.
has_sign() {
  for f in $signs; do
    [ ! -e "$f" ] || return 0
    while [ -n "$f" ] && [ ! -e "$f" ]; do f=${f%/*}; done
    [ -x "${f:-/}" ] || return 0
  done
  return 1
}

say_now() {
  now=$(date +%s)
  say now "$now"
}

look_as_root() {
  mains=''
  say_now
  [ -z "$units" ] || say_units
  if { read -r name < /proc/sys/kernel/hostname; } 2>/dev/null; then say hostname "$name"; fi
  for f in $folders; do [ ! -d "$f" ] || say exists "$f"; done
  [ ! -e "$marks/drained" ] || say drained
  found='' expected='' resolved=' ' above=' /'
  with_lines find_places "$places"
  cd /
  above=$(stat -c 'above %a %u %g %f %n' -- $above 2>/dev/null) || :
  with_lines say_each "$above"
  say_commands
  stat_files $found
  say_files
  say_differing
}
find_places() {
  for line do
    target=${line%% *} digest=${line#* }
    resolve "$target" || { say odd "$target"; continue; }
    for f in $ways; do case "$above " in *" $f "*) ;; *) above="$above $f" ;; esac; done
    [ "$real" = "$target" ] || say real "$target" "$real"
    # Several paths may resolve to one file.
    case $resolved in *" $real "*) continue ;; esac
    resolved="$resolved$real "
    for f in "$real" "$real$old_suffix" "$real$new_suffix"; do if there "$f"; then found="$found $f"; fi; done
    [ "$digest" = none ] || expect "$real" "$digest"
  done
}

# resolve PATH: sets $real to the resolved path, and $ways to the folders and the link on the way to both. It fails if the
# path can't be resolved, or resolves to a name that is not plain. Without a link it starts no process.
resolve() {
  real=$1 ways='' at=$1
  while [ -n "$at" ] && [ ! -L "$at" ]; do at=${at%/*}; done
  [ -z "$at" ] || real=$(readlink -f -- "$1") || return 1
  case $1$real in *[!A-Za-z0-9_@%+=:,./-]*) return 1 ;; esac
  for at in "$1" "$real"; do
    [ -L "$at" ] || at=${at%/*}
    while [ -n "$at" ]; do ways="$ways $at" at=${at%/*}; done
  done
}

#### What systemd and the kernel say of units

say_units() {
  accounts='' names='' inside=''
  for f in $units; do names="$names $f.service"; done
  shown=$(systemctl show --timestamp=us+utc -p Id -p Names -p LoadState -p ActiveState -p SubState \
    -p ExecMainStartTimestamp -p MainPID -p User -p Group -p SupplementaryGroups -p ExecStart \
    -p NeedDaemonReload -- $names) || [ ! -d /run/systemd/system ]
  begin_unit
  while read -r line; do
    # A command with a line break in an argument is left out.
    if [ -n "$inside" ]; then case $line in *' ; status='*' }') inside='' ;; esac; continue; fi
    case $line in
      '') say_unit; begin_unit ;;
      ExecStart=*' }') say show "$line" ;;
      ExecStart=*) inside=1 ;;
      *)
        case $line in
          User=*) user=${line#*=} ;;
          Group=*) group=${line#*=} ;;
          SupplementaryGroups=*) supplementary=${line#*=} ;;
          MainPID=[1-9]*) mains="$mains ${line#*=}" ;;
        esac
        say show "$line"
        ;;
    esac
  done <<SHOWN
$shown
SHOWN
  say_unit
}

begin_unit() { user='' group='' supplementary=''; }
say_unit() {
  say_account
  say shown
}
say_account() {
  [ -n "$user" ] || return 0
  key=$user:$group:$supplementary
  case $nl$accounts in *"$nl$key$nl"*) return 0 ;; esac
  accounts=$accounts$key$nl
  account=$(id -u -- "$user" 2>/dev/null) || return 0
  gids=$(id -G -- "$user")
  # With POSIXLY_CORRECT, getent would look for a group named --; no name begins with a hyphen.
  for g in $supplementary; do gid=$(getent group "$g") && gid=${gid#*:*:} && gids="$gids ${gid%%:*}"; done
  if [ -n "$group" ]; then gid=$(getent group "$group") && gid=${gid#*:*:} && gids="${gid%%:*} $gids"; fi
  say account "$account" "$gids" "$key"
}

# Reports each argument of the main processes; a line break in one becomes another character. In proc_pid_cmdline(5) each
# argument ends with a NUL.
say_commands() {
  set --
  for pid in $mains; do set -- "$@" "/proc/$pid/cmdline"; done
  [ $# -gt 0 ] || return 0
  parts=$(grep -aszH '' -- "$@" | tr '\0\n' '\n\001')
  with_lines say_argument "$parts"
}
say_argument() {
  for line do
    pid=${line#/proc/}
    say argument "${pid%%/*}" "${line#*:}"
  done
}

#### replace, back, forget

# A replace puts new files in place: in the folder as the login user, or where units read as root. Its journal is the
# names of files alone:
#
#   ARCHIVE              in the folder: the new files, with their owners and modes, as scp has copied them
#   PATH.harderway-new   the new file: while it is there, PATH was not replaced yet
#   PATH.harderway-old   the old file: a second link to it, made before any rename
#
# The steps, and what a crash of the node or a kill leaves after each:
#
#   1. Under the lock, the files are compared with the look.        The old files at all PATHs.
#   2. ARCHIVE is unpacked beside the PATHs, compared with the      The same.
#      digests, and synced. From here on signals are ignored.
#   3. A second link keeps each old file; where none can be made,   The same; each old file has two names, or was moved
#      in the folder alone, the file is moved.                      away for a moment.
#   4. Each new file is renamed to PATH, in the order of the list.  Old files at some PATHs, new ones at the others; each
#                                                                   old one is kept.
#   5. The folders that have a PATH are synced.                     The new files at all PATHs; each old one is kept.
#   6. In the folder, what is kept and what is pruned is removed.   The new files at all PATHs. Where units read, the old
#      Where units read, forget or back is another request.         ones are kept: to the next run, the units are unproven.
#
# What is always true:
# - PATH is the whole old file or the whole new one. In the folder alone it may be absent for a moment: an old file to
#   which no second link can be made is moved away in step 3.
# - Where units read, PATH.harderway-old is never overwritten: it is the last file with which the units were healthy.
# - If a step fails, the steps before it are undone: the answer is "undone", and each PATH is the old file; or it is
#   "half", and what could not be put back is still kept.
# - The next run compares all files again, so it does not need to know how far a crashed one came. Under the lock it
#   removes what that left in the folder.
replace_files() {
  trash=''
  # If $trash can't be removed, the exit status is still that of what went wrong before.
  trap '[ -z "$trash" ] || rm -rf -- $trash || :' EXIT
  trap 'exit 1' HUP INT TERM
  cd -P -- "$folder"
  trash=$archive
  lock_all
  refuse_changed
  rm -f -- $leftovers
  with_lines change_modes "$modes"
  [ -z "$archive" ] || unpack
  trap '' HUP INT TERM PIPE
  if [ -n "$files" ]; then swap_all; fi
  rm -f -- $archive
  trash=''
  [ -z "$as_root" ] || return 0
  rm -f -- $olds $removed
}

# tar makes each file anew, whatever has its name, and gives it its owner and mode by itself: a chown or chmod by name could
# be led elsewhere by the user of the unit, where the folder is that user's. That of busybox does it by name.
unpack() {
  news='' olds='' members='' top=. own=o
  if [ -n "$as_root" ]; then top=/ own=''; fi
  for f in $paths; do
    news="$news $f$new_suffix" olds="$olds $f$old_suffix" members="$members ${f#/}$new_suffix"
  done
  trash="$trash $news"
  rm -f -- $news
  [ -n "$as_root" ] || rm -f -- $olds
  # GNU tar takes options from the environment too. With -m the files get the node's own time, so that rsync, cp -u and
  # backups see that they are new.
  said=$(TAR_OPTIONS='' tar -x${own}pmf "$archive" -C $top -- $members 2>&1) || stop undone "$said"
  said=$(with_lines print_sums "$files" | sha256sum -c 2>&1 >/dev/null) || stop undone "$said"
  # rename(2) does not wait for the data.
  said=$(sync -- $news 2>&1) || stop undone "$said"
}
print_sums() {
  for line do
    set -- $line
    printf '%s  %s\n' "$2" "$1$new_suffix"
  done
}

# Two locks: for places, root's, which is the same whichever folder is deployed to; and the folder's.
lock_all() {
  if [ -n "$as_root" ]; then
    if [ ! -d "$marks" ]; then mkdir -m 700 -- "$marks" 2>/dev/null || [ -d "$marks" ]; fi
    cd -- "$marks"
    lock 7
    cd -- "$folder"
  fi
  lock 9
}
# lock DESCRIPTOR: locks the current folder, or stops if others hold the lock for 30 seconds. flock(2) leaves nothing
# behind, and is released when the last process that holds it exits. On NFS it covers this machine only. The wait is
# limited, as the run that has sent this program may be gone by then, and the files that it sent out of date.
lock() {
  command -v flock >/dev/null || stop no-flock
  eval "exec $1<." || exit 1
  tries=30
  while :; do
    code=0
    # ksh passes a descriptor to a command only if it is named there.
    eval "flock -n $1 $1<&$1" || code=$?
    case $code in 0) return 0 ;; 1) ;; *) exit 1 ;; esac
    tries=$((tries - 1))
    [ $tries -gt 0 ] || stop busy
    sleep 1
  done
}

# Compares what stat and sha256sum print now with what they printed for the look. The lists also differ if a file was
# added or removed since then, or became a symbolic link.
refuse_changed() {
  set --
  for f in $unchanged; do if there "$f"; then set -- "$@" "$f"; fi; done
  stat_files "$@"
  [ "$stats${sums:+$nl$sums}" = "$was" ] || stop changed
}

change_modes() {
  # `--` comes first: with POSIXLY_CORRECT it would be a file after the mode.
  for line do chmod -- $line; done
}

# $existing: the PATHs that had an old file. $linked: the old files that this run keeps, and no earlier one. $moved: set if
# one was moved away. $begun: set from the first rename on.
swap_all() {
  existing=' ' linked=' ' moved='' begun='' to_sync=''
  for target in $paths; do ! there "$target" || existing="$existing$target "; done
  keep $existing
  begun=1
  for target in $paths; do
    said=$(mv -fT -- "$target$new_suffix" "$target" 2>&1) || undo "$said"
    case $target in /*) f=${target%/*} ;; *) f=. ;; esac
    case "$to_sync " in *" $f "*) ;; *) to_sync="$to_sync $f" ;; esac
  done
  # So that the renames survive a power cut. Some file systems can't sync a single folder.
  sync -- $to_sync 2>/dev/null || sync
}

# keep PATH...: makes the second link to each old file. That fails, before anything is renamed, for a file that could not
# be replaced either (immutable, or mounted on).
keep() {
  for target do
    old=$target$old_suffix
    # An earlier run has kept this old file: it is the last with which the units were healthy.
    if there "$old"; then continue; fi
    if [ -d "$target" ] && [ ! -L "$target" ]; then undo "${target##*/} is a folder"; fi
    if said=$(ln -T -- "$target" "$old" 2>&1); then linked="$linked$old "; continue; fi
    # Nor can a link be made to a file of another owner (protected_hardlinks, proc(5)): in the folder it is moved instead.
    if [ -z "$as_root" ] && said=$(mv -- "$target" "$old" 2>&1); then moved=1; continue; fi
    undo "$said"
  done
}

# undo MESSAGE: puts all old files back, and stops. In reverse order: a file may name one that stands before it in the
# list, and must never be there without that one.
undo() {
  why=undone
  for target in $reversed; do put_back "$target" 2>/dev/null || why=half; done
  # If a file could not be put back, everything that was kept stays.
  [ $why = half ] || trash="$trash $linked"
  stop $why "$1"
}
# put_back PATH: status 1 if its old file is lost.
put_back() {
  old=$1$old_suffix
  if there "$1$new_suffix"; then
    # The new file was not renamed, so PATH is as it was; but keep may have moved the old file away. Once a file was
    # renamed, PATH gets the old file that an earlier run kept, as the others do: so all are of one set.
    case $linked in *" $old "*) return 0 ;; esac
    [ -n "$begun$moved" ] || return 0
    there "$old" || return 0
  elif ! there "$old"; then
    case $existing in *" $1 "*) return 1 ;; esac
    rm -f -- "$1"
    return
  fi
  mv -fT -- "$old" "$1"
}

# Where units read. A PATH of which no old file is kept stays as it is.
back_files() {
  lock_all
  for target in $reversed; do
    if there "$target$old_suffix"; then mv -fT -- "$target$old_suffix" "$target"; fi
  done
}

# With an archive: a replace that its run has given up finds it no more. Where units read: removes the copies beside each
# PATH that still has the given digest, as another run may have replaced a file since.
forget_files() {
  if [ -n "$archive" ]; then
    rm -f -- "$folder/$archive"
    return 0
  fi
  lock_all
  set --
  for f in $paths; do if there "$f"; then set -- "$@" "$f"; fi; done
  stat_files "$@"
  trash=''
  with_lines find_proven "$files"
  rm -f -- $trash
}
find_proven() {
  for line do
    set -- $line
    case $nl$sums$nl in *"$nl$2  $1$nl"*) trash="$trash $1$old_suffix $1$new_suffix" ;; esac
  done
}

#### run

# The answer has the exit status of the command, then the first lines of its output.
run_command() {
  # The other shell expands what is printed here.
  # shellcheck disable=SC2016
  answer=$(printf '%s\n' 'code=0' 'said=$( {' "$command" '} </dev/null 2>&1) || code=$?' \
    'printf "status %s\n%s\n" "$code" "$said" | head -n 40' | eval "$sudo sh -s") || answer=''
  open_answer run
  [ -n "$answer" ] || stop shell 'a command failed'
  with_lines say_lines "$answer"
  close_answer
}
say_lines() {
  for line do say "said $line"; done
}
