#!/bin/sh
# A renewal as one would write it: the same files to the same places, and nothing restarted, asked or looked at.
# Kubeconfigs stay as they are, since they name their pair by file. Run in the folder of auth/, where the machines are,
# with the ssh_config to use; connections are shared.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
options="-q -F ../$1 -o BatchMode=yes -o ControlMaster=auto -o ControlPersist=10 -o ControlPath=$dir/%h"
split='split() {
    for part in certificate key; do sed -n "s/^ *client-$part-data: //p" "$1.kubeconfig" | base64 -d; echo; done >"$2/$1-client.pem"
  }'
cd auth

copy() { name=$1; shift; scp $options "$@" "ubuntu@$name:"; }
install() { ssh $options "ubuntu@$1" "sudo -n sh -c '$split; $2'"; }

for i in 0 1 2; do
  name=control$i
  copy $name ca.pem ca-key.pem kubernetes.pem kubernetes-key.pem service-account.pem service-account-key.pem \
    admin.kubeconfig kube-controller-manager.kubeconfig kube-scheduler.kubeconfig kube-proxy.kubeconfig \
    encryption-config.yaml $name.pem $name-key.pem $name.kubeconfig
  install $name "cp kubernetes.pem kubernetes-key.pem /etc/etcd/; cp kubernetes.pem kubernetes-key.pem /var/lib/kubernetes/
    split kube-controller-manager /var/lib/kubernetes
    split kube-scheduler /var/lib/kubernetes; split kube-proxy /var/lib/kube-proxy
    cp $name.pem $name-key.pem /var/lib/kubelet/; split $name /var/lib/kubelet"
done
for i in 0 1; do
  name=worker$i
  copy $name ca.pem kube-proxy.kubeconfig $name.pem $name-key.pem $name.kubeconfig
  install $name "split kube-proxy /var/lib/kube-proxy
    cp $name.pem $name-key.pem /var/lib/kubelet/; split $name /var/lib/kubelet"
done
copy gateway ca.pem
