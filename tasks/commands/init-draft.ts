/** A cluster.yaml before it is text: unknown values are undefined. Pure. */
import * as v from 'valibot'
import { stringify } from 'yaml'
import type { ClusterNode, LayoutName } from '../../lib/cluster/cluster.ts'
import { map } from '../../lib/cluster/problem.ts'
import { clusterSchema, keyKinds, providers, usualLayout } from '../../lib/cluster/schema.ts'
import type { Layout } from '../layouts/layout.ts'
import { layouts } from '../layouts/tables.ts'

export interface DraftNode {
  readonly name: string
  readonly role: ClusterNode['role']
  /** For ssh, if it is not the name. */
  readonly host?: string | undefined
  /** The user who logs in there, if it is not ssh.user. */
  readonly user?: string | undefined
  readonly ips: readonly string[]
  readonly sans: readonly string[]
}

export interface ClusterDraft {
  readonly name: string
  readonly layout: LayoutName
  readonly domain: string | undefined
  readonly subject: Readonly<Record<string, string | undefined>>
  readonly certificates: Readonly<Record<'key' | 'validity' | 'caValidity' | 'renewBefore', string>>
  readonly api: Readonly<{ host: string; port: number; virtualIP: string | undefined; extraSANs: readonly string[] }>
  readonly network: Readonly<{ serviceCIDR: string | readonly string[]; clusterDomain: string }>
  readonly encryption: Readonly<{ provider: string; resources: readonly string[] }>
  /** Where it has one of its own. */
  readonly etcd?: Readonly<{ ca: 'own' }>
  /** Where it has one. */
  readonly aggregation?: true
  readonly ssh: Readonly<{ user: string; configFile: string | undefined; directory: string }>
  /** Without units nothing is installed and nobody becomes root; with units, their files are looked at before any is made anew. */
  readonly install: true
  readonly users: readonly Readonly<{ name: string; groups: readonly string[]; validity: string }>[]
  /** Where there is a list. */
  readonly revoked?: readonly string[]
  readonly nodes: readonly DraftNode[]
}

/** With every default of cluster.yaml. */
export function newDraft(name: string, { name: layout, defaults }: Layout): ClusterDraft {
  const { subject, certificates, api, network, encryption, ssh } = clusterSchema.entries
  const { user, directory } = { ...v.getDefaults(ssh.wrapped), ...map(defaults.ssh) }
  return {
    name,
    layout,
    domain: defaults.domain as string | undefined,
    subject: (defaults.subject as ClusterDraft['subject']) ?? v.getDefaults(subject.wrapped),
    certificates: { ...v.getDefaults(certificates.wrapped), ...map(defaults.certificates) },
    api: { ...v.getDefaults(api.wrapped), ...map(defaults.api) },
    network: { ...v.getDefaults(network.wrapped), ...map(defaults.network) },
    encryption: v.getDefaults(encryption.wrapped),
    ssh: { user, configFile: undefined, directory },
    install: true,
    users: [],
    nodes: [],
  }
}

function plainNode({ ips: [ip, ...more], host, user, sans, ...node }: DraftNode) {
  return {
    ...node,
    ...(more.length > 0 ? { ips: [ip, ...more] } : { ip }),
    ...(host !== undefined && { host }),
    ...(user !== undefined && { user }),
    ...(sans.length > 0 && { sans }),
  }
}

/** As the YAML would be parsed. */
export function plainCluster(draft: ClusterDraft): object {
  return { ...draft, nodes: draft.nodes.map(plainNode) }
}

const forGood = "can't be changed once there is a CA"
/** What stands beside a key; that of a section itself is under ''. */
const notes: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  name: { '': 'of the cluster, in every kubeconfig' },
  domain: { '': 'nodes are also <node>.<domain>' },
  subject: { '': `of every certificate; ${forGood}` },
  certificates: {
    key: `${keyKinds.join(' | ')}; ${forGood}`,
    validity: 'also 365d, 8760h; with 1y a daily run (schedule) reissues each after 335 days; without one they expire',
    renewBefore: 'with less than this left, a certificate is issued again',
  },
  api: { host: 'https://<host>:<port> in every kubeconfig', extraSANs: 'more names or addresses of the API' },
  network: { serviceCIDR: "has to be kube-apiserver's --service-cluster-ip-range" },
  encryption: {
    '': 'of what is in etcd',
    provider: `${providers.join(' | ')}; once there are Secrets, only rotate encryption-key changes it`,
  },
  ssh: {
    '': 'aliases, ports and jump hosts are those of your ssh configuration',
    configFile: 'ssh -F',
    directory: 'where files go on a node',
  },
  install: {
    '': "copies files to where the guide's units read them, and restarts units: docs/install.md; false leaves both to you",
  },
  users: { '': 'besides admin' },
  revoked: { '': 'cut off: docs/cluster-yaml.md' },
}

/** `schema` is a path or an address for the editor: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema */
export function formatCluster(
  { nodes, users, revoked, layout, install, aggregation, ...draft }: ClusterDraft,
  schema: string,
): string {
  const { guide, without } = layouts[layout]
  const section = (name: string, values: object): string[] => {
    const own = Object.entries(values).filter(([key, value]) => value !== undefined || !without.has(`${name}.${key}`))
    return [
      line(name, undefined),
      ...own.map(([key, value]) => {
        if (name === 'api' && key === 'virtualIP' && value === undefined)
          return `  ${key}: # MISSING: where the load balancer is`
        return `  ${value === undefined ? '# ' : ''}${line(key, value, notes[name]?.[key] ?? '')}`
      }),
    ]
  }
  const { name, domain = name, ...sections } = draft
  return [
    `# yaml-language-server: $schema=${encodeURI(schema)}`,
    '# Every key, its default and its rules: docs/cluster-yaml.md of harderway.',
    line('name', name),
    ...(layout === usualLayout ? [] : [`layout: ${layout} # ${guide}`]),
    line('domain', domain),
    ...Object.entries(sections).flatMap(([key, values]) => section(key, values)),
    '# localKubeconfig: { as: jane } # kubectl acts as jane of users, not as the admin, whom RBAC can take nothing; false: not at all',
    ...(aggregation ? [line('aggregation', aggregation)] : []),
    line('install', install),
    ...(users.length > 0
      ? [line('users', undefined), ...users.map((user) => `  - ${text(user)}`)]
      : [
          `# ${line('users', undefined)}`,
          '#   - { name: joe, groups: [devs], validity: 90d }',
          '#   - { name: jane, validity: 90d } # an admin by a ClusterRoleBinding, which the run prints: without it she has no rights',
        ]),
    ...(revoked ? [line('revoked', revoked)] : []),
    'nodes:',
    ...nodes.map((node) => {
      const plain = plainNode(node)
      return node.ips.length > 0
        ? `  - ${text(plain)}`
        : `  - ${text({ ...plain, ip: null })} # MISSING: the address of ${node.name}`
    }),
    '',
  ].join('\n')
}

function line(key: string, value: unknown, note = notes[key]?.['']): string {
  return [`${key}:`, text(value), note && `# ${note}`].filter(Boolean).join(' ')
}

/** On one line. */
function text(value: unknown): string {
  if (value === undefined) return ''
  const flowCollectionPadding = !Array.isArray(value)
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding, lineWidth: 0, nullStr: '' }).trim()
}
