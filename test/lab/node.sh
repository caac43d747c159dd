# Whether the Node that npm ci brought starts. It needs libatomic, which a bare Debian or Ubuntu does not have.
node -v >/dev/null 2>&1 && exit
if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi
if node -v 2>&1 | grep -q libatomic && command -v apt-get >/dev/null; then
  echo 'Installing with apt-get: libatomic1, for the Node that npm ci brought'
  $root apt-get -q update && $root apt-get -qy install --no-install-recommends libatomic1
fi
node -v >/dev/null && exit
echo 'The Node that npm ci brought does not start here. It is built for glibc, and needs libatomic (Debian: libatomic1).'
echo 'With a Node 24 or later of your own: rm node_modules/.bin/node'
exit 1
