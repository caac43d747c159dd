/** A cluster.yaml before it is text: unknown values are undefined. */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { dirname, join } from 'node:path'
import * as v from 'valibot'
import { stringify } from 'yaml'
import type { ClusterNode, LayoutName } from '../../lib/cluster/cluster.ts'
import { isMap, map } from '../../lib/cluster/problem.ts'
import { clusterSchema, usualLayout } from '../../lib/cluster/schema.ts'
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

/** Beside package.json. */
export const packageFile = (name: string) => join(dirname(String(findPackageJSON(import.meta.url))), name)

/**
 * The commented cluster.yaml of the guide with the values of the draft; what it doesn't know is commented out, or missing.
 * `schema` is a path or an address for the editor: https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
 */
export function formatCluster({ nodes, users, revoked, ...draft }: ClusterDraft, schema: string): string {
  const { layout, name, domain = name } = draft
  const { without } = layouts[layout]
  const top = map({ ...draft, domain, layout: layout === usualLayout ? undefined : layout })
  let section = ''
  const withValue = (line: string): string[] => {
    const [, indent = '', key = '', note = ''] = /^( {2})?(?:# )?(\w+):.*?( # .*)?$/.exec(line) ?? []
    if (indent === '' && line.startsWith('#')) return [line.replace(/(?<=\$schema=).*/, () => encodeURI(schema))]
    if (indent === '') section = key
    const value = indent === '' ? top[key] : map(top[section])[key]
    if (isMap(value)) return [`${key}:${note}`]
    if (value !== undefined) return [`${indent}${key}: ${text(value)}${note}`]
    if (indent === '' || !top[section] || without.has(`${section}.${key}`)) return []
    return [key === 'virtualIP' ? `  ${key}: # MISSING: where the load balancer is` : `  # ${key}:${note}`]
  }
  const [sample = ''] = readFileSync(packageFile('cluster.yaml'), 'utf8').split(/^nodes:/m)
  return [
    ...sample.trimEnd().split('\n').flatMap(withValue),
    ...(users.length > 0
      ? ['users: # besides admin', ...users.map((user) => `  - ${text(user)}`)]
      : [
          '# users: # besides admin',
          '#   - { name: joe, groups: [devs], validity: 90d }',
          '#   - { name: jane, validity: 90d } # an admin by a ClusterRoleBinding, which the run prints: without it she has no rights',
        ]),
    ...(revoked ? [`revoked: ${text(revoked)} # cut off: docs/cluster-yaml.md`] : []),
    'nodes:',
    ...nodes.map((node) => {
      const isKnown = node.ips.length > 0
      const plain = text({ ...plainNode(node), ...(!isKnown && { ip: null }) })
      return `  - ${plain}${isKnown ? '' : ` # MISSING: the address of ${node.name}`}`
    }),
    '',
  ].join('\n')
}

/** On one line. */
function text(value: unknown): string {
  const flowCollectionPadding = !Array.isArray(value)
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding, lineWidth: 0, nullStr: '' }).trim()
}
