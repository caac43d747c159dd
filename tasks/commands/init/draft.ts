/** A cluster.yaml before it is text: what is not known yet is undefined. Pure. */
import * as v from 'valibot'
import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { clusterSchema } from '../../../lib/cluster/schema.ts'

export interface DraftNode {
  readonly name: string
  readonly role: ClusterNode['role']
  /** For ssh, where that is not the name. */
  readonly host?: string | undefined
  /** Who logs in there, where that is not ssh.user. */
  readonly user?: string | undefined
  readonly ips: readonly string[]
  readonly sans: readonly string[]
}

export interface Draft {
  readonly name: string
  readonly domain: string | undefined
  readonly subject: Readonly<Record<'country' | 'state' | 'locality' | 'organization' | 'organizationalUnit', Text>>
  readonly certificates: Readonly<Record<'key' | 'validity' | 'caValidity' | 'renewBefore', string>>
  readonly api: Readonly<{ host: string; port: number; virtualIP: Text; extraSANs: readonly string[] }>
  readonly network: Readonly<{ serviceCIDR: string | readonly string[]; clusterDomain: string }>
  readonly encryption: Readonly<{ provider: string; resources: readonly string[] }>
  readonly ssh: Readonly<{ user: string; directory: string; configFile: Text }>
  readonly users: readonly Readonly<{ name: string; groups: readonly string[]; validity: string }>[]
  readonly nodes: readonly DraftNode[]
}

type Text = string | undefined

/** With every default of cluster.yaml. */
export function newDraft(name: string): Draft {
  const { subject, certificates, api, network, encryption, ssh } = clusterSchema.entries
  return {
    name,
    domain: undefined,
    subject: v.getDefaults(subject.wrapped),
    certificates: v.getDefaults(certificates.wrapped),
    api: v.getDefaults(api),
    network: v.getDefaults(network.wrapped),
    encryption: v.getDefaults(encryption.wrapped),
    ssh: v.getDefaults(ssh.wrapped),
    users: [],
    nodes: [],
  }
}

/** As it stands in cluster.yaml. */
export function plainNode({ name, role, host, user, ips, sans }: DraftNode) {
  const [ip, ...more] = ips
  return {
    name,
    role,
    ...(more.length > 0 ? { ips } : { ip }),
    ...(host !== undefined && { host }),
    ...(user !== undefined && { user }),
    ...(sans.length > 0 && { sans }),
  }
}

/** As YAML would be read. */
export function plainCluster({ nodes, ssh: { user, configFile, directory }, ...draft }: Draft): object {
  return { ...draft, ssh: { user, configFile, directory }, nodes: nodes.map(plainNode) }
}
