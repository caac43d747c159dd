/** Phase `encryption-key`: what Secrets in etcd are sealed with, made once. */
import { secretMode } from '../lib/auth-dir.ts'
import { addResources, newEncryptionConfig, readEncryptionConfig } from '../lib/encryption.ts'
import type { Target, Verdict, Work } from '../lib/graph.ts'
import { backUp, refusal } from '../lib/irreplaceable.ts'
import { modeReason, repairModes } from '../lib/pair.ts'
import { formatNames } from '../lib/reason.ts'
import type { Workspace } from '../lib/workspace.ts'

export const encryptionFile = 'encryption-config.yaml'
const giveUp = 'or give up every Secret that is stored: npm run task -- encryption-key --force'
const rewrite = 'rewrite every Secret: kubectl get secrets -A -o json | kubectl replace -f -'

export function encryptionKeyTargets(): Target[] {
  const id = 'encryption-key'
  return [{ id, phase: id, needs: [], makes: [encryptionFile], lane: 'cpu', irreplaceable: true, check, build }]
}

function check({ auth, cluster }: Workspace): Verdict {
  const file = auth.read(encryptionFile)
  if (!file) return { kind: 'stale', reasons: [{ kind: 'missing', path: encryptionFile }] }
  const config = file.kind === 'file' ? readEncryptionConfig(file.bytes.toString()) : undefined
  if (!config)
    throw refusal(
      `${auth.path}/${encryptionFile} is nothing that kube-apiserver would read, and may hold the key of stored Secrets`,
      ['mend it, or put it back from a backup or from a control node', giveUp],
    )
  const { provider, resources } = cluster.encryption
  if (config.provider !== provider)
    throw refusal(
      `${auth.path}/${encryptionFile} encrypts with ${config.provider}, cluster.yaml asks for ${provider}`,
      [
        `keep it: encryption.provider: ${config.provider} in cluster.yaml`,
        `or change it without losing a Secret: add ${provider} with a key as the second provider in that file, deploy, restart every kube-apiserver; make it the first, deploy, restart; ${rewrite}; then take ${config.provider} out, and set encryption.provider`,
        giveUp,
      ],
    )
  const removed = config.resources.filter((resource) => !resources.includes(resource))
  if (removed.length > 0)
    throw refusal(
      `${auth.path}/${encryptionFile} encrypts ${formatNames(removed)}, which cluster.yaml no longer asks for`,
      [
        `keep it: add ${removed.join(', ')} to encryption.resources`,
        `or decrypt what is stored first: make identity the first provider for ${removed.join(', ')} in that file, deploy, restart every kube-apiserver, rewrite those objects with kubectl replace, then take them out of that file too`,
      ],
    )
  const added = resources.filter((resource) => !config.resources.includes(resource))
  const modes = modeReason(encryptionFile, file, secretMode)
  if (added.length > 0) return { kind: 'stale', reasons: [{ kind: 'resources-added', added }, ...modes] }
  return modes.length > 0 ? { kind: 'stale', reasons: modes, repairOnly: true } : { kind: 'fresh' }
}

async function build({ auth, cluster, now }: Workspace, { reasons, force }: Work): Promise<string | undefined> {
  if (repairModes(auth, reasons)) return undefined
  const { provider, resources } = cluster.encryption
  const old = force === 'replace' ? backUp(auth, [encryptionFile], now) : undefined
  const file = force === 'replace' ? undefined : auth.read(encryptionFile)
  const text =
    file?.kind === 'file'
      ? addResources(file.bytes.toString(), missingResources(file.bytes.toString(), resources))
      : newEncryptionConfig(provider, resources)
  auth.write(encryptionFile, text, secretMode, { durable: true })
  return (
    old &&
    `the old key is in ${old}: Secrets sealed with it can't be read until it is listed as a further key; now: npm run bootstrap -- --replace-identity, then restart every kube-apiserver`
  )
}

function missingResources(text: string, resources: readonly string[]): string[] {
  const present = readEncryptionConfig(text)?.resources ?? []
  return resources.filter((resource) => !present.includes(resource))
}
