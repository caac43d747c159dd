/**
 * Every connection of a cluster, a row each: client and server, what each presents and trusts, and what must come of
 * the connection. The server wants a certificate of the CA in the third column.
 *
 *   client                                     server                         CA           must be
 *   -----------------------------------------  -----------------------------  -----------  -------------------------
 *   members of etcd, API servers               etcd                           etcd's       accepted
 *   a worker, a user, the admin                etcd that shares the CA        cluster's    accepted, with a notice
 *   these, and API servers as servers          etcd with a CA of its own      etcd's       refused
 *   API servers                                kubelets                       cluster's    accepted
 *   whoever has a kubeconfig                   API servers                    cluster's    accepted
 *   the front proxy                            API servers                    front-proxy  accepted, as any user
 *   a worker, a user, the admin, API servers   API servers, as front proxies  front-proxy  refused
 *   pods and gateways, without a certificate   API servers                    cluster's    anonymous
 *   strangers: without a certificate, of       etcd                           etcd's       refused
 *     another CA of that name, or expired      API servers, kubelets          cluster's    anonymous
 *   API servers, to a name that is no SAN      API servers                    cluster's    refused
 */
import { addressBytes } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import type { Identity } from '../../lib/pki/handshake.ts'
import { apiServer, type EtcdNames, type Layout } from './layout.ts'
import { frontProxy } from './shared.ts'
import { anyones, type CertRow, certTable, layoutOf } from './tables.ts'

/** Who connects to whom. */
export interface ConnectionRow {
  readonly id: string
  readonly node?: string | undefined
  /** `name`: of the client's certificate. `in`: whether its own files or its kubeconfig are used. */
  readonly client:
    | { readonly name: string; readonly in: 'files' | 'kubeconfig' }
    | 'nobody'
    | 'of another CA'
    | 'expired'
  /** The name of the server's certificate. */
  readonly server: string
  /** The server, in words. */
  readonly to: string
  /** The CA whose certificates the server wants, and that clients trust: by default the cluster's. */
  readonly ca?: string | undefined
  /** The CA that the client trusts, where the client trusts another. */
  readonly trusts?: string | undefined
  /** Every name and address that is dialled. */
  readonly dialled: readonly string[]
  /** The server refuses unknown clients, as etcd does; any other server treats them as anonymous. */
  readonly strict?: boolean
  /** Who the client must be for the server; undefined for an anonymous one. */
  readonly expected: Identity | 'refused' | undefined
  /** Identities that are accepted in place of the expected one. */
  readonly tolerated?: readonly Identity[]
  /** What the user should know of a connection, even one that is as expected. */
  readonly notice?: string
}

type ServerEnd = Pick<ConnectionRow, 'to' | 'server' | 'ca' | 'strict'>

/** What rows are made of. */
interface Tables {
  readonly cluster: Cluster
  readonly layout: Layout
  readonly certs: ReadonlyMap<string, CertRow>
  /** The addresses of the control nodes, where etcd and the API servers are. */
  readonly controls: readonly string[]
}

export function connectionTable(cluster: Cluster): ConnectionRow[] {
  const tables: Tables = {
    cluster,
    layout: layoutOf(cluster),
    certs: new Map(certTable(cluster).map((row) => [row.name, row])),
    controls: cluster.nodes.filter(({ role }) => role === 'control').flatMap(({ ips }) => ips),
  }
  return [
    ...toEtcd(tables),
    ...toKubelets(tables),
    ...fromKubeconfigs(tables),
    ...(cluster.aggregation ? fromFrontProxy(tables) : []),
    ...withoutCertificate(tables),
    ...fromStrangers(tables),
  ]
}

const etcdEnd = ({ server, ca }: EtcdNames): ServerEnd => ({ to: 'etcd', server, ca, strict: true })
const apiEnd = ({ layout }: Tables): ServerEnd => ({ to: apiServer, server: layout.files.names.api })

function toEtcd(tables: Tables): ConnectionRow[] {
  const { cluster, layout, controls } = tables
  const { etcd, files } = layout
  if (!etcd) return []
  const { admin, api } = files.names
  const row = (id: string, name: string, dialled: readonly string[]): ConnectionRow => ({
    ...etcdEnd(etcd),
    id: `etcd/${id}`,
    client: { name, in: 'files' },
    dialled,
    expected: identityOf(tables, name),
  })
  const isShared = etcd.ca === caName
  const result = isShared
    ? { notice: 'etcd grants full access to any certificate of this CA' }
    : { expected: 'refused' as const }
  const others = [
    ...anyones(cluster),
    { kind: 'admin', name: admin },
    ...(isShared ? [] : [{ kind: 'api-server-itself', name: api }]),
  ]
  return [
    row('peers', etcd.server, controls),
    row('api-server', etcd.client, ['127.0.0.1', ...controls]),
    ...others.map(({ kind, name }) => ({ ...row(kind, name, controls.slice(0, 1)), ...result })),
  ]
}

