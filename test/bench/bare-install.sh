#!/bin/sh
# An install as one would write it: the same files to the same places, the same units restarted one after the other, each
# waited for by the same question, and each node looked at again after ten seconds, the workers at once. Run in the folder
# of auth/, where the machines are; connections are shared.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
options="-q -F lab/ssh_config -o BatchMode=yes -o ControlMaster=auto -o ControlPersist=10 -o ControlPath=$dir/%h"
pair='--cert auth/kubernetes.pem --key auth/kubernetes-key.pem'
asks="curl -sf -o /dev/null --cacert auth/ca.pem"

until_well() { until "$@"; do sleep 0.25; done; }
on() { name=$1; shift; ssh $options "ubuntu@$name" "$@"; }
local_health() { on "$1" "until curl -skf -o /dev/null $2; do sleep 0.25; done"; }
stays() { on "$1" "systemctl -q is-active $2"; }
restart() { on "$1" "sudo -n systemctl restart $2"; }

node() { # name address
  restart "$1" kubelet
  until_well $asks $pair "https://$2:10250/healthz"
  restart "$1" kube-proxy
  local_health "$1" http://127.0.0.1:10256/healthz
}

for i in 0 1 2; do
  name=control$i ip=192.168.1.1$((i + 1))
  (cd auth && scp $(echo "$options" | sed 's#lab/#../lab/#') ca.pem ca-key.pem kubernetes.pem kubernetes-key.pem service-account.pem \
    service-account-key.pem admin.kubeconfig kube-controller-manager.kubeconfig kube-scheduler.kubeconfig \
    kube-proxy.kubeconfig encryption-config.yaml $name.pem $name-key.pem $name.kubeconfig "ubuntu@$name:")
  on $name "sudo -n sh -c 'cp ca.pem kubernetes.pem kubernetes-key.pem /etc/etcd/
    cp ca.pem ca-key.pem kubernetes.pem kubernetes-key.pem service-account.pem service-account-key.pem encryption-config.yaml \
      kube-controller-manager.kubeconfig kube-scheduler.kubeconfig /var/lib/kubernetes/
    cp $name.pem $name-key.pem /var/lib/kubelet/; cp $name.kubeconfig /var/lib/kubelet/kubeconfig
    cp kube-proxy.kubeconfig /var/lib/kube-proxy/kubeconfig'"
  until_well $asks $pair "https://$ip:2379/health"
  restart $name kube-apiserver
  until_well $asks --cert auth/admin.pem --key auth/admin-key.pem "https://$ip:6443/readyz"
  restart $name kube-controller-manager
  local_health $name https://127.0.0.1:10257/healthz
  restart $name kube-scheduler
  local_health $name https://127.0.0.1:10259/healthz
  node $name $ip
  sleep 10
  stays $name "kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"
done
for i in 0 1; do
  name=worker$i
  (cd auth && scp $(echo "$options" | sed 's#lab/#../lab/#') ca.pem kube-proxy.kubeconfig $name.pem $name-key.pem $name.kubeconfig "ubuntu@$name:")
  on $name "sudo -n sh -c 'cp ca.pem /var/lib/kubernetes/; cp $name.pem $name-key.pem /var/lib/kubelet/
    cp $name.kubeconfig /var/lib/kubelet/kubeconfig; cp kube-proxy.kubeconfig /var/lib/kube-proxy/kubeconfig'"
  node $name 192.168.1.1$((i + 4))
done
sleep 10
for i in 0 1; do stays worker$i "kubelet kube-proxy"; done
(cd auth && scp $(echo "$options" | sed 's#lab/#../lab/#') ca.pem ubuntu@gateway:)
