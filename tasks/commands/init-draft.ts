/**
 * A cluster.yaml before it is text, and what the files of an auth/ show of the cluster that they were made for. Reads
 * only.
 */

import { readFileSync } from 'node:fs'
import * as v from 'valibot'
import { stringify } from 'yaml'
import { addressBytes, firstAddress, isInside, tryCidr } from '../../lib/address.ts'
import type { ClusterNode, LayoutName } from '../../lib/cluster/cluster.ts'
import { isMap, map } from '../../lib/cluster/problem.ts'
import { clusterSchema, usualLayout } from '../../lib/cluster/schema.ts'
import {
  AuthDir,
  authorizationConfigFile,
  caName,
  etcdCaName,
  frontProxyCaName,
  kubeconfigFile,
} from '../../lib/files/auth-dir.ts'
import { nodeUser, readRevoked } from '../../lib/kubernetes/authorization.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, isIssuedBy, keyKindOf, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatDuration, hour, parseDuration } from '../../lib/wording.ts'
import type { Layout } from '../layouts/layout.ts'
import { encryptionConfig, layouts } from '../layouts/tables.ts'
import { refuseNewer } from '../run/command-run.ts'
import { packageFile } from '../run/host.ts'

export interface DraftNode {
  readonly name: string
  /** Undefined if it has to be filled in. */
  readonly role?: ClusterNode['role'] | undefined
  /** For ssh, if it is not the name. */
  readonly host?: string | undefined
  readonly ips: readonly string[]
  readonly sans: readonly string[]
}

/** As certificates show it. */
type FoundNode = DraftNode & Pick<ClusterNode, 'role'>

