/** Connections in the cluster, one row each: the client's file, the names dialled, the identity that the server sees. */
import { addressBytes } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/names.ts'
import type { Subject } from '../../lib/pki/cert-spec.ts'
import type { Identity } from '../../lib/pki/handshake.ts'
import type { EtcdNames } from '../layouts/layout.ts'
import { layoutOf } from '../layouts/table.ts'
import { anyones, certTable } from './certs.ts'

export interface HandshakeRow {
  readonly id: string
  readonly node?: string | undefined
  /** By its file name; `in`: whether its own files or its kubeconfig are used. */
  readonly client:
    | { readonly name: string; readonly in: 'files' | 'kubeconfig' }
    | 'nobody'
    | 'of another CA'
    | 'expired'
  readonly server: string
  /** The CA that the server asks its clients for, and that they trust: by default that of the cluster. */
  readonly ca?: string | undefined
  /** Every name and address that is dialled. */
  readonly dialled: readonly string[]
  /** etcd refuses unknown clients; the others treat them as anonymous. */
  readonly strict?: boolean
  /** Undefined: the client is anonymous. */
  readonly expected: Identity | 'refused' | undefined
  /** Others that are as good. */
  readonly tolerated?: readonly Identity[]
  /** What is to be known of it, though it is right. */
  readonly notice?: string
}

export function handshakeTable(cluster: Cluster): HandshakeRow[] {
  const { nodes, api: endpoint, network } = cluster
  const layout = layoutOf(cluster)
  const { api, admin } = layout.files.names
  const { etcd: names } = layout
  const isShared = names?.ca === caName
  const etcd = { server: names?.server ?? '', ca: names?.ca, strict: true }
  const kubelets = nodes.filter((node) => layout.nodeCert(node))
  const members = nodes.filter(({ role }) => role === 'control').flatMap(({ ips }) => ips)
  const apiServer: HandshakeRow['client'] = { name: api, in: 'files' }
  const identities = new Map(certTable(cluster).map(({ name, profile }) => [name, identityIn(profile.subject)]))
  const sans = new Map(certTable(cluster).map(({ name, profile }) => [name, profile.sans]))
  const seenApi = identities.get(api)
  const strangers = (id: string, to: Pick<HandshakeRow, 'server' | 'ca' | 'strict' | 'dialled'>): HandshakeRow[] =>
    (['nobody', 'of another CA', 'expired'] as const).map((client) => ({
      ...to,
      id: `strangers/${id}-${client.replaceAll(' ', '-').toLowerCase()}`,
      client,
      expected: to.strict ? 'refused' : undefined,
    }))
  const [kubelet] = kubelets
  const { virtualIP } = endpoint
  const outside = virtualIP
    ? [...(addressBytes(endpoint.host) ? [] : [`${endpoint.host}.${cluster.domain}`]), virtualIP]
    : []
  const toEtcd = ({ server, client }: EtcdNames): HandshakeRow[] => [
    { ...etcd, ...clientOfEtcd(server), id: 'etcd/peers', dialled: members },
    { ...etcd, ...clientOfEtcd(client), id: 'etcd/api-server', dialled: ['127.0.0.1', ...members] },
  ]
  const clientOfEtcd = (name: string) => ({ client: { name, in: 'files' } as const, expected: identities.get(name) })
  const clients = certTable(cluster).filter(({ isClient }) => isClient)
  const notice = 'etcd asks for any certificate of this CA: with it all of etcd is read and written'
  const others = [
    ...anyones(cluster),
    { kind: 'admin', name: admin },
    ...(isShared ? [] : [{ kind: 'api-server-itself', name: api }]),
  ].map(({ kind, name }): HandshakeRow => {
    const row = { ...etcd, ...clientOfEtcd(name), id: `etcd/${kind}`, dialled: members.slice(0, 1) }
    return isShared ? { ...row, notice } : { ...row, expected: 'refused' }
  })
  return [
    ...(names ? [...toEtcd(names), ...others] : []),
    ...kubelets.map(
      ({ name, ips }): HandshakeRow => ({
        id: `kubelets/${name}`,
        node: name,
        client: apiServer,
        server: name,
        dialled: [name, ...ips].filter((each) => sans.get(name)?.includes(each)),
        expected: seenApi,
      }),
    ),
    ...clients.map(
      ({ name, node, phase, dials, profile }): HandshakeRow => ({
        id: `clients/${name}`,
        node,
        client: { name, in: 'kubeconfig' },
        server: api,
        // People connect through the load balancer too.
        dialled: [dials, ...(name === admin || phase === 'user-certs' ? outside : [])],
        expected: identities.get(name),
        tolerated: profile.tolerated?.map(identityIn) ?? [],
      }),
    ),
    // A pod presents a token instead of a certificate.
    { id: 'clients/pods', client: 'nobody', server: api, dialled: layout.serviceSans(network), expected: undefined },
    ...(names ? strangers('etcd', { ...etcd, dialled: members.slice(0, 1) }) : []),
    ...strangers('api-server', { server: api, dialled: [endpoint.host] }),
    ...(kubelet ? strangers('kubelet', { server: kubelet.name, dialled: [kubelet.name] }) : []),
    {
      id: 'strangers/name-not-in-sans',
      client: apiServer,
      server: api,
      dialled: ['elsewhere.invalid'],
      expected: 'refused',
    },
  ]
}

function identityIn({ CN, O }: Subject): Identity {
  return { user: CN, groups: [O ?? []].flat() }
}
