import { edited, minimal, testBadFiles } from '../../support/bad-files.ts'

const known =
  'known are name, layout, domain, subject, certificates, api, network, encryption, ssh, install, users, localKubeconfig, nodes'
const collides = "can't be a node's name: its files would collide with the cluster's own"
const liesIn = 'lies in network.serviceCIDR'
const outside = 'give one outside of it'
const inConfigFile = 'put it into the file of ssh.configFile, unless harderway sets it itself'
const stale = 'or every certificate would be stale at once'

testBadFiles({
  'an unknown key is answered with the nearest known one': [
    `${minimal}certificate: { key: rsa-2048 }\n`,
    '5:1: certificate is an unknown key in cluster.yaml: did you mean certificates?',
  ],
  'an unknown key that is near none is answered with all there are': [
    `${minimal}kubernetesVersion: 1.34\n`,
    `5:1: kubernetesVersion is an unknown key in cluster.yaml: ${known}`,
  ],
  'the names of built-in properties are unknown keys': [
    `${minimal}__proto__: { a: 1 }\nconstructor: { a: 1 }\n`,
    `5:1: __proto__ is an unknown key in cluster.yaml: ${known}`,
    `6:1: constructor is an unknown key in cluster.yaml: ${known}`,
  ],
  'an unknown key inside another is answered with the keys of that place': [
    `${minimal}network: { podCIDR: 10.0.0.0/8 }\nsubject: { localty: Krakow }\n`,
    '5:12: network.podCIDR is an unknown key in network: known are serviceCIDR, clusterDomain',
    '6:12: subject.localty is an unknown key in subject: did you mean locality?',
  ],
  'the case of a key counts': [
    edited('virtualIP: 10.0.0.1', 'virtualIp: 10.0.0.1'),
    '2:6: api.virtualIP is missing',
    '2:8: api.virtualIp is an unknown key in api: did you mean virtualIP?',
  ],
  'an unknown key in a node is answered with the nearest known one': [
    edited('role: control', 'role: control, prot: 22'),
    '4:32: nodes[0].prot is an unknown key in a node: did you mean port?',
  ],
  'an unknown key in localKubeconfig is one': [
    `${minimal}localKubeconfig: { contxt: a }\n`,
    '5:20: localKubeconfig.contxt is an unknown key in localKubeconfig: did you mean context?',
  ],
  'a name that can not be a domain needs one beside it': [
    edited('kubenet', 'Kube_Net'),
    '1:7: name "Kube_Net" is also the domain, but is not a DNS name with a letter: set domain',
  ],
  'a certificate outlives the time in which it is stale': [
    `${minimal}certificates: { validity: 30d }\n`,
    `5:27: certificates.validity "30d" must be longer than renewBefore (30d), ${stale}`,
  ],
  'renewBefore is compared with the defaults too': [
    `${minimal}certificates: { renewBefore: 87600h, caValidity: 20y }\n`,
    `5:15: certificates.validity "10y" must be longer than renewBefore (87600h), ${stale}`,
  ],
  'a CA outlives the time in which it is stale': [
    `${minimal}certificates: { caValidity: 1y, renewBefore: 365d }\n`,
    `5:29: certificates.caValidity "1y" must be longer than renewBefore (365d), ${stale}`,
  ],
  'two service blocks of one family are no dual-stack': [
    `${minimal}network: { serviceCIDR: [10.32.0.0/16, 10.33.0.0/16] }\n`,
    '5:25: network.serviceCIDR has two blocks of the same family: dual-stack takes one IPv4 and one IPv6 block',
  ],
  'three service blocks are too many': [
    `${minimal}network: { serviceCIDR: [10.32.0.0/16, "fd00::/108", "fd01::/108"] }\n`,
    '5:25: network.serviceCIDR has more than two blocks: give one, or one IPv4 and one IPv6 block',
  ],
  'a node has no address of a service, be it of the default block': [
    edited('10.0.0.2', '10.32.0.7'),
    `4:36: nodes[0].ip "10.32.0.7" ${liesIn} 10.32.0.0/16: ${outside}`,
  ],
  'the virtual IP is no address of a service': [
    edited('virtualIP: 10.0.0.1', 'virtualIP: 10.32.255.255'),
    `2:19: api.virtualIP "10.32.255.255" ${liesIn} 10.32.0.0/16: ${outside}`,
  ],
  'a block of IPv6 has addresses of services too, however they are written': [
    `${edited('ip: 10.0.0.2', 'ip: "FD00:10:96:0::A"')}network: { serviceCIDR: "fd00:10:96::/112" }\n`,
    `4:36: nodes[0].ip "FD00:10:96:0::A" ${liesIn} fd00:10:96::/112: ${outside}`,
  ],
  'of a dual-stack cluster each address is compared with the block of its family': [
    `${edited('ip: 10.0.0.2', 'ips: [10.40.0.2, "fd00:1::2", "fd00:2::2"]')}network: { serviceCIDR: [10.40.0.0/16, "fd00:2::/108"] }\n`,
    `4:38: nodes[0].ips[0] "10.40.0.2" ${liesIn} 10.40.0.0/16: ${outside}`,
    `4:62: nodes[0].ips[2] "fd00:2::2" ${liesIn} fd00:2::/108: ${outside}`,
  ],
  'an address beside the block, and one of the default block where another is given, are none of a service': [
    `${edited('10.0.0.2', '10.32.0.7').replace('10.0.0.1', '10.41.0.0')}network: { serviceCIDR: 10.40.0.0/16 }\n`,
  ],
  'no machine is reached by an unspecified, link-local, multicast or broadcast address': [
    `${edited('10.0.0.1', '0.0.0.0').replace(
      'ip: 10.0.0.2',
      'ips: [169.254.1.1, "fe80::1", 224.0.0.1]',
    )}  - { name: w0, role: worker, ips: [255.255.255.255, "ff02::1", "::"] }\n`,
    '2:19: api.virtualIP "0.0.0.0" is an unspecified address: give one that other machines reach',
    '4:38: nodes[0].ips[0] "169.254.1.1" is a link-local address: give one that other machines reach',
    '4:51: nodes[0].ips[1] "fe80::1" is a link-local address: give one that other machines reach',
    '4:62: nodes[0].ips[2] "224.0.0.1" is a multicast address: give one that other machines reach',
    '5:37: nodes[1].ips[0] "255.255.255.255" is a broadcast address: give one that other machines reach',
    '5:54: nodes[1].ips[1] "ff02::1" is a multicast address: give one that other machines reach',
    '5:65: nodes[1].ips[2] "::" is an unspecified address: give one that other machines reach',
  ],
  "the virtual IP is no worker's": [
    `${edited('10.0.0.1', '"FD00::3"')}  - { name: w0, role: worker, ips: [10.0.0.3, "fd00:0::3"] }\n`,
    `2:19: api.virtualIP "fd00::3" is the address of "w0", a worker: give the load balancer's, or that of a control node`,
  ],
  "the virtual IP may be a control node's or a gateway's": [edited('10.0.0.1', '10.0.0.2')],
  'with a service block that is none, no address is in it': [
    `${edited('10.0.0.2', '10.32.0.7')}network: { serviceCIDR: 10.32.0.1/16 }\n`,
    '5:25: network.serviceCIDR "10.32.0.1/16" is an address inside a block: write it as 10.32.0.0/16',
  ],
  'ssh options that harderway sets itself say where they belong': [
    `${minimal}ssh:
  options:
    User: root
    port: 22
    HostName: c0
    BatchMode: no
    ControlPath: /tmp/c
    RemoteCommand: id
    ConnectTimeout: 5
`,
    "7:5: ssh.options.User can't be set here: set ssh.user, or user of the node",
    "8:5: ssh.options.port can't be set here: set port of the node",
    "9:5: ssh.options.HostName can't be set here: set host of the node",
    `10:5: ssh.options.BatchMode can't be set here: ${inConfigFile}`,
    `11:5: ssh.options.ControlPath can't be set here: ${inConfigFile}`,
    `12:5: ssh.options.RemoteCommand can't be set here: ${inConfigFile}`,
  ],
  'an ssh option is one line': [
    `${minimal}ssh:\n  options: { ProxyCommand: "nc\\nid" }\n`,
    '6:28: ssh.options.ProxyCommand "nc\\nid" has a control character',
  ],
  'ssh options are known ones, in letters of any case': [
    `${minimal}ssh:\n  options: { serverALIVEcountmax: 2, IDENTITYFILE: ./k, ConectTimeout: 1 }\n`,
    "6:57: ssh.options.ConectTimeout can't be set here: did you mean connecttimeout?",
  ],
  'the name of an ssh option is a word': [
    `${minimal}ssh:\n  options: { "Proxy Jump": a, ProxyJump=b: c }\n`,
    `6:14: ssh.options."Proxy Jump" can't be set here: did you mean proxyjump?`,
    `6:31: ssh.options."ProxyJump=b" can't be set here: did you mean proxyjump?`,
  ],
  'host keys are checked, however ssh is told not to': [
    `${minimal}ssh:\n  options: { StrictHostKeyChecking: no, stricthostkeychecking: false, STRICTHOSTKEYCHECKING: Off }\n`,
    '6:37: ssh.options.StrictHostKeyChecking "no" would trust any machine that answers: accept-new, yes or ask, or nothing',
    '6:64: ssh.options.stricthostkeychecking false would trust any machine that answers: accept-new, yes or ask, or nothing',
    '6:94: ssh.options.STRICTHOSTKEYCHECKING "Off" would trust any machine that answers: accept-new, yes or ask, or nothing',
  ],
  'nothing of this machine is given to a node, and known_hosts alone says whose key it is': [
    `${minimal}ssh:\n  options: { ForwardAgent: yes, SendEnv: "*", VerifyHostKeyDNS: yes, RemoteForward: 1 a:1, KnownHostsCommand: id }\n`,
    `6:14: ssh.options.ForwardAgent can't be set here: ${inConfigFile}`,
    `6:33: ssh.options.SendEnv can't be set here: ${inConfigFile}`,
    `6:47: ssh.options.VerifyHostKeyDNS can't be set here: ${inConfigFile}`,
    `6:70: ssh.options.RemoteForward can't be set here: ${inConfigFile}`,
    `6:92: ssh.options.KnownHostsCommand can't be set here: ${inConfigFile}`,
  ],
  'known hosts are kept in a file': [
    `${minimal}ssh:\n  options: { UserKnownHostsFile: /dev/null, userknownhostsfile: none, USERKNOWNHOSTSFILE: ./none_but_these }\n`,
    '6:34: ssh.options.UserKnownHostsFile "/dev/null" would trust any machine that answers: give a file',
    '6:65: ssh.options.userknownhostsfile "none" would trust any machine that answers: give a file',
  ],
  'two nodes have two names': [
    `${minimal}  - { name: c0, role: worker, ip: 10.0.0.3 }\n`,
    '5:13: nodes[1].name "c0" is the name of another node too',
  ],
  'two nodes have two addresses': [
    `${minimal}  - { name: w0, role: worker, ip: 10.0.0.2 }\n`,
    '5:35: nodes[1].ip "10.0.0.2" is given as an address already',
  ],
  'two spellings of an address are one address': [
    `${minimal}  - { name: w0, role: worker, ip: "fd00::1" }\n  - { name: w1, role: worker, ips: [10.0.0.3, "FD00:0:0:0::0001"] }\n`,
    '6:47: nodes[2].ips[1] "fd00::1" is given as an address already',
  ],
  'a node has an address': [
    edited(', ip: 10.0.0.2', ''),
    '4:5: nodes[0] has no address: give ip, or ips for dual-stack',
  ],
  'a node has ip or ips, not both': [
    edited('ip: 10.0.0.2', 'ip: 10.0.0.2, ips: [10.0.0.3]'),
    "4:51: nodes[0].ips can't be combined with ip: give one of the two",
  ],
  'a cluster has a control node': [edited('control', 'worker'), '3:1: nodes has no node with role: control'],
  "a node named as one of the cluster's own files would collide with it": [
    `${minimal}${[
      ...['ca', 'kubernetes', 'admin', 'kube-scheduler', 'kube-controller-manager'],
      ...['kube-proxy', 'service-account', 'encryption-config', 'c0-key'],
    ]
      .map((name, i) => `  - { name: ${name}, role: worker, ip: 10.0.1.${i} }\n`)
      .join('')}`,
    `5:13: nodes[1].name "ca" ${collides}`,
    `6:13: nodes[2].name "kubernetes" ${collides}`,
    `7:13: nodes[3].name "admin" ${collides}`,
    `8:13: nodes[4].name "kube-scheduler" ${collides}`,
    `9:13: nodes[5].name "kube-controller-manager" ${collides}`,
    `10:13: nodes[6].name "kube-proxy" ${collides}`,
    `11:13: nodes[7].name "service-account" ${collides}`,
    `12:13: nodes[8].name "encryption-config" ${collides}`,
    `13:13: nodes[9].name "c0-key" ${collides}`,
  ],
})
