import { and, edited, minimal, testFiles } from '../../support/files.ts'

const api = (text: string) => edited('virtualIP: 10.0.0.1', text)
const node = (text: string) => edited('role: control, ip: 10.0.0.2', text)

testFiles('each kind of value is told what it should be', [
  [edited('name: kubenet', 'name: [a]\ndomain: a'), '1:7 name a list is not text; expected a kubeconfig name'],
  [edited('{ virtualIP: 10.0.0.1 }', 'here'), '2:6 api "here" is not a map of keys'],
  [edited('\n  - { name: c0, role: control, ip: 10.0.0.2 }', ' {c0: control}'), '3:8 nodes is a map, not a list'],
  [
    edited('\n  - { name: c0, role: control, ip: 10.0.0.2 }', ' []'),
    '3:8 nodes is empty; at least one entry is needed',
  ],
  [and('localKubeconfig: true'), '5:18 neither false nor a map of as, path, context and user'],
])

testFiles('what is missing is named', [
  ['{}\n', '1:1 name is missing', '1:1 nodes is missing', '1:1 api.virtualIP is missing'],
  [and('  - { ip: 10.0.0.3 }'), '5:5 nodes[1].name is missing', '5:5 nodes[1].role is missing'],
])

testFiles('names', [
  [edited('name: kubenet', 'name: "kube net"\ndomain: kubenet'), '1:7 is not a kubeconfig name'],
  [and('domain: Kube_net'), '5:9 is not a DNS name with a letter'],
  // With a wrong --config it may be a key.
  [and(`domain: ${'Ab0/'.repeat(10)}Ab0=`), '5:9 domain "…" is not a DNS name'],
  [and(`${'ab0'.repeat(14)}: x`), '5:1 "…" is an unknown key'],
  [and('subject: { country: Poland }'), '5:21 two capital letters, such as PL'],
  [
    and(`subject: { state: "a\\tb", locality: "", organization: ${'x '.repeat(33)}x, organizationalUnit: " x" }`),
    '5:19 state "a\\tb" is not 1 to 128 characters',
    '5:37 locality "" is not 1 to 128 characters',
    `5:55 organization "${'x '.repeat(29)}x…" is not 1 to 64 characters`,
    '5:144 organizationalUnit " x" is not 1 to 64 characters',
  ],
  [edited('c0', 'Control0'), '4:13 is not a node name: one DNS label'],
  [edited('c0', 'c'.repeat(53)), '4:13 at most 52'],
])

testFiles('one of several is answered with the nearest, or with all', [
  [and('certificates: { key: ed25519 }'), '5:22 expected one of rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384'],
  [edited('role: control', 'role: contorl'), '3:1 has no node', '4:23 is not a role; did you mean control?'],
  [and('layout: hardway'), '5:9 is not a layout; did you mean hard-way?'],
])

testFiles('durations', [
  [
    and('certificates: { validity: 10m, caValidity: 1y6d, renewBefore: -1d }'),
    ...['5:27 "10m" is not a duration', '5:44 "1y6d" is not a duration', '5:63 "-1d" is not a duration'],
  ],
  [and('certificates: { caValidity: 1001y, renewBefore: 0d }'), '5:29 (up to 1000y)', '5:49 is not a duration'],
])

testFiles('yes or no', [
  [and('certificates: { caKeyOnNodes: "no" }'), '5:31 caKeyOnNodes "no" is neither true nor false'],
])

testFiles('numbers', [
  [api('port: "6443", virtualIP: 10.0.0.1'), '2:14 "6443" is not a whole number from 1 to 65535'],
  [and('ssh: { concurrency: 0 }'), '5:21 0 is not a whole number from 1 to 1000'],
])

testFiles('addresses and SANs', [
  [api('host: kube_api, virtualIP: 10.0.0.1'), '2:14 is not a DNS name or an IP address'],
  [api('virtualIP: balancer'), '2:19 is not an IP address, such as 192.168.1.11'],
  [
    node('role: control, ips: [10.0.0.2/24, "fe80::1%eth0", 10.0.0.02]'),
    ...['4:38 ips[0] "10.0.0.2/24" is not', '4:51 ips[1] "fe80::1%eth0" is not', '4:67 ips[2] "10.0.0.02" is not'],
  ],
  [
    api('extraSANs: [a_b, "*.ok.org", "x.*.org", 1, 10.0.0.0/8, "a b"], virtualIP: 10.0.0.1'),
    ...['2:20 [0] "a_b" is not a DNS name', '2:37 [2] "x.*.org" is not', '2:48 [3] 1 is not text'],
    ...['2:51 [4] "10.0.0.0/8" is not', '2:63 [5] "a b" is not'],
  ],
])

testFiles('service blocks', [
  [and('network: { serviceCIDR: 10.32.0.0/30 }'), '5:25 at least 8 addresses (a /29)'],
  [and('network: { serviceCIDR: 10.32.0.1/16 }'), '5:25 write it as 10.32.0.0/16'],
  [and('network: { serviceCIDR: [10.32.0.0/33, "fd00::/108"] }'), '5:26 serviceCIDR[0] "10.32.0.0/33"'],
  [and('network: { serviceCIDR: [10.32.0.0/16, 10.33.0.0/16] }'), '5:25 more than one IPv4 and one IPv6 block'],
])

testFiles('what is encrypted', [
  [and('encryption: { resources: [Secrets] }'), '5:27 is not a resource, such as secrets'],
])

testFiles('paths and what ssh is given', [
  [and('ssh: { directory: files }'), '5:19 is not a directory on the node, such as ~, ~/dir or /dir'],
  [node('directory: ~/.., role: control, ip: 10.0.0.2'), '4:28 without .. in it'],
  [and('ssh: { user: -lroot }'), '5:14 is not a user name, such as ubuntu'],
  [node('host: -v, role: control, ip: 10.0.0.2'), '4:23 is not a host for ssh'],
])

testFiles('install', [
  [and('install: yes'), '5:10 "yes" is neither true nor false nor a map of sudo, drain, undrain, timeout, units'],
  [and('install: { timeout: 2d }'), '5:21 is not a time to wait, such as 90s or 2m (up to 1h)'],
  [and('install: { sudo: "sudo\\n-n" }'), '5:18 is not a command on one line'],
  [and('install: { units: { etcd: { files: { ca.pem: /etc/../x } } } }'), '5:46 is not an absolute path'],
  [and('install: { units: { etcd: true } }'), '5:27 is neither false nor a map of unit, restart, config and files'],
  [
    and('install: { units: { etcd: { unit: etcd.service } } }'),
    '5:35 is not a unit of systemd, without .service, such as k8s-scheduler',
  ],
])

const user = (text: string) => and(`users: [{ ${text} }]`)

testFiles('users', [
  [user('name: a.b_c@d-e, groups: [devs], validity: 31d')],
  [user('name: "system:kube-scheduler"'), "5:17 is not a user's name"],
  [user('name: Jane'), "5:17 is not a user's name: 1 to 64 lower-case letters"],
])

testFiles('what may be written', [
  [minimal],
  [and(`subject: { state: a, organization: ${'x'.repeat(64)} }\nssh: { user: a }`)],
])
