#!/bin/sh
# `openssl-loop.sh FOLDER NAME…`: a CA, and for each name a key of RSA-2048 and a certificate that it signs, one after
# the other.
set -eu
cd "$1"
shift
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 3650 -subj /CN=Kubernetes 2>/dev/null
for name in "$@"; do
  openssl req -new -newkey rsa:2048 -nodes -keyout "$name-key.pem" -out "$name.csr" -subj "/CN=$name" 2>/dev/null
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca-key.pem -days 3650 -out "$name.pem" 2>/dev/null
done
