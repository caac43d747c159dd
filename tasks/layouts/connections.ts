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
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { caName, frontProxyCaName } from '../../lib/files/auth-dir.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import type { Identity } from '../../lib/pki/handshake.ts'
import { apiServer, type EtcdNames } from './layout.ts'
import { frontProxyClient } from './shared.ts'
import { anyones, type CertRow, certTable, controlsOf, etcdOf, layoutOf } from './tables.ts'

export interface ConnectionRow {
  readonly id: string
  readonly node?: string | undefined
  /** `name`: of the client's certificate. `in`: whether its own files or its kubeconfig are used. */
  readonly client:
    | { readonly name: string; readonly in: 'files' | 'kubeconfig' }
    | 'nobody'
    | 'of another CA'
    | 'expired'
  readonly server: string
  readonly to: string
  /** The CA whose certificates the server wants, and that clients trust: by default the cluster's. */
  readonly ca?: string | undefined
  /** The CA that the client trusts, where the client trusts another. */
  readonly trusts?: string | undefined
  readonly dialled: readonly string[]
  /** The server refuses unknown clients, as etcd does; any other server treats them as anonymous. */
  readonly strict?: boolean
  /** Who the client must be for the server; undefined for an anonymous one. */
  readonly expected: Identity | 'refused' | undefined
  readonly tolerated?: readonly Identity[]
  readonly notice?: string
}

type Server = Pick<ConnectionRow, 'to' | 'server' | 'ca' | 'strict'>

interface Ends {
  readonly cluster: Cluster
  readonly certs: ReadonlyMap<string, CertRow>
  readonly admin: string
  readonly etcd: EtcdNames | undefined
  readonly api: Server
  readonly kubelets: readonly ClusterNode[]
  readonly controls: readonly string[]
}

export function connectionTable(cluster: Cluster): ConnectionRow[] {
  const { names } = layoutOf(cluster).files
  const certs = new Map(certTable(cluster).map((row) => [row.name, row]))
  const ends: Ends = {
    cluster,
    certs,
    admin: names.admin,
    etcd: etcdOf(cluster),
    api: { to: apiServer, server: names.api },
    kubelets: cluster.nodes.filter(({ name }) => certs.has(name)),
    controls: controlsOf(cluster).flatMap(({ ips }) => ips),
  }
  return [
    ...(ends.etcd ? toEtcd(ends, ends.etcd) : []),
    ...toKubelets(ends),
    ...fromKubeconfigs(ends),
    ...(cluster.aggregation ? fromFrontProxy(ends) : []),
    ...withoutCertificate(ends),
    ...fromStrangers(ends),
  ]
}

const etcdEnd = ({ server, ca }: EtcdNames): Server => ({ to: 'etcd', server, ca, strict: true })

function clientOf({ certs }: Ends, name: string) {
  const row = certs.get(name)
  return { client: { name, in: 'files' }, expected: row && identityIn(row.profile.subject) } as const
}

function toEtcd(ends: Ends, etcd: EtcdNames): ConnectionRow[] {
  const { cluster, admin, api, controls } = ends
  const row = (id: string, name: string, dialled: readonly string[]): ConnectionRow => ({
    ...{ ...etcdEnd(etcd), id: `etcd/${id}`, ...clientOf(ends, name), dialled },
  })
  const isShared = etcd.ca === caName
  const others = [
    ...anyones(cluster),
    { kind: 'admin', name: admin },
    ...(isShared ? [] : [{ kind: 'api-server-itself', name: api.server }]),
  ]
  const result = isShared
    ? { notice: 'etcd grants full access to any certificate of this CA' }
    : { expected: 'refused' as const }
  return [
    row('peers', etcd.server, controls),
    row('api-server', etcd.client, ['127.0.0.1', ...controls]),
    ...others.map(({ kind, name }) => ({ ...row(kind, name, controls.slice(0, 1)), ...result })),
  ]
}

