/** Every certificate of the cluster, one row each: everything else is derived from the row. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { caName } from '../../lib/files/names.ts'
import { once } from '../../lib/files/plain-file.ts'
import type { CertSpec } from '../../lib/pki/cert-spec.ts'
import type { CertKind } from '../layouts/layout.ts'
import { layoutOf } from '../layouts/table.ts'

export interface CertRow extends Omit<CertKind, 'subject' | 'tolerated' | 'usages' | 'isCa' | 'sans'> {
  /** The id of the target that makes it. */
  readonly id: string
  readonly node?: string
  readonly profile: CertSpec
  readonly validity: number
  readonly dials: string
}

export const certTable = once<readonly CertRow[], Cluster>((cluster) => {
  const { certs, nodeCert, userCert } = layoutOf(cluster)
  return [
    ...certs.map((kind) => row(kind, cluster)),
    ...cluster.nodes.flatMap((node): CertRow[] => {
      const kind = nodeCert(node)
      return kind ? [{ ...row(kind, cluster), node: node.name }] : []
    }),
    ...cluster.users.map((user) => row(userCert(user), cluster)),
  ]
})

/** The rows of the certificates that the CA signs. */
export function issuedBy(cluster: Cluster, ca: string): CertRow[] {
  return certTable(cluster).filter(({ phase, issuer = caName }) => phase !== 'ca' && issuer === ca)
}

/** Of a worker and of a user, one each: what holds for it holds for all. */
export function anyones({ nodes, users }: Cluster): { readonly kind: 'worker' | 'user'; readonly name: string }[] {
  const [worker, user] = [nodes.find(({ role }) => role === 'worker'), users[0]]
  return [
    ...(worker ? [{ kind: 'worker', name: worker.name } as const] : []),
    ...(user ? [{ kind: 'user', name: user.name } as const] : []),
  ]
}

/** Whose identity is in the user's own kubeconfig. */
export function localHolder(cluster: Cluster): CertRow | undefined {
  const { localKubeconfig } = cluster
  const as = (localKubeconfig ? localKubeconfig.as : undefined) ?? layoutOf(cluster).files.names.admin
  return certTable(cluster).find(({ name }) => name === as)
}

/** For Target.wanted: the order of names means nothing. */
export function wantedValues({ profile, validity }: Pick<CertRow, 'profile' | 'validity'>): object {
  return { ...profile, sans: profile.sans.toSorted(), validity }
}

function row(kind: CertKind, cluster: Cluster): CertRow {
  const { subject, tolerated, sans, usages, validity, isCa, dials = cluster.api.host, ...use } = kind
  const { key, validity: usual } = cluster.certificates
  const isAlone = use.name === caName || use.phase === 'cluster-cert'
  return {
    ...use,
    id: isAlone ? use.phase : `${use.phase}/${use.name}`,
    profile: {
      subject: subject(cluster),
      tolerated: tolerated?.(cluster),
      sans: [...new Set(sans?.(cluster))],
      usages,
      isCa: use.phase === 'ca' || isCa === true,
      key,
    },
    validity: validity ?? usual,
    dials,
  }
}
