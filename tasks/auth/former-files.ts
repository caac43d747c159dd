/** The files in auth/ of nodes and users that cluster.yaml no longer has: `--prune` moves them to auth/backup. */
import { backUp, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { usersOf } from '../../lib/kubernetes/authorization.ts'
import { commonNameOf } from '../../lib/pki/certificate.ts'
import { isOfOwnCa, tryCertificate } from '../../lib/pki/pair.ts'
import { formatNames } from '../../lib/wording.ts'
import { certTable } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

/** Of a name that no row of cluster.yaml has, and whose certificate a CA of auth/ has signed for that name. */
function formerFiles({ auth, cluster }: Pick<Run, 'auth' | 'cluster'>): string[] {
  const known = new Set(certTable(cluster).map(({ name }) => name))
  const names = new Set(auth.names().flatMap((file) => auth.files.parse(file)?.name ?? []))
  const isFormer = (name: string) => {
    const certificate = known.has(name) ? undefined : tryCertificate(auth, name)
    return certificate && usersOf(name).includes(commonNameOf(certificate) ?? '') && isOfOwnCa(auth, certificate)
  }
  return [...names].filter(isFormer).flatMap((name) =>
    // The certificate last: by it an interrupted move is found.
    [auth.files.key(name), kubeconfigFile(name), auth.files.certificate(name)].filter((file) => auth.read(file)),
  )
}

export function filesToMove(run: Pick<Run, 'auth' | 'cluster' | 'options'>): string[] {
  return run.options.prune ? formerFiles(run) : []
}

export function noteOnFormer(run: Run): string | undefined {
  const files = formerFiles(run)
  if (files.length === 0) return undefined
  if (run.options.prune) return `--prune moves ${formatNames(files)} to auth/backup`
  return `no node or user of cluster.yaml has the name of ${formatNames(files)} in auth/; a name that comes back keeps its key, unless they are moved to auth/backup:\n    ${run.command('bootstrap --prune')}`
}

export function setAside(run: Pick<Run, 'auth' | 'cluster' | 'now' | 'note' | 'options'>): void {
  const { auth, now, note } = run
  const files = filesToMove(run)
  const folder = files.length > 0 ? backUp(auth, files, now) : undefined
  for (const file of files) auth.remove(file)
  if (folder !== undefined)
    note(`moved ${formatNames(files)} to ${folder}, as no node or user of cluster.yaml has that name`)
}
