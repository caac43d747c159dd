/** Phase `kubeconfigs`: for each client of the API, its certificate, its key and the CA in one file. */
import { secretMode } from '../lib/auth-dir.ts'
import type { Cluster } from '../lib/cluster.ts'
import type { Target, Verdict } from '../lib/graph.ts'
import { type Access, compareKubeconfig, formatKubeconfig, serverUrl } from '../lib/kubeconfig.ts'
import { certificateFile, contentReason, keyFile, modeReason, repairModes } from '../lib/pair.ts'
import type { Workspace } from '../lib/workspace.ts'
import { type CertRow, certTable } from './cert-table.ts'
import { certTargetId } from './certs.ts'

export function kubeconfigTargets(cluster: Cluster): Target[] {
  return certTable(cluster)
    .filter(({ isClient }) => isClient)
    .map((row) => ({
      id: `kubeconfigs/${row.name}`,
      phase: 'kubeconfigs',
      ...(row.node !== undefined && { node: row.node }),
      needs: ['ca', certTargetId(row)],
      makes: [kubeconfigFile(row.name)],
      lane: 'cpu',
      check: (at) => check(at, row),
      build: async ({ auth, ...at }, { reasons }) => {
        if (!repairModes(auth, reasons))
          auth.write(kubeconfigFile(row.name), formatKubeconfig(readAccess({ auth, ...at }, row)), secretMode)
        return undefined
      },
    }))
}

const kubeconfigFile = (name: string): string => `${name}.kubeconfig`

function check(at: Workspace, row: CertRow): Verdict {
  const path = kubeconfigFile(row.name)
  const file = at.auth.read(path)
  const modes = modeReason(path, file, secretMode)
  // A dry run asks before the certificate is there.
  const changed =
    file?.kind === 'file' && isMade(at, row) ? compareKubeconfig(file.bytes.toString(), readAccess(at, row)) : []
  const reasons = contentReason(path, file, changed, 'kubeconfig')
  if (changed && changed.length > 0) reasons.push({ kind: 'content-changed', path, what: changed })
  if (reasons.length > 0) return { kind: 'stale', reasons: [...reasons, ...modes] }
  return modes.length > 0 ? { kind: 'stale', reasons: modes, repairOnly: true } : { kind: 'fresh' }
}

function isMade({ auth }: Workspace, { name }: CertRow): boolean {
  return ['ca.pem', certificateFile(name), keyFile(name)].every((file) => auth.read(file)?.kind === 'file')
}

export function readAccess({ auth, cluster }: Workspace, { name, profile }: CertRow): Access {
  return {
    cluster: cluster.name,
    server: serverUrl(cluster),
    user: profile.subject.CN,
    context: 'default',
    ca: auth.derive('ca.pem', ['ca.pem'], () => auth.bytes('ca.pem')),
    certificate: auth.bytes(certificateFile(name)),
    key: auth.bytes(keyFile(name)),
  }
}
