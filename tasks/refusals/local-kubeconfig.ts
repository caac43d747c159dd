/** Conflicts with the user's own kubeconfig entries. Each throws a Failure that names the way out. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { refusal } from '../../lib/failure.ts'
import { caName, pairFiles } from '../../lib/files/names.ts'
import { followLinks } from '../../lib/files/plain-file.ts'
import { isEarlierCa } from '../../lib/identity/rotation.ts'
import { type KubeconfigFile, readTrusted } from '../../lib/kubeconfig/files.ts'
import type { Access } from '../../lib/kubeconfig/kubeconfig.ts'
import { isAsAsked, stanzasOf } from '../../lib/kubeconfig/merge.ts'
import { readCertificates } from '../../lib/pki/certificate.ts'
import { readPair } from '../../lib/pki/pair.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'

/** What is in auth/ says what cluster.yaml asks for, and nothing else: `KUBECONFIG=auth/admin.kubeconfig` is not the user's own. */
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
  places: readonly KubeconfigFile[],
  { cluster, context }: Pick<Access, 'cluster' | 'context'>,
): void {
  const own = places.flatMap(({ content }) => content.contexts).find(({ name }) => name === context)
  if (own && own.cluster !== cluster)
    throw refusal(`your kubeconfig has a context ${context}, for the cluster ${String(own.cluster)}`, [
      'give ours another name: localKubeconfig.context in cluster.yaml',
    ])
}

/** What another context of the user's relies on is not overwritten. */
export function refuseConflicts(places: readonly KubeconfigFile[], access: Access): void {
  const contexts = places.flatMap(({ content }) => content.contexts)
  const others = contexts.filter(({ name }) => name !== access.context)
  const own = contexts.find(({ name }) => name === access.context)
  for (const stanza of stanzasOf(access)) {
    const found = places.map(({ content }) => content.find(stanza.list, stanza.name)).find(Boolean)
    if (!found || isAsAsked(found, stanza)) continue
    const user =
      stanza.list === 'users' && others.find((other) => other.user === access.user && other.cluster !== access.cluster)
    if (user)
      throw refusal(`your kubeconfig has a user ${access.user} already, which context ${user.name} uses`, [
        'give ours another name: localKubeconfig.user in cluster.yaml',
      ])
    const cluster = stanza.list === 'clusters' && !own && others.find((other) => other.cluster === access.cluster)
    if (cluster)
      throw refusal(`your kubeconfig has a cluster ${access.cluster} already, which context ${cluster.name} uses`, [
        'give ours another name: name in cluster.yaml',
      ])
  }
}

/** An entry that trusts another CA is not overwritten, not even on a new machine with an empty auth/. */
export function refuseOtherCa(places: readonly KubeconfigFile[], workspace: Workspace): void {
  const { auth, cluster, command, options } = workspace
  const trusted = readTrusted(places, cluster.name) ?? ''
  if (options.replaceIdentity || !trusted.includes('-----BEGIN CERTIFICATE-----')) return
  const { certificate, key } = readPair(auth, caName)
  const ours = [certificate?.publicKey, key && createPublicKey(key)].filter((each) => each !== undefined)
  const isOurs = (key: KeyObject) =>
    ours.some((our) => our.equals(key)) || isEarlierCa(key, (file) => auth.tryBytes(file))
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
