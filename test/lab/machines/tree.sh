# Makes the system that every machine boots from, beneath a disk of its own, and prints its folder. It holds packages of
# this computer's release, from where its apt gets them, and nothing else of this computer. It is made once, by whoever
# needs it first, and another one when this file changes. Needs root.
set -eu
# shellcheck source=/dev/null
. /etc/os-release
cache=/var/cache/harderway
tree=$cache/machine-$(echo "$VERSION_CODENAME" | cat "$0" - | sha256sum | head -c 12)

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -d "$tree" ]; then
  part=$tree.part
  rm -rf "$part"
  # libatomic1 and libstdc++6 are Node's. containerd, runc and iptables are for a real kubelet and kube-proxy.
  packages=systemd-sysv,openssh-server,sudo,procps,iproute2,ca-certificates,openssl,haproxy,etcd-server,libatomic1,libstdc++6
  packages=$packages,containerd,runc,iptables
  sh "$(dirname "$0")/../sources.sh" |
    mmdebstrap --quiet --mode=root --variant=essential --format=directory --include="$packages" \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io "$VERSION_CODENAME" "$part" - >&2

  # An id that no user of this computer has: the machines' processes are its processes too.
  chroot "$part" useradd --uid 31999 --create-home --shell /bin/bash ubuntu
  echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >"$part/etc/sudoers.d/ubuntu"
  # Each machine has one of its own.
  rm "$part"/etc/ssh/ssh_host_*
  # Tests fail to log in on purpose.
  echo 'PerSourcePenalties no' >"$part/etc/ssh/sshd_config.d/lab.conf"
  mkdir "$part/etc/systemd/journald.conf.d" "$part/etc/systemd/system-preset"
  printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$part/etc/systemd/journald.conf.d/lab.conf"
  # Their packages enable haproxy, etcd and containerd; the guide's next chapters start them.
  printf 'enable ssh.service\ndisable *\n' >"$part/etc/systemd/system-preset/00-lab.preset"
  systemctl --quiet --root="$part" preset-all
  # Nobody sits at the console, and what waits for them takes inotify instances, of which a user mostly has 128 in all.
  systemctl --quiet --root="$part" mask console-getty.service \
    systemd-ask-password-console.path systemd-ask-password-wall.path
  # The unit itself is on each machine's own disk.
  ln -s ../network.service "$part/etc/systemd/system/multi-user.target.wants/"
  # Else systemd does at each boot what a new release of the system needs (ConditionNeedsUpdate=).
  touch "$part/etc/.updated" "$part/var/.updated"
  mv "$part" "$tree"
fi
echo "$tree"