function toKubelets(tables: Tables): ConnectionRow[] {
  const { certs, layout } = tables
  const { api } = layout.files.names
  return kubelets(tables).map(({ name, ips }) => ({
    id: `kubelets/${name}`,
    node: name,
    client: { name: api, in: 'files' },
    to: `the kubelet of ${name}`,
    server: name,
    dialled: [name, ...ips].filter((each) => certs.get(name)?.profile.sans.includes(each)),
    expected: identityOf(tables, api),
  }))
}

const kubelets = ({ cluster, layout }: Tables) => cluster.nodes.filter((node) => layout.nodeCert(node))

function fromKubeconfigs(tables: Tables): ConnectionRow[] {
  const { cluster, layout } = tables
  const isHandedOut = ({ name, phase }: CertRow) => name === layout.files.names.admin || phase === 'user-certs'
  return certTable(cluster)
    .filter(({ isClient }) => isClient)
    .map((row) => ({
      ...apiEnd(tables),
      id: `clients/${row.name}`,
      node: row.node,
      client: { name: row.name, in: 'kubeconfig' },
      // People connect through the load balancer too.
      dialled: [row.dials, ...(isHandedOut(row) ? outsideNames(cluster) : [])],
      expected: identityOf(tables, row.name),
      tolerated: row.profile.tolerated?.map(identityIn) ?? [],
    }))
}

/** Names of the API outside the cluster, where a virtual IP is in front of the API servers. */
function outsideNames({ api: { host, virtualIP }, domain }: Cluster): string[] {
  if (!virtualIP) return []
  return [...(addressBytes(host) ? [] : [`${host}.${domain}`]), virtualIP]
}

function fromFrontProxy(tables: Tables): ConnectionRow[] {
  const { cluster, layout } = tables
  const { admin, api } = layout.files.names
  const refused = (name: string): ConnectionRow => ({
    ...{ ...apiEnd(tables), ca: frontProxy.ca, trusts: caName, strict: true },
    ...{ id: `front-proxy/${name}`, client: { name, in: 'files' }, dialled: [cluster.api.host] },
    expected: 'refused',
  })
  const { client } = frontProxy
  const proxy = {
    ...refused(client),
    expected: identityOf(tables, client),
    notice: 'may act as any user and group',
  }
  return [proxy, ...[...anyones(cluster).map(({ name }) => name), admin, api].map(refused)]
}

/** A pod presents a token instead of a certificate; a gateway checks whether each API server is healthy. */
function withoutCertificate(tables: Tables): ConnectionRow[] {
  const { cluster, layout, controls } = tables
  const anonymous = { ...apiEnd(tables), client: 'nobody', expected: undefined } as const
  const gateways = cluster.nodes.filter(({ role }) => role === 'gateway')
  return [
    { ...anonymous, id: 'clients/pods', dialled: layout.serviceSans(cluster.network) },
    ...gateways.map(({ name }) => ({ ...anonymous, id: `clients/${name}`, node: name, dialled: controls })),
  ]
}

function fromStrangers(tables: Tables): ConnectionRow[] {
  const { cluster, layout, controls } = tables
  const { etcd, files } = layout
  const [kubelet] = kubelets(tables)
  return [
    ...(etcd ? strangersTo(etcdEnd(etcd), 'etcd', controls.slice(0, 1)) : []),
    ...strangersTo(apiEnd(tables), 'api-server', [cluster.api.host]),
    ...(kubelet ? strangersTo({ to: 'kubelets', server: kubelet.name }, 'kubelet', [kubelet.name]) : []),
    {
      ...apiEnd(tables),
      id: 'strangers/name-not-in-sans',
      client: { name: files.names.api, in: 'files' },
      dialled: ['elsewhere.invalid'],
      expected: 'refused',
    },
  ]
}

function strangersTo(end: ServerEnd, id: string, dialled: readonly string[]): ConnectionRow[] {
  return (['nobody', 'of another CA', 'expired'] as const).map((client) => ({
    ...end,
    id: `strangers/${id}-${client.replaceAll(' ', '-').toLowerCase()}`,
    client,
    dialled,
    expected: end.strict ? 'refused' : undefined,
  }))
}

function identityOf({ certs }: Tables, name: string): Identity | undefined {
  const row = certs.get(name)
  return row && identityIn(row.profile.subject)
}

function identityIn({ CN, O }: Subject): Identity {
  return { user: CN, groups: [O ?? []].flat() }
}
