/**
 * Every connection of a cluster, a row each: client and server, what each presents and trusts, and what is to come of
 * it.
 */
import { addressBytes } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/auth-dir.ts'
import type { Subject } from '../../lib/pki/certificate.ts'
import type { Identity } from '../../lib/pki/handshake.ts'
import { apiServer, type EtcdNames } from './layout.ts'
import { frontProxy } from './shared.ts'
import { anyones, type CertRow, certTable, layoutOf } from './tables.ts'

/** Who connects to whom. */
export interface ConnectionRow {
  readonly id: string
  readonly node?: string | undefined
  /** By its file name; `in`: whether its own files or its kubeconfig are used. */
  readonly client:
    | { readonly name: string; readonly in: 'files' | 'kubeconfig' }
    | 'nobody'
    | 'of another CA'
    | 'expired'
  /** By its file name. */
  readonly server: string
  /** The server, in words. */
  readonly to: string
  /** The CA that the server asks its clients for, and that they trust: by default that of the cluster. */
  readonly ca?: string | undefined
  /** The CA that the client trusts, where it is another. */
  readonly trusts?: string | undefined
  /** Every name and address that is dialled. */
  readonly dialled: readonly string[]
  /** etcd refuses unknown clients; the others treat them as anonymous. */
  readonly strict?: boolean
  /** No run reaches it: what it has read once, it may use for as long as that is valid. */
  readonly keepsOld?: 'client' | 'server'
  /** Undefined: the client is anonymous. */
  readonly expected: Identity | 'refused' | undefined
  /** Others that are as good. */
  readonly tolerated?: readonly Identity[]
  /** What is to be known of it, though it is right. */
  readonly notice?: string
}

export function connectionTable(cluster: Cluster): ConnectionRow[] {
  const { nodes, api: endpoint, network } = cluster
  const layout = layoutOf(cluster)
  const { api, admin } = layout.files.names
  const { etcd: names } = layout
  const isShared = names?.ca === caName
  const etcd = { to: 'etcd', server: names?.server ?? '', ca: names?.ca, strict: true }
  const toApi = { to: apiServer, server: api }
  const kubelets = nodes.filter((node) => layout.nodeCert(node))
  const members = nodes.filter(({ role }) => role === 'control').flatMap(({ ips }) => ips)
  const byApi: ConnectionRow['client'] = { name: api, in: 'files' }
  const identities = new Map(certTable(cluster).map(({ name, profile }) => [name, identityIn(profile.subject)]))
  const sans = new Map(certTable(cluster).map(({ name, profile }) => [name, profile.sans]))
  const seenApi = identities.get(api)
  const strangers = (
    id: string,
    to: Pick<ConnectionRow, 'to' | 'server' | 'ca' | 'strict' | 'dialled'>,
  ): ConnectionRow[] =>
    (['nobody', 'of another CA', 'expired'] as const).map((client) => ({
      ...to,
      id: `strangers/${id}-${client.replaceAll(' ', '-').toLowerCase()}`,
      client,
      expected: to.strict ? 'refused' : undefined,
    }))
  const [kubelet] = kubelets
  const gateways = nodes.filter(({ role }) => role === 'gateway')
  const { virtualIP } = endpoint
  const outside = virtualIP
    ? [...(addressBytes(endpoint.host) ? [] : [`${endpoint.host}.${cluster.domain}`]), virtualIP]
    : []
  const toEtcd = ({ server, client }: EtcdNames): ConnectionRow[] => [
    { ...etcd, ...clientOfEtcd(server), id: 'etcd/peers', dialled: members },
    { ...etcd, ...clientOfEtcd(client), id: 'etcd/api-server', dialled: ['127.0.0.1', ...members] },
  ]
  const clientOfEtcd = (name: string) => ({ client: { name, in: 'files' } as const, expected: identities.get(name) })
  const clients = certTable(cluster).filter(({ isClient }) => isClient)
  const isHandedOut = ({ name, phase }: CertRow) => name === admin || phase === 'user-certs'
  const notice = 'etcd grants full access to any certificate of this CA'
  const others = [
    ...anyones(cluster),
    { kind: 'admin', name: admin },
    ...(isShared ? [] : [{ kind: 'api-server-itself', name: api }]),
  ].map(({ kind, name }): ConnectionRow => {
    const row = { ...etcd, ...clientOfEtcd(name), id: `etcd/${kind}`, dialled: members.slice(0, 1) }
    return isShared ? { ...row, notice } : { ...row, expected: 'refused' }
  })
  const proxied = [frontProxy.client, ...anyones(cluster).map(({ name }) => name), admin, api].map(
    (name, i): ConnectionRow => ({
      ...{ ...toApi, id: `front-proxy/${name}`, client: { name, in: 'files' }, dialled: [endpoint.host] },
      ...{ ca: frontProxy.ca, trusts: caName, strict: true },
      expected: i === 0 ? identities.get(name) : 'refused',
      ...(i === 0 && { notice: 'may act as any user and group' }),
    }),
  )
  // They read the CA from a ConfigMap, some only once; what they serve is for their APIService to say, so it is the API
  // server's.
  const aggregated = proxied.slice(0, 1).map(
    (row): ConnectionRow => ({
      ...row,
      id: 'front-proxy/aggregated-apis',
      to: 'aggregated APIs',
      keepsOld: 'server',
    }),
  )
  return [
    ...(names ? [...toEtcd(names), ...others] : []),
    ...kubelets.map(
      ({ name, ips }): ConnectionRow => ({
        id: `kubelets/${name}`,
        node: name,
        client: byApi,
        to: `the kubelet of ${name}`,
        server: name,
        dialled: [name, ...ips].filter((each) => sans.get(name)?.includes(each)),
        expected: seenApi,
      }),
    ),
    ...clients.map(
      (row): ConnectionRow => ({
        id: `clients/${row.name}`,
        node: row.node,
        client: { name: row.name, in: 'kubeconfig' },
        ...toApi,
        // It is handed out, and copied.
        ...(isHandedOut(row) && { keepsOld: 'client' }),
        // People connect through the load balancer too.
        dialled: [row.dials, ...(isHandedOut(row) ? outside : [])],
        expected: identities.get(row.name),
        tolerated: row.profile.tolerated?.map(identityIn) ?? [],
      }),
    ),
    ...(cluster.aggregation ? [...proxied, ...aggregated] : []),
    // A pod presents a token instead of a certificate.
    {
      ...{ ...toApi, id: 'clients/pods', client: 'nobody', keepsOld: 'client' },
      ...{ dialled: layout.serviceSans(network), expected: undefined },
    },
    // It checks whether each API server is healthy.
    ...gateways.map(
      ({ name }): ConnectionRow => ({
        ...{ ...toApi, id: `clients/${name}`, node: name, client: 'nobody', dialled: members, expected: undefined },
      }),
    ),
    ...(names ? strangers('etcd', { ...etcd, dialled: members.slice(0, 1) }) : []),
    ...strangers('api-server', { ...toApi, dialled: [endpoint.host] }),
    ...(kubelet ? strangers('kubelet', { to: 'kubelets', server: kubelet.name, dialled: [kubelet.name] }) : []),
    {
      id: 'strangers/name-not-in-sans',
      client: byApi,
      ...toApi,
      dialled: ['elsewhere.invalid'],
      expected: 'refused',
    },
  ]
}

function identityIn({ CN, O }: Subject): Identity {
  return { user: CN, groups: [O ?? []].flat() }
}
