# Whether a Node that runs TypeScript is first on the PATH. The one that npm ci brings needs libatomic, which a bare
# Debian or Ubuntu does not have.
[ -d node_modules/.bin ] || { echo 'first, once: npm ci' >&2; exit 1; }
runs() { node -e 'process.exitCode = parseInt(process.versions.node) < 24 ? 1 : 0' 2>/dev/null; }
runs && exit
if [ "$(id -u)" = 0 ]; then root=; else root=sudo; fi
if node -v 2>&1 | grep -q libatomic && command -v apt-get >/dev/null; then
  echo 'Installing with apt-get: libatomic1, for the Node that npm ci brought'
  $root apt-get -q update && $root apt-get -qy install --no-install-recommends libatomic1
fi
runs && exit
echo 'No Node 24 or later starts here. The one that npm ci brings is built for glibc and needs libatomic (Debian: libatomic1).'
echo 'With one of your own: rm -f node_modules/.bin/node'
exit 1
