#!/bin/sh
# ssh and scp to a node that is a folder beside the ssh_config: what would run there runs here, without sshd. LocalNode
# (labs.ts) writes its `login`; a node without one is down. The real ssh reads the configuration.
set -eu
if [ "$1" = -G ]; then
  PATH=${PATH#*:}
  exec ssh "$@"
fi
config=''
control=''
while [ "$1" != -- ]; do
  case $1 in
    -F) config=$2 ;;
    -O) control=$2 ;;
  esac
  shift
done
case $0 in
  */scp) from=$2 host=${3%%:*} to=${3#*:} ;;
  *) from='' host=$2 ;;
esac
node=${config%/*}/$host
if [ ! -e "$node/login" ]; then
  echo "ssh: connect to host $host port 22: Connection refused" >&2
  exit 255
fi
case $control in
  '') ;;
  forward) exit 255 ;;
  *) exit 0 ;;
esac
# shellcheck source=/dev/null
. "$node/login"
cd "$HOME"
[ -z "$from" ] || exec /bin/cp -- "$from" "$to"
exec sh -s
