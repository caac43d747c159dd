/** The load balancer of the virtual IP: haproxy where the guide has ldirectord, since /readyz and draining need it. */

export const balancerConfig = `global
  stats socket ipv4@127.0.0.1:9999 level admin
  ca-base /etc/ssl/certs
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen kubernetes
  bind 192.168.1.21:6443
  option httpchk GET /readyz
  default-server check check-ssl ca-file ca-certificates.crt verify required inter 1s fastinter 250ms downinter 250ms fall 2 rise 1
  server control0 192.168.1.11:6443
  server control1 192.168.1.12:6443
  server control2 192.168.1.13:6443
`

/**
 * What looks after the balancer, as in the guide: haproxy itself stays, with its connections, as IPVS in the kernel
 * does.
 */
export const directorUnit = `[Unit]
Description=ldirectord, which has haproxy read its configuration and its CAs anew
After=haproxy.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=systemctl reload-or-restart haproxy

[Install]
WantedBy=multi-user.target
`

/** haproxy answers an empty line where it did what it was told. */
export const balancerScript = `#!/bin/bash
# balance NODE drain|ready: whether new connections go to the API server of a node.
exec 3<>/dev/tcp/127.0.0.1/9999
echo "set server kubernetes/$1 state $2" >&3
answer=$(cat <&3)
[ -z "$answer" ] || { echo "$answer" >&2; exit 1; }
`

/** For `install` in cluster.yaml: run on the gateway, with $NODE. */
export const drain = '/usr/local/bin/balance "$NODE" drain'
export const undrain = '/usr/local/bin/balance "$NODE" ready'
