# A world of its own for machines: network, mounts, processes. Called as `sh namespace.sh <folder>`, with a file `hosts`
# for the place of /etc/hosts; it says `ready <pid outside> <pid inside> <cgroup>` and lasts until its standard input is
# closed, which the death of the test does too. Nothing of it has a name outside, so that the kernel takes all of it
# away with its last process: only empty cgroups are left and the folder, both removed here.
set -eu
if [ "$1" != outside ] && [ "$1" != inside ]; then
  exec unshare --mount --net --propagation private sh "$0" outside "$1"
fi

if [ "$1" = outside ]; then
  # Here the tool runs: this machine's files and processes, the machines' network and names.
  read -r pid _ </proc/self/stat
  mount --bind "$2/hosts" /etc/hosts
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  for old in /sys/fs/cgroup/machines.*; do
    [ ! -d "$old" ] || [ -d "/proc/${old##*.}" ] || find "$old" -depth -type d -exec rmdir {} + || true
  done
  cgroup=/sys/fs/cgroup/machines.$pid
  mkdir -p "$cgroup/own"
  echo 0 >"$cgroup/own/cgroup.procs"
  # Six machines take some 30 as their stand-ins run, and 80 with real components: the kernel's 128 for each user are
  # not enough.
  instances=/proc/sys/fs/inotify/max_user_instances
  [ "$(cat $instances)" -ge 1024 ] || echo 1024 >$instances
  ip link set lo up
  ip link add lab type bridge
  ip address add 192.168.1.1/24 dev lab
  ip link set lab up
  # The processes of the machines end with the first of theirs, that waits for the end of the input.
  unshare --mount --pid --fork --kill-child --propagation private sh "$0" inside "$pid" "$cgroup" || true
  echo 0 >/sys/fs/cgroup/cgroup.procs
  find "$cgroup" -depth -type d -exec rmdir {} +
  umount /etc/hosts
  rm -rf "$2"
  exit
fi

read -r pid _ </proc/self/stat
mount -t proc proc /proc
# In the place of /run: systemd-nspawn leaves folders there.
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lab/compile-cache
echo "ready $2 $pid $3"
while read -r _; do :; done
