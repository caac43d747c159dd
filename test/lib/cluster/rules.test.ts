import { and, edited, testFiles } from '../../support/files.ts'

const known =
  'expected one of name, layout, domain, subject, certificates, api, network, encryption, etcd, aggregation, ssh, install, users, revoked, localKubeconfig, nodes'
const ip = (text: string) => edited('ip: 10.0.0.2', text)
const worker = (text: string) => `  - { name: w0, role: worker, ${text} }`

testFiles('an unknown key is answered with the nearest of its place, or with all', [
  [and('certificate: { key: rsa-2048 }'), '5:1 unknown key in cluster.yaml; did you mean certificates?'],
  [and('kubernetesVersion: 1.34'), `5:1 unknown key in cluster.yaml; ${known}`],
  [and('network: { podCIDR: 10.0.0.0/8 }'), '5:12 unknown key in network; expected one of serviceCIDR, clusterDomain'],
  [
    edited('virtualIP: 10.0.0.1', 'virtualIp: 10.0.0.1'),
    ...['2:6 api.virtualIP is missing', '2:8 did you mean virtualIP?'],
  ],
])

testFiles('a name that can not be a domain needs one beside it', [
  [edited('kubenet', 'Kube_Net'), '1:7 is also the domain, but not a DNS name with a letter; set domain'],
  [edited('kubenet', 'Kube_Net').concat('domain: a\n')],
])

const cutOff = (entries: string, more = 'install: true') =>
  and(`users: [{ name: bob }]\n${more}\nrevoked: [${entries}]`)
testFiles('who is revoked is a name, once, of nobody who is there, where API servers have their files from us', [
  [cutOff('jane, worker2, j.doe@example.org')],
  [cutOff('jane, jane'), '7:17 "jane" is listed twice'],
  ...['BOB SMITH', "O'Hara", '$(touch made)'].map(
    (each) => [cutOff(JSON.stringify(each)), '7:11 is not the CN of a user or node'] as const,
  ),
  [cutOff('"system:node:w"'), '7:11 "system:node:w" is how Kubernetes names a node; write w'],
  [cutOff(`"sha256:${'3f'.repeat(32)}"`), '7:11 is a fingerprint, and this version revokes names alone'],
  [
    cutOff('bob, c0, kube-proxy, admin'),
    ...['7:11 "bob" is still a node or user', '7:16 "c0" is still a node or user'],
    ...['7:20 "kube-proxy" can\'t be revoked', '7:32 "admin" can\'t be revoked'],
  ],
  [and('revoked: []'), '5:1 revoked needs install, which loads'],
  [cutOff('jane', 'install: { units: { kube-apiserver: false } }'), '7:1 revoked needs kube-apiserver, which'],
])

testFiles('a certificate is valid for longer than it is stale', [
  [and('certificates: { validity: 30d }'), '5:27 "30d" must be longer than renewBefore (30d)'],
  [and('users: [{ name: jane, validity: 30d }]'), '5:33 validity "30d" must be longer than renewBefore (30d)'],
  [and('certificates: { validity: 31d, caValidity: 31d }')],
])

const cidr = 'network: { serviceCIDR: 10.40.0.0/16 }'
testFiles('no machine has an address of a service', [
  [edited('10.0.0.2', '10.32.0.7'), '4:36 "10.32.0.7" is in network.serviceCIDR; use an address outside it'],
  [
    ip('ips: [10.40.0.2, "fd00:1::2", "fd00:2::2"]').concat(
      'network: { serviceCIDR: [10.40.0.0/16, "fd00:2::/108"] }\n',
    ),
    ...['4:38 ips[0] "10.40.0.2" is in', '4:62 ips[2] "fd00:2::2" is in'],
  ],
  [edited('10.0.0.2', '10.32.0.7').replace('10.0.0.1', '10.41.0.0').concat(`${cidr}\n`)],
])

testFiles('no machine is reached by an unspecified, link-local, multicast or broadcast address', [
  [edited('10.0.0.1', '0.0.0.0'), '2:19 "0.0.0.0" is unspecified; use an address that other machines reach'],
  [ip('ips: [169.254.1.1, "ff02::1"]'), '4:38 is link-local', '4:51 is multicast'],
])

