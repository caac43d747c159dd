/** Who has a certificate in auth/ and no place in cluster.yaml any more: what machines and people hold stays with them. */
import { tryTo } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { caName, kubeconfigFile, pairFiles, parseFileName } from '../../lib/files/names.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { readClientCertificate } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { formatDate, quote } from '../../lib/wording.ts'
import { certTable, nodeUser } from '../tables/certs.ts'

/** A sentence or two for each. */
export function formerHolders({
  auth,
  cluster,
  now,
  command,
}: Pick<Workspace, 'auth' | 'cluster' | 'now' | 'command'>): string[] {
  const known = new Set(certTable(cluster).map(({ name }) => name))
  const ca = tryCertificate(auth, caName)
  const files = auth.names()
  const names = new Set(files.flatMap((file) => parseFileName(file)?.name ?? []))
  return [...names].flatMap((name) => {
    const certificate = known.has(name)
      ? undefined
      : (tryCertificate(auth, name) ?? certificateInKubeconfig(auth, name))
    if (!certificate) return []
    const role = cluster.nodes.find((node) => node.name === name)?.role
    const gone = role ? `${name} is a ${role} now, and has no certificate` : `${name} is no longer in cluster.yaml`
    const held = [...pairFiles(name), kubeconfigFile(name)].filter((each) => files.includes(each))
    if (certificate.attributes.includes(`CN=${nodeUser(name)}`))
      return [formerNode({ name, gone, held, auth: auth.path, now, rotation: command('rotate ca') }, certificate)]
    if (!ca || certificate.isCa || !certificate.attributes.includes(`CN=${name}`) || !isIssuedBy(certificate, ca))
      return []
    if (certificate.notAfter <= now)
      return [`${gone}: ${held.join(', ')} in ${auth.path} expired on ${formatDate(certificate.notAfter)}`]
    return [`${gone}: ${held.join(', ')} in ${auth.path}, and every copy of them, ${whatRemains(name, certificate)}`]
  })
}

/** Where the certificate itself was taken away, and this was not. */
function certificateInKubeconfig(auth: AuthDir, name: string): Certificate | undefined {
  const text = tryTo(() => auth.tryBytes(kubeconfigFile(name)))
  const pem = text && readClientCertificate(text.toString())
  return pem && readCertificate(pem)
}

interface Former {
  readonly name: string
  /** That it is, in words. */
  readonly gone: string
  readonly held: readonly string[]
  readonly auth: string
  readonly now: Date
  /** To type. */
  readonly rotation: string
}

/** What is on it is not looked at: it may be gone, or another's. */
function formerNode({ name, gone, held, auth, now, rotation }: Former, { notAfter }: Certificate): string {
  const until = notAfter <= now ? 'expired on' : 'are valid until'
  return [
    `${gone}: ${held.join(', ')} in ${auth}, and what it still holds of them, ${until} ${formatDate(notAfter)}.`,
    `Take them away where it runs, and here: rm ${held.map((file) => quote(`${auth}/${file}`)).join(' ')};`,
    `and from the cluster: kubectl delete node ${name}.`,
    `If it was a control node, it also holds the keys of the CA, the service accounts and stored Secrets: wipe it, or ${rotation}`,
  ].join(' ')
}

/** Of a person: Kubernetes reads no list of revoked certificates, so that only RBAC can be cut. */
function whatRemains(name: string, { attributes, notAfter }: Certificate): string {
  const groups = attributes.filter((attribute) => attribute.startsWith('O=')).map((attribute) => attribute.slice(2))
  const bound = new Intl.ListFormat('en').format([name, ...groups])
  const search = [name, ...groups].map((subject) => `-e ${quote(subject)}`).join(' ')
  return [
    `are good until ${formatDate(notAfter)}, since nothing revokes a certificate before it expires.`,
    `Until then, take away in RBAC what is bound to ${bound}${groups.length > 0 ? ' (who stays needs another group)' : ''}:`,
    `kubectl get rolebindings,clusterrolebindings -A -o wide | grep -wF ${search}`,
  ].join(' ')
}
