/** Phase `encryption-key`: what encrypts Secrets in etcd, made once. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import { addResources, newEncryptionConfig, readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import { type Check, texts } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { readEncryptionState, recoverFromNode, refusalDuring } from '../auth/states.ts'
import { authTarget, type ClusterTarget, type Run } from '../cluster-target.ts'
import { apiServer } from '../layouts/layout.ts'
import { encryptionConfig } from '../layouts/tables.ts'

const { file } = encryptionConfig
const name = 'encryption-key'

export function targets(cluster: Cluster): ClusterTarget[] {
  return [
    authTarget({
      id: name,
      phase: name,
      needs: [],
      makes: [file],
      desired: cluster.encryption,
      purpose: 'encrypts Secrets',
      where: 'auth',
      irreplaceable: 'whole',
      refuse: (run, force) => {
        if (force === 'replace') refuseReplacing(run)
        else check(run)
      },
      check,
      build,
    }),
  ]
}

function check(run: Run): Check<readonly string[]> {
  const { auth, cluster, stagedBy } = run
  const { provider, resources } = cluster.encryption
  const { value, diffs, isMissing } = auth.checkFile(file, 'a valid EncryptionConfiguration', readEncryptionConfig)
  if (isMissing) return { diffs }
  if (!value) throw unreadable(run)
  const removed = value.resources.filter((resource) => !resources.includes(resource))
  if (removed.length > 0) throw fewerResources(run, removed)
  // While a rotation is under way, cluster.yaml may name the provider before it or the one after it.
  const { stage = 'settled', keys = [] } = readEncryptionState(run) ?? {}
  const providers = stage === 'settled' ? [value.provider] : keys.map((key) => key.provider)
  const isOther = !providers.includes(provider)
  const what = `${auth.path}/${file} encrypts with ${value.provider}, but cluster.yaml has ${provider}`
  if (isOther && stagedBy !== name) throw otherProvider(run, what, value.provider)
  const present = value.entries.flatMap((entry) => entry.resources)
  const added = resources.filter((resource) => !present.includes(resource))
  if (added.length > 0) diffs.push({ what: `encrypts ${formatNames(added)} too`, verb: 'change' })
  return { diffs, findings: added, warn: texts(isOther && `${what}; other runs are refused until both agree`) }
}

function refuseReplacing(run: Run): void {
  if ((readEncryptionState(run)?.stage ?? 'settled') === 'settled') return
  throw refusalDuring(
    name,
    `${run.auth.path}/${file} has several keys; a rotation of the encryption key is in progress`,
    run,
  )
}

async function build(run: Run, { findings: added = [], force }: BuildContext<readonly string[] | undefined>) {
  const { auth, cluster, command, now } = run
  const { provider, resources } = cluster.encryption
  // By its copy a node that still has it is recognised.
  const old = auth.read(file) ? backUp(auth, [file], now) : undefined
  const text =
    added.length > 0 ? addResources(auth.bytes(file).toString(), added) : newEncryptionConfig(provider, resources)
  auth.writeDurably([file, text, secretMode])
  const replaced = `moved the old key to ${old}; Secrets encrypted with it can't be read until ${file} lists it as a further key; run:\n    ${command('bootstrap --replace-identity')}\nthen restart every ${apiServer}`
  const more = `requests for ${added.join(', ')} may fail until every ${apiServer} has loaded ${file}`
  return { warn: texts(force === 'replace' && old ? replaced : added.length > 0 && more) }
}

const giveUp = ({ command }: Run) => `or abandon every stored Secret:\n    ${command('encryption-key --force')}`

/** It may hold the key that stored Secrets are encrypted with. */
function unreadable(run: Run): Failure {
  return refusal(
    `${run.auth.path}/${file} is no EncryptionConfiguration of aescbc, aesgcm or secretbox, but may hold the key of Secrets`,
    [
      `fix it, or move it aside and restore it from a backup or from a control node:\n    ${recoverFromNode(run)}`,
      giveUp(run),
    ],
  )
}

function fewerResources({ auth }: Run, removed: readonly string[]): Failure {
  const names = removed.join(', ')
  return refusal(`${auth.path}/${file} encrypts ${names}, which encryption.resources no longer has`, [
    `to keep that, add ${names} to encryption.resources`,
    `or decrypt the stored objects first: make identity the first provider for ${names} in that file, deploy that with --replace-identity, restart every kube-apiserver, and rewrite the objects with kubectl replace; then remove ${names} from that file too`,
  ])
}

/** `provider`: the first one in the file, which may be identity. */
function otherProvider(run: Run, what: string, provider: string): Failure {
  const keep = `to keep it, set encryption.provider: ${provider} in cluster.yaml`
  const rotate = `or change it without losing a Secret (this needs install in cluster.yaml):\n    ${run.command('rotate encryption-key')}`
  const addKey = `add a key to that file by hand, or restore the file that had one (https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/)`
  return refusal(what, [...(readEncryptionState(run) ? [keep, rotate] : [addKey]), giveUp(run)])
}
