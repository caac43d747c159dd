#!/bin/sh
# Prints from where this computer's apt gets the packages of its release, as mmdebstrap reads it.
# shellcheck source=/dev/null
. /etc/os-release
# Of each source its release's own packages alone; a field that a source does not have is printed as its name.
# shellcheck disable=SC2016
apt-get indextargets --format 'deb [signed-by=$(SIGNED_BY)] $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  sed -nE "s/\[signed-by=\\$.*\] //; / $VERSION_CODENAME(-updates|-security)? (main|universe)\$/p"
