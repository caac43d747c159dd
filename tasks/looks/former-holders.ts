/** Machines that have a certificate in auth/ and no place in cluster.yaml any more; what is on them stays there. */
import { kubeconfigFile, pairFiles, parseFileName } from '../../lib/files/names.ts'
import { readCertificate } from '../../lib/pki/certificate.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { certTable } from '../tables/certs.ts'

/** A sentence for each. */
export function formerNodes({ auth, cluster }: Workspace): string[] {
  const known = new Set(certTable(cluster).map(({ name }) => name))
  return auth.names().flatMap((file) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    if (kind !== 'certificate' || known.has(name) || !isNodeCertificate(name, auth.tryBytes(file))) return []
    const held = [...pairFiles(name), kubeconfigFile(name)].filter((each) => auth.tryBytes(each))
    return [
      `${name} is no longer in cluster.yaml: it and ${auth.path} still hold ${held.join(', ')}, which are valid until they expire`,
    ]
  })
}

function isNodeCertificate(name: string, pem: Buffer | undefined): boolean {
  return readCertificate(pem ?? '')?.attributes.includes(`CN=system:node:${name}`) === true
}
