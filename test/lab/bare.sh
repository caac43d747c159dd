#!/bin/sh
# The demo, and tests that a bare machine has failed, as root of one who has just logged in: a Debian of this computer's
# release with git, nodejs and npm of its own, no package of this computer's, and HEAD cloned into /root, which only
# root may enter. Of this computer it has how apt reaches Debian and npm its registry. Needs root, and leaves nothing
# behind.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=/dev/null
. /etc/os-release
tests='test/lib/process.test.ts test/lib/files/lock.test.ts test/tasks/views/observe.test.ts'
tests="$tests test/whole/backup.test.ts test/whole/package.test.ts"

bare=$(mktemp -d /var/tmp/harderway-bare.XXXXXX)
trap 'rm -rf --one-file-system "$bare"' EXIT
trap 'exit 1' HUP INT TERM
root=$bare/root
acquire=$bare/acquire
apt-config dump | grep '^Acquire::' >"$acquire"
# age is for the test of docs/everyday.md, strace for that of the lock.
# shellcheck disable=SC2016
sh test/lab/sources.sh |
  mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
    --include=git,nodejs,npm,ca-certificates,age,strace --dpkgopt=force-unsafe-io --aptopt="$acquire" \
    --setup-hook='cp -r /etc/apt/auth.conf* /etc/apt/keyrings /etc/apt/trusted.gpg* "$1/etc/apt/" || true' \
    "$VERSION_CODENAME" "$root" -
for path in /etc/resolv.conf /etc/hosts "${NODE_EXTRA_CA_CERTS:-}" "$(npm config get cafile)"; do
  if [ -f "$path" ]; then mkdir -p "$root${path%/*}" && cp "$path" "$root$path"; fi
done
for path in "$(npm config get globalconfig)" "$(npm config get userconfig)"; do
  if [ -f "$path" ]; then cat "$path" && echo; fi
done >"$root/root/.npmrc"
git clone --quiet . "$root/root/harderway"

# Mounts and processes are gone with the namespaces.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child sh -c '
  mount --bind "$0" "$0"
  mount -t proc proc "$0/proc"
  for folder in /sys /dev; do mount --rbind "$folder" "$0$folder"; done
  exec chroot "$0" env --chdir=/root/harderway "$@"' "$root" \
  -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin REQUIRE_PARTS=1 \
  npm_config_registry="$(npm config get registry)" NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-}" \
  sh -euc "
    npm ci
    npm run -s demo
    node_modules/.bin/node --import ./test/support/seed.ts --test --test-concurrency=2 $tests"