function toKubelets(ends: Ends): ConnectionRow[] {
  return ends.kubelets.map(({ name, ips }) => ({
    id: `kubelets/${name}`,
    node: name,
    to: `the kubelet of ${name}`,
    server: name,
    ...clientOf(ends, ends.api.server),
    dialled: [name, ...ips].filter((each) => ends.certs.get(name)?.profile.sans.includes(each)),
  }))
}

function fromKubeconfigs({ cluster, certs, admin, api }: Ends): ConnectionRow[] {
  const clients = [...certs.values()].filter(({ isClient }) => isClient)
  return clients.map(({ name, node, phase, dials, profile }) => ({
    ...api,
    id: `clients/${name}`,
    node,
    client: { name, in: 'kubeconfig' },
    // People connect through the load balancer too.
    dialled: [dials, ...(name === admin || phase === 'user-certs' ? outsideNames(cluster) : [])],
    expected: identityIn(profile.subject),
    tolerated: profile.tolerated?.map(identityIn) ?? [],
  }))
}

/** Names of the API outside the cluster, where a virtual IP is in front of the API servers. */
function outsideNames({ api: { host, virtualIP }, domain }: Cluster): string[] {
  if (!virtualIP) return []
  return [...(addressBytes(host) ? [] : [`${host}.${domain}`]), virtualIP]
}

function fromFrontProxy(ends: Ends): ConnectionRow[] {
  const { cluster, admin, api } = ends
  const row = (name: string): ConnectionRow => ({
    ...{ ...api, ca: frontProxyCaName, trusts: caName, strict: true },
    ...{ id: `front-proxy/${name}`, ...clientOf(ends, name), dialled: [cluster.api.host] },
  })
  const others = [...anyones(cluster).map(({ name }) => name), admin, api.server]
  return [
    { ...row(frontProxyClient), notice: 'may act as any user and group' },
    ...others.map((name) => ({ ...row(name), expected: 'refused' as const })),
  ]
}

/** A pod presents a token instead of a certificate; a gateway checks whether each API server is healthy. */
function withoutCertificate({ cluster, api, controls }: Ends): ConnectionRow[] {
  const anonymous = { ...api, client: 'nobody', expected: undefined } as const
  const gateways = cluster.nodes.filter(({ role }) => role === 'gateway')
  return [
    { ...anonymous, id: 'clients/pods', dialled: layoutOf(cluster).serviceSans(cluster.network) },
    ...gateways.map(({ name }) => ({ ...anonymous, id: `clients/${name}`, node: name, dialled: controls })),
  ]
}

function fromStrangers({ cluster, etcd, api, kubelets, controls }: Ends): ConnectionRow[] {
  const servers: (Server & Pick<ConnectionRow, 'id' | 'dialled'>)[] = [
    ...(etcd ? [{ ...etcdEnd(etcd), id: 'etcd', dialled: controls.slice(0, 1) }] : []),
    { ...api, id: 'api-server', dialled: [cluster.api.host] },
    ...kubelets.slice(0, 1).map(({ name }) => ({ to: 'kubelets', server: name, id: 'kubelet', dialled: [name] })),
  ]
  const clients = ['nobody', 'of another CA', 'expired'] as const
  const rows = servers.flatMap(({ id, ...server }) =>
    clients.map(
      (client): ConnectionRow => ({
        ...{ ...server, client, id: `strangers/${id}-${client.replaceAll(' ', '-').toLowerCase()}` },
        expected: server.strict ? 'refused' : undefined,
      }),
    ),
  )
  const wrongName = { id: 'strangers/name-not-in-sans', dialled: ['elsewhere.invalid'], expected: 'refused' } as const
  return [...rows, { ...api, ...wrongName, client: { name: api.server, in: 'files' } }]
}

function identityIn({ CN, O }: Subject): Identity {
  return { user: CN, groups: [O ?? []].flat() }
}
