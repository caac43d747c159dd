/** Phase `kubeconfigs`: for each client of the API, its certificate, its key and the CA in one file. */

import type { Cluster } from '../../lib/cluster/cluster.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { type Access, compareKubeconfig, formatKubeconfig, serverUrl } from '../../lib/kubernetes/kubeconfig.ts'
import { certificateFile, keyFile } from '../../lib/pki/pair.ts'
import type { Target, Verdict } from '../../lib/targets/graph.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { type CertRow, certTable } from '../tables/certs.ts'
import { certTargetId } from './certs.ts'

export function kubeconfigTargets(cluster: Cluster): Target[] {
  return certTable(cluster)
    .filter(({ isClient }) => isClient)
    .map((row) => ({
      id: `kubeconfigs/${row.name}`,
      phase: 'kubeconfigs',
      node: row.node,
      needs: ['ca', certTargetId(row)],
      makes: [kubeconfigFile(row.name)],
      purpose: 'its kubeconfig',
      usedBy: row.usedBy,
      lane: 'cpu',
      check: (at) => check(at, row),
      build: async (at) => {
        at.auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess(at, row)), secretMode)
        return undefined
      },
    }))
}

const kubeconfigFile = (name: string): string => `${name}.kubeconfig`

function check(at: Workspace, row: CertRow): Verdict {
  const path = kubeconfigFile(row.name)
  // A dry run asks before the certificate is there.
  const compare = (bytes: Buffer) =>
    hasAccess(at, row) ? compareKubeconfig(bytes.toString(), readAccess(at, row)) : []
  const { value: what = [], reasons } = at.auth.judge(path, secretMode, 'kubeconfig', compare)
  return { reasons: what.length > 0 ? [...reasons, { kind: 'content-changed', path, what }] : reasons }
}

/** Whether everything is there that a kubeconfig is made of. */
export function hasAccess({ auth }: Workspace, { name }: CertRow): boolean {
  return [certificateFile('ca'), certificateFile(name), keyFile(name)].every((file) => auth.tryBytes(file))
}

export function readAccess({ auth, cluster }: Workspace, { name, profile }: CertRow): Access {
  return {
    cluster: cluster.name,
    server: serverUrl(cluster),
    user: profile.subject.CN,
    context: 'default',
    ca: auth.bytes(certificateFile('ca')),
    certificate: auth.bytes(certificateFile(name)),
    key: auth.bytes(keyFile(name)),
  }
}
