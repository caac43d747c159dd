/** What the guide's chapter asks cfssl for, as data: the certificates, their subjects and hosts, in its order. */

export interface GuideNode {
  readonly name: string
  readonly role: 'control' | 'worker'
  readonly ip: string
}

/** cfssl's words for a kind of key; the chapter has RSA. */
export type RequestedKey = { readonly algo: 'rsa' | 'ecdsa'; readonly size: number }
export const rsa: RequestedKey = { algo: 'rsa', size: 2048 }

export interface Request {
  readonly CN: string
  readonly key: RequestedKey
  readonly names: readonly Readonly<Record<string, string>>[]
  readonly hosts?: readonly string[]
}

export function guideNodes(): GuideNode[] {
  const roles = ['control', 'worker'] as const
  return roles.flatMap((role, r) =>
    [0, 1, 2].map((i): GuideNode => ({ name: role + i, role, ip: `192.168.1.${11 + r * 3 + i}` })),
  )
}

/** The clients that are no nodes: their file names, and the users that their kubeconfigs name. */
export const components: Readonly<Record<string, string>> = {
  admin: 'admin',
  'kube-scheduler': 'system:kube-scheduler',
  'kube-controller-manager': 'system:kube-controller-manager',
  'kube-proxy': 'system:kube-proxy',
}

export const userOf = ({ name }: GuideNode): string => `system:node:${name}`

export function caRequest(key: RequestedKey = rsa): Request {
  return request('Kubernetes', 'Kubernetes', key)
}

/** Every request but the CA's, by the name of its files, in the order in which they are signed. */
export function requests(nodes: readonly GuideNode[], key: RequestedKey = rsa): Map<string, Request> {
  const ofNode = (node: GuideNode) => request(userOf(node), 'system:nodes', key, namesOf(node))
  return new Map([
    ['kubernetes', request('kubernetes', 'Kubernetes', key, apiHosts(nodes))],
    ['admin', request('admin', 'system:masters', key)],
    ['kube-scheduler', request('system:kube-scheduler', 'system:kube-scheduler', key)],
    ['kube-controller-manager', request('system:kube-controller-manager', 'system:kube-controller-manager', key)],
    ['kube-proxy', request('system:kube-proxy', 'system:node-proxier', key)],
    ['service-account', request('service-accounts', 'Kubernetes', key)],
    ...nodes.map((node): [string, Request] => [node.name, ofNode(node)]),
  ])
}

/** ca-config.json: ten years, for both sides of TLS. */
export const signingConfig = {
  signing: {
    default: { expiry: '87600h' },
    profiles: {
      kubernetes: { usages: ['signing', 'key encipherment', 'server auth', 'client auth'], expiry: '87600h' },
    },
  },
}

function request(CN: string, O: string, key: RequestedKey, hosts?: readonly string[]): Request {
  return { CN, key, names: [{ C: 'PL', L: 'Krakow', O, OU: 'kubenet', ST: 'Lesser Poland' }], ...(hosts && { hosts }) }
}

function namesOf({ name, ip }: GuideNode): string[] {
  return [name, `${name}.kubenet`, ip]
}

function apiHosts(nodes: readonly GuideNode[]): string[] {
  const inside = ['', '.default', '.default.svc', '.default.svc.cluster', '.default.svc.cluster.local']
  return [
    ...inside.map((suffix) => `kubernetes${suffix}`),
    '10.32.0.1',
    'kubernetes.kubenet',
    '192.168.1.21',
    ...nodes.filter(({ role }) => role === 'control').flatMap(namesOf),
    '127.0.0.1',
  ]
}
