/** Phase `encryption-key`: what encrypts Secrets in etcd, made once. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/auth-dir.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import {
  addResources,
  type EncryptionConfig,
  newEncryptionConfig,
  readEncryptionConfig,
} from '../../lib/kubernetes/encryption.ts'
import { type Check, texts } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { fetchCommand } from '../auth/fetch-command.ts'
import { readEncryptionState, refusalDuring } from '../auth/states.ts'
import { apiServer } from '../layouts/layout.ts'
import { encryptionConfig } from '../layouts/tables.ts'
import { authTarget, type ClusterTarget, type Run } from '../target.ts'

const { file } = encryptionConfig
/** Of the phase, of its target, and of the rotation. */
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

/** What it finds: resources to add to what is there. */
function check(run: Run): Check<readonly string[]> {
  const { auth, cluster } = run
  const { resources } = cluster.encryption
  const {
    value: config,
    diffs,
    isMissing,
  } = auth.checkFile(file, 'a valid EncryptionConfiguration', readEncryptionConfig)
  if (isMissing) return { diffs }
  if (!config) return refuseUnreadable(run)
  const warning = refuseOtherEncryption(config, run)
  const present = config.entries.flatMap((entry) => entry.resources)
  const added = resources.filter((resource) => !present.includes(resource))
  if (added.length > 0) diffs.push({ what: `encrypts ${formatNames(added)} too`, verb: 'change' })
  return { diffs, found: added, warn: texts(warning) }
}

function refuseReplacing(run: Run): void {
  if ((readEncryptionState(run)?.stage ?? 'settled') === 'settled') return
  const what = `${run.auth.path}/${file} has several keys; a rotation of the encryption key is in progress`
  throw refusalDuring(name, what, run)
}

async function build(run: Run, { found: added = [], force }: BuildContext<readonly string[] | undefined>) {
  const { auth, cluster, now } = run
  const { provider, resources } = cluster.encryption
  // By its copy a node that still has it is recognised.
  const old = auth.read(file) ? backUp(auth, [file], now) : undefined
  const text =
    added.length > 0 ? addResources(auth.bytes(file).toString(), added) : newEncryptionConfig(provider, resources)
  auth.writeDurably([file, text, secretMode])
  return { warn: texts(warningAfter(run, added, force === 'replace' ? old : undefined)) }
}

function warningAfter({ command }: Run, added: readonly string[], old?: string): string | undefined {
  if (old)
    return `moved the old key to ${old}; Secrets encrypted with it can't be read until ${file} lists it as a further key; run:\n    ${command('bootstrap --replace-identity')}\nthen restart every ${apiServer}`
  return added.length > 0
    ? `requests for ${added.join(', ')} may fail until every ${apiServer} has loaded ${file}`
    : undefined
}

const giveUp = ({ command }: Run) => `or abandon every stored Secret:\n    ${command('encryption-key --force')}`
/** It may hold the key that stored Secrets are encrypted with. */
function refuseUnreadable(run: Run): never {
  throw refusal(
    `${run.auth.path}/${file} is no EncryptionConfiguration of aescbc, aesgcm or secretbox, but may hold the key of Secrets`,
    [`fix it, or restore it from a backup or from a control node:\n    ${fetchCommand(run, [file])}`, giveUp(run)],
  )
}

/**
 * If it encrypts with another provider than cluster.yaml has, or more resources. Returns what a rotation has to say of
 * it.
 */
function refuseOtherEncryption(config: EncryptionConfig, run: Run): string | undefined {
  const { auth, cluster, stagedBy } = run
  const { provider, resources } = cluster.encryption
  const isOther = !providersOf(config, run).includes(provider)
  if (isOther && stagedBy !== name) throw otherProvider(config, run)
  const removed = config.resources.filter((resource) => !resources.includes(resource))
  if (removed.length > 0)
    throw refusal(`${auth.path}/${file} encrypts ${formatNames(removed)}, which encryption.resources no longer has`, [
      `to keep that, add ${removed.join(', ')} to encryption.resources`,
      `or decrypt the stored objects first: make identity the first provider for ${removed.join(', ')} in that file, deploy that with --replace-identity, restart every kube-apiserver, and rewrite the objects with kubectl replace; then remove ${removed.join(', ')} from that file too`,
    ])
  return isOther
    ? `${file} encrypts with ${config.provider}, but cluster.yaml has ${provider}; other runs are refused until both agree`
    : undefined
}

/**
 * While a rotation is under way: of each key, so that cluster.yaml may name the provider before it or the one after it.
 */
function providersOf({ provider }: EncryptionConfig, run: Run): string[] {
  const { stage = 'settled', keys = [] } = readEncryptionState(run) ?? {}
  return stage === 'settled' ? [provider] : keys.map((key) => key.provider)
}

function otherProvider(config: EncryptionConfig, run: Run): Failure {
  const { auth, cluster, command } = run
  const { provider } = cluster.encryption
  const what = `${auth.path}/${file} encrypts with ${config.provider}, but cluster.yaml has ${provider}`
  // The first provider is identity.
  if (!readEncryptionState(run))
    return refusal(what, [
      `add a key of ${provider} to that file by hand, or restore the file that had one (https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/)`,
      giveUp(run),
    ])
  // A rotation needs it; its own message would name a run, which is refused here.
  const before = cluster.install ? '' : '; set install: true in cluster.yaml, then run'
  return refusal(what, [
    `to keep it, set encryption.provider: ${config.provider} in cluster.yaml`,
    `or change it without losing a Secret${before}:\n    ${command('rotate encryption-key')}`,
    giveUp(run),
  ])
}
