/** Conflicts with the user's own kubeconfig entries. Each throws a Failure that names the way out. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { refusal } from '../../lib/failure.ts'
import { caName, pairFiles } from '../../lib/files/names.ts'
import { followLinks } from '../../lib/files/plain-file.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { isPreviousCa } from '../../lib/kubernetes/identity.ts'
import type { Access, Fields } from '../../lib/kubernetes/kubeconfig.ts'
import { findEntry, type KubeconfigFile, readTrusted } from '../../lib/kubernetes/kubeconfig-files.ts'
import { entriesOf, isCurrent } from '../../lib/kubernetes/kubeconfig-merge.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { readPair } from '../../lib/pki/pair.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'

/** Files in auth/ contain only what cluster.yaml wants: `KUBECONFIG=auth/admin.kubeconfig` is not the user's own. */
export function refuseOwnFiles({ auth, kubeconfigs }: Workspace): void {
  const own = kubeconfigs().find((path) => isInside(followLinks(path), auth.path))
  if (own === undefined) return
  throw refusal(`${own} is in ${auth.path}, and nothing is entered there`, [
    'name another file: localKubeconfig.path in cluster.yaml, or $KUBECONFIG',
    'or have none written: localKubeconfig: false',
  ])
}

function isInside(path: string, folder: string): boolean {
  const realOf = (each: string) => (existsSync(each) ? realpathSync(each) : each)
  return !relative(realOf(folder), join(realOf(dirname(path)), basename(path))).startsWith('../')
}

/** The user's own context of that name, for another cluster, is not overwritten. */
export function refuseOtherContext(
  files: readonly KubeconfigFile[],
  { cluster, context }: Pick<Access, 'cluster' | 'context'>,
): void {
  const own = findEntry(files, 'contexts', context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context}, for the cluster ${String(own.cluster)}`, [
      'give ours another name: localKubeconfig.context in cluster.yaml',
    ])
}

/** Entries that another context of the user's uses are not overwritten. */
export function refuseConflicts(files: readonly KubeconfigFile[], access: Access): void {
  const others = files.flatMap(({ content }) => [...content.contexts]).filter(([name]) => name !== access.context)
  for (const entry of entriesOf(access)) {
    const found = findEntry(files, entry.list, entry.name)
    if (entry.list === 'contexts' || !found || isCurrent(found, entry)) continue
    const isUser = entry.list === 'users'
    // A user may serve several contexts of our cluster; a cluster of our name is ours if our context exists.
    const isConflict = isUser
      ? ({ user, cluster }: Fields) => user === access.user && cluster !== access.cluster
      : ({ cluster }: Fields) => cluster === access.cluster && !findEntry(files, 'contexts', access.context)
    const [by] = others.find(([, fields]) => isConflict(fields)) ?? []
    if (by !== undefined)
      throw refusal(`your kubeconfig has a ${entry.key} ${entry.name} already, which context ${by} uses`, [
        `give ours another name: ${isUser ? 'localKubeconfig.user' : 'name'} in cluster.yaml`,
      ])
  }
}

/** An entry that trusts another CA is not overwritten, not even on a new machine with an empty auth/. */
export function refuseOtherCa(files: readonly KubeconfigFile[], workspace: Workspace): void {
  const { auth, cluster, command, options } = workspace
  const trusted = readTrusted(files, cluster.name) ?? ''
  if (options.replaceIdentity || !trusted.includes('-----BEGIN CERTIFICATE-----')) return
  const { certificate, key } = readPair(auth, caName)
  const ours = [certificate?.publicKey, key && createPublicKey(key)].filter((each) => each !== undefined)
  const isOurs = (key: KeyObject) =>
    ours.some((our) => our.equals(key)) || isPreviousCa(key, (file) => auth.tryBytes(file))
  if (readCertificates(trusted).some(({ publicKey }) => isOurs(publicKey))) return
  const found = ours.length > 0 ? 'trusts another CA than the one in' : 'trusts a CA already, and there is none in'
  const fetch = fetchCommand(workspace, pairFiles(caName))
  const back = `put that cluster's ${pairFiles(caName).join(', ')} there, from a backup or from a control node: ${fetch}`
  throw refusal(`the cluster ${cluster.name} of your kubeconfig ${found} ${auth.path}`, [
    ours.length > 0 ? back : `take that cluster's files from a control node: ${recoverCommand(workspace)}`,
    'or have ours written into another file: localKubeconfig.path in cluster.yaml',
    `or overwrite it: ${command('local-kubeconfig --replace-identity')}`,
  ])
}
