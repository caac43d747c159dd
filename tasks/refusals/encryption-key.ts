/** Why the encryption config in auth/ is not made anew, nor worked with: each throws a refusal that names the ways out. */
import { refusal } from '../../lib/failure.ts'
import type { EncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { fetchCommand } from '../nodes/fetch-command.ts'
import { encryptionConfig } from '../tables/files.ts'

const { file } = encryptionConfig
const giveUp = ({ command }: Workspace) =>
  `or give up every Secret that is stored: ${command('encryption-key --force')}`
const rewrite = 'rewrite every Secret: kubectl get secrets -A -o json | kubectl replace -f -'

/** It may hold what stored Secrets are sealed with. */
export function refuseUnreadable(workspace: Workspace): never {
  throw refusal(
    `${workspace.auth.path}/${file} is not a valid EncryptionConfiguration, but may hold the key of stored Secrets`,
    [
      `fix it, or restore it from a backup or from a control node: ${fetchCommand(workspace, [file])}`,
      giveUp(workspace),
    ],
  )
}

/** One that seals with another provider than cluster.yaml asks for, or more resources. */
export function refuseOtherSealing(config: EncryptionConfig, workspace: Workspace): void {
  const { auth, cluster } = workspace
  const { provider, resources } = cluster.encryption
  if (config.provider !== provider)
    throw refusal(`${auth.path}/${file} encrypts with ${config.provider}, cluster.yaml asks for ${provider}`, [
      `keep it: encryption.provider: ${config.provider} in cluster.yaml`,
      `or change it without losing a Secret: add ${provider} with a key as the second provider in that file, deploy, restart every kube-apiserver; make it the first, deploy, restart; ${rewrite}; then take ${config.provider} out, and set encryption.provider`,
      giveUp(workspace),
    ])
  const removed = config.resources.filter((resource) => !resources.includes(resource))
  if (removed.length > 0)
    throw refusal(`${auth.path}/${file} encrypts ${formatNames(removed)}, which cluster.yaml no longer asks for`, [
      `keep it: add ${removed.join(', ')} to encryption.resources`,
      `or decrypt what is stored first: make identity the first provider for ${removed.join(', ')} in that file, deploy, restart every kube-apiserver, rewrite those objects with kubectl replace, then take them out of that file too`,
    ])
}
