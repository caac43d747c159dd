import { edited, minimal, testBadFiles } from '../../support/bad-files.ts'

const x65 = 'x'.repeat(65)

testBadFiles({
  'a key with another kind of value is told what kind it has': [
    `${edited('name: kubenet', 'name: [a]\ndomain: kubenet').replace('{ virtualIP: 10.0.0.1 }', 'here')}subject: 5\n`,
    '1:7: name a list is not text: a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
    '3:6: api "here" is not a map of keys',
    '6:10: subject 5 is not a map of keys',
  ],
  'a cluster without an address of its API is incomplete': [
    edited('{ virtualIP: 10.0.0.1 }', '{}'),
    '2:6: api.virtualIP is missing',
  ],
  'a cluster has a list of nodes': [
    edited('\n  - { name: c0, role: control, ip: 10.0.0.2 }', ' {c0: control}'),
    '3:8: nodes a map is not a list',
  ],
  'a cluster has at least one node': [
    edited('\n  - { name: c0, role: control, ip: 10.0.0.2 }', ' []'),
    '3:8: nodes is empty: at least one is needed',
  ],
  'a node has a name and a role': [
    `${minimal}  - { ip: 10.0.0.3 }\n`,
    '5:5: nodes[1].name is missing',
    '5:5: nodes[1].role is missing',
  ],
  'the name is one that kubectl can use': [
    edited('name: kubenet', 'name: "kube net"\ndomain: kubenet'),
    '1:7: name "kube net" is not a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
  ],
  'a domain has neither capitals nor underscores': [
    `${minimal}domain: Kube_net\n`,
    '5:9: domain "Kube_net" is not a DNS name with a letter (lower-case letters, digits and hyphens, such as kubenet or example.org)',
  ],
  'a domain does not end in a dot': [
    `${minimal}domain: kubenet.\n`,
    '5:9: domain "kubenet." is not a DNS name with a letter (lower-case letters, digits and hyphens, such as kubenet or example.org)',
  ],
  'a country is its two letters': [
    `${minimal}subject: { country: Poland }\n`,
    '5:21: subject.country "Poland" is not a country: two capital letters, such as PL',
  ],
  'a subject has no control characters, no empty and no overlong values': [
    `${minimal}subject: { state: "a\\tb", locality: "", organization: ${x65}, organizationalUnit: " x" }\n`,
    '5:19: subject.state "a\\tb" is not 1 to 128 characters, none of them a control character, and no space at either end',
    '5:37: subject.locality "" is not 1 to 128 characters, none of them a control character, and no space at either end',
    `5:55: subject.organization "${'x'.repeat(59)}…" is not 1 to 64 characters, none of them a control character, and no space at either end`,
    '5:142: subject.organizationalUnit " x" is not 1 to 64 characters, none of them a control character, and no space at either end',
  ],
  'a kind of key nearly right is answered with the right one': [
    `${minimal}certificates: { key: RSA-2048 }\n`,
    '5:22: certificates.key "RSA-2048" is not a kind of key: did you mean rsa-2048?',
  ],
  'a kind of key that is not offered is answered with those that are': [
    `${minimal}certificates: { key: ed25519 }\n`,
    '5:22: certificates.key "ed25519" is not a kind of key: known are rsa-2048, rsa-3072, rsa-4096, ecdsa-p256, ecdsa-p384',
  ],
  'a duration has a unit': [
    `${minimal}certificates: { validity: 10 }\n`,
    '5:27: certificates.validity 10 is not text: a duration, such as 10y, 365d or 87600h (up to 1000y)',
  ],
  'minutes, sums and negative numbers are no durations': [
    `${minimal}certificates: { validity: 10m, caValidity: 1y6d, renewBefore: -1d }\n`,
    '5:27: certificates.validity "10m" is not a duration, such as 10y, 365d or 87600h (up to 1000y)',
    '5:44: certificates.caValidity "1y6d" is not a duration, such as 10y, 365d or 87600h (up to 1000y)',
    '5:63: certificates.renewBefore "-1d" is not a duration, such as 10y, 365d or 87600h (up to 1000y)',
  ],
  'a duration is more than nothing and at most 1000 years': [
    `${minimal}certificates: { caValidity: 1001y, renewBefore: 0d }\n`,
    '5:29: certificates.caValidity "1001y" is not a duration, such as 10y, 365d or 87600h (up to 1000y)',
    '5:49: certificates.renewBefore "0d" is not a duration, such as 10y, 365d or 87600h (up to 1000y)',
  ],
  'the API has a host name or an address': [
    edited('virtualIP:', 'host: kube_api, virtualIP:'),
    '2:14: api.host "kube_api" is not a DNS name or an IP address',
  ],
  'a port is a number': [
    edited('virtualIP:', 'port: "6443", virtualIP:'),
    '2:14: api.port "6443" is not a whole number from 1 to 65535',
  ],
  'a port is whole and has 16 bits': [
    edited('virtualIP:', 'port: 70000, virtualIP:').replace('role:', 'port: 22.5, role:'),
    '2:14: api.port 70000 is not a whole number from 1 to 65535',
    '4:23: nodes[0].port 22.5 is not a whole number from 1 to 65535',
  ],
  'what is no address is shown one': [
    edited('10.0.0.1', 'balancer').replace('10.0.0.2', '10.0.0.256'),
    '2:19: api.virtualIP "balancer" is not an IP address, such as 192.168.1.11',
    '4:36: nodes[0].ip "10.0.0.256" is not an IP address, such as 192.168.1.11',
  ],
  'an address has no prefix, no zone and no leading zeros': [
    edited('ip: 10.0.0.2', 'ips: [10.0.0.2/24, "fe80::1%eth0", 10.0.0.02]'),
    '4:38: nodes[0].ips[0] "10.0.0.2/24" is not an IP address, such as 192.168.1.11',
    '4:51: nodes[0].ips[1] "fe80::1%eth0" is not an IP address, such as 192.168.1.11',
    '4:67: nodes[0].ips[2] "10.0.0.02" is not an IP address, such as 192.168.1.11',
  ],
  'ips has at least one address': [
    edited('ip: 10.0.0.2', 'ips: []'),
    '4:37: nodes[0].ips is empty: at least one is needed',
  ],
  'a SAN is a DNS name, a wildcard at its left or an address': [
    edited('virtualIP:', 'extraSANs: [a_b, "*.ok.org", "x.*.org", 1, 10.0.0.0/8, "a b"], virtualIP:'),
    '2:20: api.extraSANs[0] "a_b" is not a DNS name, such as example.org or *.example.org, or an IP address',
    '2:37: api.extraSANs[2] "x.*.org" is not a DNS name, such as example.org or *.example.org, or an IP address',
    '2:48: api.extraSANs[3] 1 is not text: a DNS name, such as example.org or *.example.org, or an IP address',
    '2:51: api.extraSANs[4] "10.0.0.0/8" is not a DNS name, such as example.org or *.example.org, or an IP address',
    '2:63: api.extraSANs[5] "a b" is not a DNS name, such as example.org or *.example.org, or an IP address',
  ],
  'SANs are a list, for the API and for a node': [
    edited('virtualIP:', 'extraSANs: api.example.org, virtualIP:').replace('role:', 'sans: c0.example.org, role:'),
    '2:19: api.extraSANs "api.example.org" is not a list',
    '4:23: nodes[0].sans "c0.example.org" is not a list',
  ],
  'a service block needs 8 addresses': [
    `${minimal}network: { serviceCIDR: 10.32.0.0/30 }\n`,
    '5:25: network.serviceCIDR "10.32.0.0/30" is too small: kube-apiserver needs at least 8 addresses (a /29)',
  ],
  'a service block is the block, not an address in it': [
    `${minimal}network: { serviceCIDR: 10.32.0.1/16 }\n`,
    '5:25: network.serviceCIDR "10.32.0.1/16" is an address inside a block: write it as 10.32.0.0/16',
  ],
  'a service block has a prefix': [
    `${minimal}network: { serviceCIDR: 10.32.0.0 }\n`,
    '5:25: network.serviceCIDR "10.32.0.0" is not an address block: write it as 10.32.0.0/16',
  ],
  'a prefix is no longer than its address': [
    `${minimal}network: { serviceCIDR: [10.32.0.0/33, "fd00::/108"] }\n`,
    '5:26: network.serviceCIDR[0] "10.32.0.0/33" has a prefix of more than 32 bits',
  ],
  'a service block is text': [
    `${minimal}network: { serviceCIDR: 10 }\n`,
    '5:25: network.serviceCIDR 10 is neither an address block nor a list of two',
  ],
  'there is at least one service block': [
    `${minimal}network: { serviceCIDR: [] }\n`,
    '5:25: network.serviceCIDR is empty: at least one is needed',
  ],
  'an encryption provider is one of three': [
    `${minimal}encryption: { provider: kms }\n`,
    '5:25: encryption.provider "kms" is not a provider: known are aescbc, aesgcm, secretbox',
  ],
  'at least one resource is encrypted': [
    `${minimal}encryption: { resources: [] }\n`,
    '5:26: encryption.resources is empty: at least one is needed',
  ],
  'resources are a list, in small letters': [
    `${minimal}encryption: { resources: [Secrets] }\n`,
    '5:27: encryption.resources[0] "Secrets" is not a resource, such as secrets, configmaps or *.apps',
  ],
  'a role nearly right is answered with the right one': [
    `${minimal}  - { name: w0, role: wroker, ip: 10.0.0.3 }\n`,
    '5:23: nodes[1].role "wroker" is not a role: did you mean worker?',
  ],
  'a role by the name that others give it is answered with ours': [
    `${minimal}${['master', 'control-plane', 'controlplane', 'node', 'loadbalancer'].map((role, i) => `  - { name: n${i}, role: ${role}, ip: 10.0.1.${i} }\n`).join('')}`,
    '5:23: nodes[1].role "master" is not a role: did you mean control?',
    '6:23: nodes[2].role "control-plane" is not a role: did you mean control?',
    '7:23: nodes[3].role "controlplane" is not a role: did you mean control?',
    '8:23: nodes[4].role "node" is not a role: did you mean worker?',
    '9:23: nodes[5].role "loadbalancer" is not a role: did you mean gateway?',
  ],
  'a role that does not exist is answered with those that do': [
    `${minimal}  - { name: w0, role: minion, ip: 10.0.0.3 }\n`,
    '5:23: nodes[1].role "minion" is not a role: known are control, worker, gateway',
  ],
  'a node name has no capitals': [
    edited('c0', 'Control0'),
    '4:13: nodes[0].name "Control0" has capitals, which Kubernetes refuses in a node name: write control0',
  ],
  'a node name is one DNS label': [
    edited('c0', 'c_0').replace('\n  -', '\n  - { name: c0.example.org, role: worker, ip: 10.0.0.3 }\n  -'),
    '4:13: nodes[0].name "c0.example.org" is not a node name: one DNS label of lower-case letters, digits and hyphens',
    '5:13: nodes[1].name "c_0" is not a node name: one DNS label of lower-case letters, digits and hyphens',
  ],
  'a node name of 52 characters is one, of 53 is none': [
    edited('c0', 'c'.repeat(52)).replace('\n  -', `\n  - { name: ${'c'.repeat(53)}, role: worker, ip: 10.0.0.3 }\n  -`),
    '4:13: nodes[0].name is longer than 52 characters, so that its CN, system:node:<name>, would pass the 64 of RFC 5280',
  ],
  'a node name that YAML reads as a number is none': [
    edited('c0', '5'),
    '4:13: nodes[0].name 5 is not text: a node name, such as worker0',
  ],
  'a host for ssh can not be an option': [
    edited('role:', 'host: -oProxyCommand=x, role:'),
    '4:23: nodes[0].host "-oProxyCommand=x" is not a host for ssh: a name, an alias of your ssh_config or an address',
  ],
  'a host for ssh does not begin as an option does': [
    edited('role:', 'host: -v, role:'),
    '4:23: nodes[0].host "-v" is not a host for ssh: a name, an alias of your ssh_config or an address',
  ],
  'a host for ssh has no user and no spaces': [
    edited('role:', 'host: root@c0, role:').replace(
      '\n  -',
      '\n  - { name: w0, role: worker, host: "a b", ip: 10.0.0.3 }\n  -',
    ),
    '4:37: nodes[0].host "a b" is not a host for ssh: a name, an alias of your ssh_config or an address',
    '5:23: nodes[1].host "root@c0" is not a host for ssh: a name, an alias of your ssh_config or an address',
  ],
  'a folder on a node is not relative': [
    `${minimal}ssh: { directory: files }\n`,
    '5:19: ssh.directory "files" is not a folder on the node: ~, ~/folder or /folder, without .. in it',
  ],
  'a folder on a node does not lead upwards': [
    `${edited('role:', 'directory: ~/.., role:')}ssh: { directory: /a/../b }\n`,
    '4:28: nodes[0].directory "~/.." is not a folder on the node: ~, ~/folder or /folder, without .. in it',
    '5:19: ssh.directory "/a/../b" is not a folder on the node: ~, ~/folder or /folder, without .. in it',
  ],
  'a folder on a node is one line, and of no other user': [
    `${edited('role:', 'directory: ~root/x, role:')}ssh: { directory: "/a\\nb" }\n`,
    '4:28: nodes[0].directory "~root/x" is not a folder on the node: ~, ~/folder or /folder, without .. in it',
    '5:19: ssh.directory "/a\\nb" is not a folder on the node: ~, ~/folder or /folder, without .. in it',
  ],
  'a user for ssh can not be an option': [
    `${minimal}ssh: { user: -lroot }\n`,
    '5:14: ssh.user "-lroot" is not a user name, such as ubuntu',
  ],
  'at least one node is looked at': [
    `${minimal}ssh: { concurrency: 0 }\n`,
    '5:21: ssh.concurrency 0 is not a whole number from 1 to 1000',
  ],
  'paths are neither empty nor more than one line': [
    `${minimal}ssh: { configFile: "a\\nb" }\n`,
    '5:20: ssh.configFile "a\\nb" is not a path',
  ],
  'an ssh option has one value': [
    `${minimal}ssh:\n  options: { ProxyJump: [a, b] }\n`,
    '6:25: ssh.options.ProxyJump a list is not one value',
  ],
  'ssh options are a map': [`${minimal}ssh: { options: -4 }\n`, '5:17: ssh.options -4 is not a map of keys'],
  'localKubeconfig is not switched on': [
    `${minimal}localKubeconfig: true\n`,
    '5:18: localKubeconfig true is neither false nor a map of path, context and user',
  ],
  'a kubeconfig context is one that kubectl can use': [
    `${minimal}localKubeconfig: { context: "a b" }\n`,
    '5:29: localKubeconfig.context "a b" is not a kubeconfig name (letters, digits and . _ - : / @, beginning with a letter or digit)',
  ],
})
