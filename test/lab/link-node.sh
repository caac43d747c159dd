# The last script of npm ci. npm 9 and 10 make node_modules/.bin/node, and then remove it with the packages for other
# platforms, each of which has a node of its own.
cd node_modules/.bin || exit 0
for node in ../node-*/bin/node; do
  if [ -x "$node" ] && [ ! -e node ]; then ln -s "$node" node; fi
done
