/** The user's own kubeconfig, as kubectl would read it. */
import { tryTo } from '../../lib/failure.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { findEntry, readKubeconfigs } from '../../lib/kubernetes/kubeconfig-files.ts'

/** What kubectl would use as our user against our cluster; undefined where it is not all there. */
export function readLocalPair({ cluster, kubeconfigs }: Pick<Workspace, 'cluster' | 'kubeconfigs'>) {
  if (!cluster.localKubeconfig) return undefined
  const files = kubeconfigs().flatMap((path) => tryTo(() => readKubeconfigs([path])) ?? [])
  const find = (list: 'clusters' | 'users', name: string, field: string) => {
    const data = findEntry(files, list, name)?.[field]
    return typeof data === 'string' ? Buffer.from(data, 'base64') : undefined
  }
  const { user } = cluster.localKubeconfig
  const [ca, certificate, key] = [
    find('clusters', cluster.name, 'certificate-authority-data'),
    find('users', user, 'client-certificate-data'),
    find('users', user, 'client-key-data'),
  ]
  return ca && certificate && key && { ca, certificate, key }
}
