# Each file that a unit reads gets a path of its own, under a name that no guide has; of those of the guide nothing is
# left. etcd gets them by flags on two machines, and by a --config-file on the third.
of_guide='/(etc/etcd|var/lib/kube[a-z-]*)/[A-Za-z0-9._-]+'

# own_paths UNIT FILE: of the paths in the file.
own_paths() {
  grep -noE "$of_guide" "$2" | while IFS=: read -r line old; do
    new=/srv/$1/$line-${old##*/}
    cp -p "$old" "$new"
    for beside in $(sed -nE 's/^ *(client-certificate|certificate-authority): //p' "$old"); do
      cp -p "${old%/*}/$beside" "/srv/$1/"
    done
    sed -i "${line}s|$old|$new|" "$2"
  done
}

for unit in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
  file=/etc/systemd/system/$unit.service
  [ -e $file ] || continue
  mkdir -p /srv/$unit
  config=$(sed -nE 's/.*--config=([^ ]*).*/\1/p' $file)
  if [ -n "$config" ]; then
    sed "s/kubeconfig: .*/& # a comment/" "$config" >/srv/$unit/settings.conf
    sed -i "s|--config=$config|--config=/srv/$unit/settings.conf|" $file
    own_paths $unit /srv/$unit/settings.conf
  fi
  own_paths $unit $file
done

if [ "$(hostname)" = control2 ]; then
  file=/etc/systemd/system/etcd.service
  {
    sed -nE "/^ *--((peer-)?)((cert|key|trusted-ca)-file)=/d; s/^ *--([a-z-]+)=([^ ]*).*/\1: '\2'/p" $file
    echo 'client-transport-security:'
    sed -nE "s/^ *--((cert|key|trusted-ca)-file)=([^ ]*).*/  \1: \3/p" $file
    echo '  client-cert-auth: true'
    echo 'peer-transport-security:'
    sed -nE "s/^ *--peer-((cert|key|trusted-ca)-file)=([^ ]*).*/  \1: \"\3\"/p" $file
    echo '  client-cert-auth: true'
  } >/srv/etcd/etcd.conf.yml
  sed -i -E '/^ *--.*\\$/d; s|^ *--data-dir=.*|  --config-file=/srv/etcd/etcd.conf.yml|' $file
fi
rm -rf /etc/etcd /var/lib/kubernetes /var/lib/kube-proxy /var/lib/kubelet/*.pem /var/lib/kubelet/kubeconfig
