/** Machines and people with a certificate in auth/ that are no longer in cluster.yaml: they keep what they hold. */
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import type { Run } from '../../lib/graph/target.ts'
import { formatEntries, nodeUser } from '../../lib/kubernetes/authorization.ts'
import { readClientCertificate } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, endOf, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { formatDate } from '../../lib/wording.ts'
import { certTable } from '../layouts/tables.ts'

/** One sentence that names them, if there are any, and where their removal is described. */
export function noteOnFormerHolders({ auth, cluster, now }: Pick<Run, 'auth' | 'cluster' | 'now'>): string[] {
  const { revoked } = cluster
  const known = new Set([...certTable(cluster).map(({ name }) => name), ...(revoked ?? [])])
  const ca = tryCertificate(auth, caName)
  const names = new Set(auth.names().flatMap((file) => auth.files.parse(file)?.name ?? []))
  const former = [...names].flatMap((name) => {
    if (known.has(name)) return []
    const certificate = tryCertificate(auth, name) ?? certificateInKubeconfig(auth, name)
    if (!certificate) return []
    const { attributes, isCa } = certificate
    const isUser = !isCa && attributes.includes(`CN=${name}`) && ca && isIssuedBy(certificate, ca)
    if (!isUser && !attributes.includes(`CN=${nodeUser(name)}`)) return []
    const end = endOf(certificate, ownCas(auth))
    // No list cuts off who has every right.
    const isListable = !attributes.includes('O=system:masters')
    return [{ name, end, isListable, when: `${end <= now ? 'expired since' : 'valid until'} ${formatDate(end)}` }]
  })
  const [one, ...more] = former
  if (!one) return []
  const list = former.map(({ name, when }) => `${name} (${when})`).join(', ')
  const found =
    more.length > 0
      ? `these need no certificate now, and auth/ still has theirs: ${list}`
      : `${one.name} needs no certificate now; the one it had is ${one.when}`
  // A node that is a gateway by now has its name still.
  const inUse = new Set(cluster.nodes.map(({ name }) => name))
  const held = former.filter(({ name, end, isListable }) => end > now && isListable && !inUse.has(name))
  const entries = formatEntries(
    cluster,
    held.map(({ name }) => name),
  )
  const line = held.length > 0 ? `; cut off now by this line in cluster.yaml: ${entries}` : ''
  return [`${found}; what to do: docs/cluster-yaml.md, "A node or user that was removed"${line}`]
}

/** If the certificate itself was removed, and the kubeconfig was not. */
function certificateInKubeconfig(auth: AuthDir, name: string): Certificate | undefined {
  const text = tryTo(() => auth.tryBytes(kubeconfigFile(name)))
  const pem = text && readClientCertificate(text.toString())
  return pem && readCertificate(pem)
}
