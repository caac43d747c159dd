/** A draft as the text of cluster.yaml, with what its reader has to know beside each line. Pure. */
import { stringify } from 'yaml'
import { keyKinds, providers } from '../../../lib/cluster/schema.ts'
import { type Draft, type DraftNode, plainNode } from './draft.ts'

/** `schema` is a path or an address for the editor: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema */
export function formatCluster(draft: Draft, schema: string): string {
  const { name, domain, subject, certificates, api, network, encryption, ssh, users, nodes } = draft
  return `# yaml-language-server: $schema=${encodeURI(schema)}
# Every key, its default and its rules: docs/cluster-yaml.md of harderway.
${line('name', name, 'of the cluster, in every kubeconfig')}
${line('domain', domain ?? name, 'nodes are also <node>.<domain>')}
subject: # of every certificate; can't be changed once there is a CA
${section(formatSubject(subject))}
certificates:
${section([
  line('key', certificates.key, `${keyKinds.join(' | ')}; can't be changed once there is a CA`),
  line('validity', certificates.validity, 'also 365d, 8760h'),
  line('caValidity', certificates.caValidity),
  line('renewBefore', certificates.renewBefore, 'with less than this left, a certificate is issued again'),
])}
api:
${section([
  line('host', api.host, 'https://<host>:<port> in every kubeconfig'),
  line('port', api.port),
  line('virtualIP', api.virtualIP, api.virtualIP === undefined ? 'MISSING: where the load balancer is' : ''),
  line('extraSANs', api.extraSANs, 'more names or addresses of the API'),
])}
network:
${section([
  line('serviceCIDR', network.serviceCIDR, "has to be kube-apiserver's --service-cluster-ip-range"),
  line('clusterDomain', network.clusterDomain),
])}
encryption: # of what is in etcd
${section([
  line(
    'provider',
    encryption.provider,
    `${providers.join(' | ')}; once there are Secrets, only rotate encryption-key changes it`,
  ),
  line('resources', encryption.resources),
])}
ssh: # aliases, ports and jump hosts are those of your ssh configuration
${section([
  line('user', ssh.user),
  ssh.configFile === undefined ? '# configFile: ./ssh_config # ssh -F' : line('configFile', ssh.configFile, 'ssh -F'),
  line('directory', ssh.directory, 'where files go on a node'),
])}
# localKubeconfig: false # else the admin is entered into your own kubeconfig, as its current context
# install: guide # on to where the guide's units read the files; restarts what has to be: docs/install.md
${formatUsers(users)}
nodes:
${section(nodes.map(formatNode))}
`
}

function formatSubject(subject: Draft['subject']): string[] {
  const open = Object.entries(subject).flatMap(([key, value]) => (value === undefined ? [key] : []))
  return [
    ...Object.entries(subject).flatMap(([key, value]) => (value === undefined ? [] : [line(key, value)])),
    ...(open.length > 0 ? [`# also: ${open.join(', ')}`] : []),
  ]
}

function formatUsers(users: Draft['users']): string {
  return users.length > 0
    ? `users: # besides admin\n${section(users.map((user) => `- ${text(user)}`))}`
    : '# users: # besides admin\n#   - { name: jane, groups: [devs], validity: 90d }'
}

function formatNode(node: DraftNode): string {
  const plain = plainNode(node)
  return node.ips.length > 0
    ? `- ${text(plain)}`
    : `- ${text({ ...plain, ip: null })} # MISSING: the address of ${node.name}`
}

/** What `formatCluster` left blank in this text. */
export function findMissing(text: string): { line: number; what: string }[] {
  return text.split('\n').flatMap((each, i) => {
    const [, what] = / # MISSING: (.*)$/.exec(each) ?? []
    return what === undefined ? [] : [{ line: i + 1, what }]
  })
}

function section(lines: readonly string[]): string {
  return lines.map((each) => `  ${each}`).join('\n')
}

function line(key: string, value: unknown, note = ''): string {
  return [`${key}:`, text(value), note && `# ${note}`].filter(Boolean).join(' ')
}

/** On one line. */
function text(value: unknown): string {
  if (value === undefined) return ''
  const flowCollectionPadding = !Array.isArray(value)
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding, lineWidth: 0, nullStr: '' }).trim()
}
