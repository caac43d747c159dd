/** The files in auth/ of nodes and users that cluster.yaml no longer has: a run moves them to auth/backup. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { backUp, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { usersOf } from '../../lib/kubernetes/authorization.ts'
import { compareKubeconfig, readEmbedded, readServer, serverUrl } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, commonNameOf, compareWithProfile, readCertificate } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, tryCertificate } from '../../lib/pki/pair.ts'
import { asFindings, type Finding } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { certTable } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import type { Given } from './accepted.ts'

/** Names that no row of cluster.yaml has, though auth/ has a certificate of a node or user of that name, or had. */
function formerNames(run: Given): { readonly made: string[]; readonly left: string[] } {
  const { auth, cluster } = run
  const names = new Set(auth.names().flatMap((file) => auth.files.parse(file)?.name ?? []))
  const known = new Set(certTable(cluster).map(({ name }) => name))
  const others = [...names].filter((name) => !known.has(name))
  const isClient = (name: string, certificate: Certificate | undefined) =>
    certificate && usersOf(name).includes(commonNameOf(certificate) ?? '') && isOfOwnCa(auth, certificate)
  const made = others.filter((name) => isMade(run, name))
  const left = others.filter((name) => !made.includes(name) && isClient(name, tryCertificate(auth, name)))
  return { made, left }
}

/**
 * Whether harderway made these files for a node or user: its kubeconfig is there, as harderway writes it, with a
 * certificate as a row of the layout. Somebody may keep others in auth/ that the CA has signed.
 */
function isMade({ auth, cluster }: Given, name: string): boolean {
  const text = auth.tryBytes(kubeconfigFile(name))?.toString() ?? ''
  const [embedded, named] = [readEmbedded(text), readServer(text)]
  const beside = tryCertificate(auth, name)
  const its = embedded && readCertificate(embedded.certificate)
  if (!named || !its) return false
  const server = serverUrl(named.host, named.port)
  const user = commonNameOf(its) ?? ''
  const access = { ...embedded, ...{ cluster: named.cluster, server, user, context: 'default' } }
  if (compareKubeconfig(text, access)?.length !== 0) return false
  return [its, ...(beside ? [beside] : [])].every((each) => isOfOwnCa(auth, each) && isOfRow(cluster, name, each))
}

/** Of a user, with the groups that it has; or of a node, with any names and addresses. */
function isOfRow(cluster: Cluster, name: string, certificate: Certificate): boolean {
  const groups = certificate.attributes.flatMap((each) => (each.startsWith('O=') ? each.slice('O='.length) : []))
  const [node] = cluster.nodes
  const { validity } = cluster.certificates
  const users = [{ name, groups, validity }]
  const nodes = node ? [{ ...node, name, role: 'worker' as const }] : []
  const rows = certTable({ ...cluster, users, nodes }).filter((row) => row.name === name)
  return rows.some(({ node: of, profile }) =>
    compareWithProfile(certificate, profile).every(
      ({ kind }) => kind === 'key-kind-changed' || (kind === 'san-changed' && of !== undefined),
    ),
  )
}

/** Files of auth/ of those who are gone, which a run moves to its backup: a name that comes back gets a new key. */
export function formerFiles(run: Given): string[] {
  const { auth } = run
  return formerNames(run).made.flatMap((name) =>
    // The kubeconfig last: by it an interrupted move is found.
    [auth.files.key(name), auth.files.certificate(name), kubeconfigFile(name)].filter((file) => auth.read(file)),
  )
}

export function notesOnMove(run: Given): Finding[] {
  const files = formerFiles(run)
  const left = formerNames(run).left.map((name) => run.auth.files.certificate(name))
  return asFindings([
    files.length > 0 &&
      `a run moves ${formatNames(files)} to auth/backup, as no node or user of cluster.yaml has that name`,
    left.length > 0 &&
      `no node or user of cluster.yaml has the ${left.length === 1 ? 'name' : 'names'} of ${formatNames(left)} in auth/; runs leave these files there, as nothing shows that harderway made them`,
  ])
}

/** Moves them to auth/backup. */
export function setAside(run: Pick<Run, 'auth' | 'cluster' | 'now' | 'note'>): void {
  const { auth, now, note } = run
  const files = formerFiles(run)
  const folder = files.length > 0 ? backUp(auth, files, now) : undefined
  for (const file of files) auth.remove(file)
  if (folder !== undefined)
    note(`moved ${formatNames(files)} to ${folder}, as no node or user of cluster.yaml has that name`)
}