testFiles('nodes have names and addresses of their own', [
  [and('  - { name: c0, role: worker, ip: 10.0.0.3 }'), '5:13 "c0" is the name of another node or user'],
  [and(worker('ip: 10.0.0.2')), '5:35 "10.0.0.2" is already the address of a node'],
  [
    and(`${worker('ip: "fd00::1"')}\n  - { name: w1, role: worker, ips: [10.0.0.3, "FD00:0:0:0::0001"] }`),
    '6:47 "fd00::1" is already the address of a node',
  ],
  [edited(', ip: 10.0.0.2', ''), '4:5 nodes[0] needs either ip or, for dual-stack, ips'],
  [edited('control', 'worker'), '3:1 nodes has no node with role: control'],
])

const reserved = ['ca', 'kube-scheduler', 'encryption-config', 'c0-key', 'pods']
testFiles("nodes and users have no name of the cluster's own files, nor of each other", [
  [
    and(reserved.map((name, i) => `  - { name: ${name}, role: worker, ip: 10.0.1.${i} }`).join('\n')),
    ...reserved.map((name, i) => `${5 + i}:13 "${name}" is reserved by harderway`),
  ],
  [
    and('users: [{ name: admin }, { name: c0 }, { name: joe-key }, { name: joe }, { name: joe }]'),
    ...[`5:17 "admin" is reserved by harderway`, '5:34 "c0" is the name of another node or user'],
    ...[`5:48 "joe-key" is reserved by harderway`, '5:82 "joe" is the name of another node or user'],
  ],
])

testFiles('groups', [
  [
    and('users: [{ name: jane, groups: [devs, "system:masters"] }]'),
    '5:38 bypasses RBAC, and nothing can revoke it before it expires; bind a group of your own',
  ],
  [and('users: [{ name: jane, groups: [devs] }, { name: joe, groups: [devs] }]')],
])

testFiles('the kubeconfig is of one of users', [
  [and('users: [{ name: jane }]\nlocalKubeconfig: { as: jnae }'), '6:24 as "jnae" is not in users; did you mean jane?'],
  [and('localKubeconfig: { as: admin }'), '5:24 as "admin" is not in users; add it to users'],
])

const gateway = (text: string) => and(`  - { name: g, role: gateway, ip: 10.0.0.9 }\ninstall: ${text}`)
testFiles('draining takes two commands', [
  [gateway('{ drain: a, undrain: b }')],
  [gateway('{ drain: a }'), '6:12 install.drain needs undrain too'],
])

testFiles('units are those of the layout, with files that they read', [
  [
    and('install: { units: { etcd: { files: { front-proxy.pem: /etc/x } } } }'),
    '5:38 is not a file of etcd; expected one of ca.pem, kubernetes.pem, kubernetes-key.pem, etcd-ca.pem, etcd.pem, etcd-key.pem',
  ],
  [and('install: { units: { etcd: { restart: a, config: /etc/x, files: { ca.pem: /etc/x } } } }')],
  // Its CA may be about to change.
  [and('install: { units: { etcd: { files: { etcd-ca.pem: { --trusted-ca-file: /etc/<node>/x } } } } }')],
  [
    and('install: { units: { kube-apiserver: { files: { ca.pem: { --client-ca-fil: /x } } } } }'),
    '5:58 is not a flag or field of kube-apiserver for ca.pem; did you mean --client-ca-file?',
  ],
  [
    and('install: { units: { kube-apiserver: { config: /x } } }'),
    '5:39 does not apply to kube-apiserver, which reads no YAML file',
  ],
  [edited('ip: 10.0.0.2', 'ip: 10.0.0.2, units: { kubelet: { files: { ca.pem: /x } } }')],
  [
    edited('ip: 10.0.0.2', 'ip: 10.0.0.2, units: { kublet: { files: {} } }'),
    '4:55 is not a unit of the layout; did you mean kubelet?',
  ],
])