export interface ClusterDraft {
  readonly name: string
  readonly layout: LayoutName
  readonly domain: string | undefined
  readonly subject: Readonly<Record<string, string | undefined>>
  readonly certificates: Readonly<Record<'key' | 'validity' | 'caValidity' | 'renewBefore', string>>
  readonly api: Readonly<{ host: string; port: number; virtualIP: string | undefined; extraSANs: readonly string[] }>
  readonly network: Readonly<{ serviceCIDR: string | undefined; clusterDomain: string }>
  readonly encryption: Readonly<{ provider: string; resources: readonly string[] }>
  /** Where it has one of its own. */
  readonly etcd?: Readonly<{ ca: 'own' }>
  /** Where it has one. */
  readonly aggregation?: true
  readonly ssh: Readonly<{ user: string | undefined; configFile: string | undefined; directory: string }>
  /**
   * Without units nothing is installed and nobody becomes root; with units, their files are looked at before any is
   * made anew.
   */
  readonly install: true
  readonly users: readonly Readonly<{ name: string; groups: readonly string[]; validity: string }>[]
  /** Without one the entry of kubectl has the user `admin`, as that of every cluster. */
  readonly localKubeconfig?: Readonly<{ user: string }>
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

function plainNode({ ips: [ip, ...more], host, sans, ...node }: DraftNode) {
  return {
    ...node,
    ...(more.length > 0 ? { ips: [ip, ...more] } : { ip }),
    ...(host !== undefined && { host }),
    ...(sans.length > 0 && { sans }),
  }
}

/** As the YAML would be parsed. */
export function plainCluster(draft: ClusterDraft): object {
  return { ...draft, nodes: draft.nodes.map(plainNode) }
}

/** What only the user knows where the draft has no value, by its key. */
const missing: ReadonlyMap<string, string> = new Map([
  ['virtualIP', 'the address of the load balancer'],
  ['serviceCIDR', 'the --service-cluster-ip-range of kube-apiserver'],
  ['user', 'the user that ssh logs in as; a node may have a user of its own'],
])

/**
 * The commented cluster.yaml of the guide with the values of the draft; what it doesn't know is commented out, or
 * missing. `schema` is a path or an address for the editor:
 * https://github.com/redhat-developer/yaml-language-server#using-inlined-schema
 */
export function formatCluster({ nodes, users, revoked, ...draft }: ClusterDraft, schema: string): string {
  const { layout, name, domain = name } = draft
  const { without } = layouts[layout]
  const top = map({ ...draft, domain, layout: layout === usualLayout ? undefined : layout })
  let section = ''
  const withValue = (line: string): string[] => {
    const [, indent = '', key = '', note = ''] = /^( {2})?(?:# )?(\w+):.*?( # .*)?$/.exec(line) ?? []
    if (indent === '' && key === 'localKubeconfig' && draft.localKubeconfig)
      return [
        `${key}: ${text(draft.localKubeconfig)} # add as: jane, and kubectl acts as jane of users; false: no entry`,
      ]
    if (indent === '' && line.startsWith('#')) return [line.replace(/(?<=\$schema=).*/, () => encodeURI(schema))]
    if (indent === '') section = key
    const value = indent === '' ? top[key] : map(top[section])[key]
    if (isMap(value)) return [`${key}:${note}`]
    if (value !== undefined) return [`${indent}${key}: ${text(value)}${note}`]
    if (indent === '' || !top[section] || without.has(`${section}.${key}`)) return []
    const what = missing.get(key)
    return [what === undefined ? `  # ${key}:${note}` : `  ${key}: # MISSING: ${what}`]
  }
  const [sample = ''] = readFileSync(packageFile('cluster.yaml'), 'utf8').split(/^nodes:/m)
  return [
    ...sample.trimEnd().split('\n').flatMap(withValue),
    ...(users.length > 0
      ? ['users: # besides admin', ...users.map((user) => `  - ${text(user)}`)]
      : [
          '# users: # besides admin',
          '#   - { name: joe, groups: [devs], validity: 90d }',
          '#   - { name: jane, validity: 90d } # for localKubeconfig: { as: jane }: docs/everyday.md',
        ]),
    ...(revoked ? [`revoked: ${text(revoked)} # API servers deny these: docs/everyday.md`] : []),
    'nodes:',
    ...nodes.map((node) => {
      const unknown = {
        ...(node.role === undefined && { role: `the role of ${node.name} (control, worker or gateway)` }),
        ...(node.ips.length === 0 && { ip: `the address of ${node.name}` }),
      }
      const blank = Object.fromEntries(Object.keys(unknown).map((key) => [key, null]))
      const what = Object.values(unknown).join('; ')
      return `  - ${text({ ...plainNode(node), ...blank }).replaceAll(':,', ': ,')}${what && ` # MISSING: ${what}`}`
    }),
    '',
  ].join('\n')
}

/** On one line. */
function text(value: unknown): string {
  const flowCollectionPadding = !Array.isArray(value)
  return stringify(value, { collectionStyle: 'flow', flowCollectionPadding, lineWidth: 0, nullStr: '' }).trim()
}

/** The layouts by whose names there is a CA's certificate. */
export function layoutsIn(path: string): Layout[] {
  return Object.values(layouts).filter(({ files }) => new AuthDir(path, files).read(files.certificate(caName)))
}

/** Undefined if it has no CA certificate. What the files do not show has its default. */
export function adopt(path: string, layout: Layout): ClusterDraft | undefined {
  const { certs, files } = layout
  const auth = new AuthDir(path, files)
  refuseNewer(auth)
  const clients = certs.flatMap(({ name, isClient, dials }) => (isClient && dials === undefined ? [name] : []))
  const ownNames = new Set(certs.map(({ name }) => name))
  const all = readAll(auth)
  const ca = all.get(caName)
  if (!ca) return undefined
  // Whatever else lies there is none of the cluster's.
  const cas = ownCas(auth)
  const named = [...all]
    .filter(([name, certificate]) => name === caName || cas.some((each) => isIssuedBy(certificate, each)))
    .map(([name, certificate]) => ({ name, certificate, sans: certificate.sans }))
  const own = named.filter(({ name }) => ownNames.has(name))
  const nodes = named.filter(({ name, certificate }) => valuesOf(certificate, 'CN')[0] === nodeUser(name))
  // Other certificates may be anything: a user has a kubeconfig too.
  const users = named.filter(
    ({ name, certificate }) =>
      !ownNames.has(name) && valuesOf(certificate, 'CN')[0] === name && auth.read(kubeconfigFile(name)),
  )
  const server = [...clients, ...nodes.map(({ name }) => name)].flatMap(
    (name) => readServer(textOf(auth, kubeconfigFile(name))) ?? [],
  )[0]
  const leaves = [...own.filter(({ name }) => name !== caName), ...nodes]
  const draft = newDraft(server?.cluster ?? 'kubernetes', layout)
  const config = auth.tryBytes(encryptionConfig.file)
  const encryption = config && readEncryptionConfig(config)
  return {
    ...draft,
    subject: readSubject(ca, layout),
    certificates: {
      key: keyKindOf(ca.publicKey),
      ...readValidity({ ca: hoursOf(ca), leaves: leaves.map(hoursIn), users: users.map(hoursIn) }, draft.certificates),
    },
    ...readApiNames(layout, draft, { server, sans: all.get(files.names.api)?.sans ?? [], nodes }),
    encryption: encryption ? { provider: encryption.provider, resources: encryption.resources } : draft.encryption,
    ...(all.has(etcdCaName) && !layout.without.has('etcd.ca') && { etcd: { ca: 'own' } }),
    ...(all.has(frontProxyCaName) && { aggregation: true }),
    ...readList(auth),
    users: users.map(({ name, certificate }) => ({
      name,
      groups: valuesOf(certificate, 'O'),
      validity: format(hoursOf(certificate)),
    })),
  }
}

/** Whom it cuts off, so that nobody is let in again by a lost cluster.yaml. */
function readList(auth: AuthDir): Pick<ClusterDraft, 'revoked'> {
  const revoked = readRevoked(textOf(auth, authorizationConfigFile))
  return revoked ? { revoked: revoked.names } : {}
}

function readAll(auth: AuthDir): ReadonlyMap<string, Certificate> {
  const found = auth.names().flatMap((file): [string, Certificate][] => {
    const { kind, name = '' } = auth.files.parse(file) ?? {}
    const bytes = kind === 'certificate' ? auth.tryBytes(file) : undefined
    const certificate = bytes && readCertificate(bytes)
    return certificate ? [[name, certificate]] : []
  })
  return new Map(found)
}

function textOf(auth: AuthDir, file: string): string {
  return auth.tryBytes(file)?.toString() ?? ''
}

function valuesOf({ attributes }: Certificate, name: string): string[] {
  return attributes.filter((each) => each.startsWith(`${name}=`)).map((each) => each.slice(name.length + 1))
}

const subjectKeys = { country: 'C', state: 'ST', locality: 'L', organization: 'O', organizationalUnit: 'OU' }

function readSubject(ca: Certificate, { without }: Layout): ClusterDraft['subject'] {
  const keys = Object.entries(subjectKeys).filter(([key]) => !without.has(`subject.${key}`))
  return Object.fromEntries(keys.map(([key, name]) => [key, valuesOf(ca, name)[0]]))
}

/** Leaves that were limited by their CA's expiry are valid for less than was requested: the longest counts. */
function readValidity(
  { ca, leaves, users }: { readonly ca: number; readonly leaves: readonly number[]; readonly users: readonly number[] },
  usual: ClusterDraft['certificates'],
) {
  const longest = Math.max(...(leaves.length > 0 ? leaves : [ca]))
  const shortest = Math.min(longest, ca, ...users)
  return {
    validity: leaves.length > 0 ? format(longest) : usual.validity,
    caValidity: format(ca),
    // It must be shorter than each of them.
    renewBefore: shortest * hour > parseDuration(usual.renewBefore) ? usual.renewBefore : format(shortest / 3),
  }
}

/** To the hour: a CA and its leaves are not issued in the same second. */
function hoursOf({ notBefore, notAfter }: Certificate): number {
  return Math.round((notAfter.getTime() - notBefore.getTime()) / hour)
}

const hoursIn = ({ certificate }: { readonly certificate: Certificate }) => hoursOf(certificate)

/** `10y`, `400d` or `36h`. */
function format(hours: number): string {
  return formatDuration(Math.max(1, Math.floor(hours)) * hour)
}

interface ApiNames {
  /** As in the kubeconfigs. */
  readonly server: { readonly host: string; readonly port: number } | undefined
  /** The SANs of the API server's certificate. */
  readonly sans: readonly string[]
  /** With the SANs of their own certificates. */
  readonly nodes: readonly { readonly name: string; readonly sans: readonly string[] }[]
}

const service = 'kubernetes.default.svc'

export function readApiNames(
  layout: Layout,
  draft: ClusterDraft,
  { server, sans, nodes: found }: ApiNames,
): Pick<ClusterDraft, 'domain' | 'api' | 'network' | 'nodes'> {
  const { host, port } = server ?? draft.api
  const guess = layout.guess({ host, sans })
  const domain = guess.domain ?? readDomain(found) ?? draft.domain ?? draft.name
  const nodes: FoundNode[] = [
    ...(guess.control === undefined ? [] : [{ name: guess.control, role: 'control' as const, ips: [], sans: [] }]),
    ...found.map((node) => readNode(layout, node, { domain, api: sans })),
  ]
  const clusterDomain = readClusterDomain(sans) ?? draft.network.clusterDomain
  const serviceCIDRs = readServiceRange(draft, [...sans, ...nodes.flatMap(({ ips }) => ips)])
  const network = { serviceCIDRs, clusterDomain }
  const usual = new Set(layout.apiSans({ domain, api: { host, virtualIP: host, extraSANs: [] }, network, nodes }))
  const left = sans.filter((san) => !usual.has(san) && isName(san))
  const hasBalancer = !layout.without.has('api.virtualIP')
  // Of several addresses, any may be the load balancer's.
  const [only, ...more] = left.filter(addressBytes)
  const balancer = hasBalancer && serviceCIDRs.length > 0 && more.length === 0 ? only : undefined
  return {
    domain,
    api: {
      host,
      port,
      // If kubeconfigs name the API by an address, that is the load balancer's.
      virtualIP: balancer ?? (hasBalancer && addressBytes(host) ? host : undefined),
      extraSANs: left.filter((san) => san !== balancer),
    },
    network: { serviceCIDR: serviceCIDRs.length > 0 ? draft.network.serviceCIDR : undefined, clusterDomain },
    nodes,
  }
}

/** The domain that follows the name of each node. */
function readDomain(nodes: ApiNames['nodes']): string | undefined {
  const domainsOf = ({ name, sans }: ApiNames['nodes'][number]) =>
    sans.filter((san) => san.startsWith(`${name}.`)).map((san) => san.slice(name.length + 1))
  const [first, ...others] = nodes.map(domainsOf)
  return first?.find((domain) => others.every((each) => each.includes(domain)))
}

/**
 * A control node is one that the API server's certificate names; its addresses are those that the certificate has too.
 */
function readNode(
  { nodeSans }: Layout,
  { name, sans }: ApiNames['nodes'][number],
  { domain, api }: { readonly domain: string; readonly api: readonly string[] },
): FoundNode {
  const isControl = api.includes(name)
  const isOwn = (ips: readonly string[], san: string) => nodeSans({ name, ips }, domain).includes(san)
  const ips = sans.filter(
    (san) => !isOwn([], san) && isOwn([san], san) && addressBytes(san) && (!isControl || api.includes(san)),
  )
  const own = new Set(nodeSans({ name, ips }, domain))
  return { name, role: isControl ? 'control' : 'worker', ips, sans: sans.filter((san) => !own.has(san) && isName(san)) }
}

/** The guide's range, if the certificate has its first address: of another it doesn't show the prefix length. */
function readServiceRange({ network }: ClusterDraft, sans: readonly string[]) {
  const range = tryCidr(network.serviceCIDR ?? '')
  const inside = range ? sans.filter((san) => addressBytes(san) && isInside(san, range)) : []
  return range && inside.length > 0 && inside.every((san) => san === firstAddress(range)) ? [range] : []
}

function readClusterDomain(sans: readonly string[]): string | undefined {
  const domains = sans.filter((san) => san.startsWith(`${service}.`)).map((san) => san.slice(service.length + 1))
  return domains.find((domain) => domain !== 'cluster')
}

/** A SAN that is not a DNS name begins with its type; cluster.yaml can't express it. */
function isName(san: string): boolean {
  return addressBytes(san) !== undefined || !san.includes(':')
}
