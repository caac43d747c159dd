/** Phase `revoked`: the list of who is cut off, as API servers read it. From cluster.yaml alone. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { refusal, tryTo } from '../../lib/failure.ts'
import {
  authorizationConfigFile,
  authorizationFiles,
  authorizationWebhookFile,
  etcdCaName,
} from '../../lib/files/names.ts'
import { secretMode } from '../../lib/files/plain-file.ts'
import { authTarget, changeOfFile } from '../../lib/graph/auth-target.ts'
import type { Run, Target } from '../../lib/graph/target.ts'
import {
  formatAuthorization,
  letInAgain,
  nodeUser,
  readRevoked,
  webhookKubeconfig,
} from '../../lib/kubernetes/authorization.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import type { CheckResult, Reason } from '../../lib/reason.ts'
import { formatNames, joinClauses } from '../../lib/wording.ts'
import { authorizationWebhookPath, layoutOf } from '../layouts/tables.ts'

/** Of the phase, and of its target. */
const name = 'revoked'

export function revokedTargets(cluster: Cluster): Target[] {
  const { revoked } = cluster
  if (revoked === undefined) return []
  return [
    authTarget({
      id: name,
      phase: name,
      needs: [],
      makes: authorizationFiles,
      wanted: { revoked: revoked.toSorted() },
      purpose: 'who is cut off',
      where: 'auth',
      stopsRun: true,
      check: (run) => check(run, revoked),
      build: async (run) => {
        const change = changeOfFile(run, authorizationConfigFile)
        for (const [file, text] of textsOf(run, revoked)) run.auth.write(file, text, secretMode)
        return { change: { ...change, files: authorizationFiles.toReversed() } }
      },
      foresee: (run) => ({ ...changeOfFile(run, authorizationConfigFile), files: authorizationFiles.toReversed() }),
    }),
  ]
}

function textsOf({ cluster }: Pick<Run, 'cluster'>, revoked: readonly string[]): [file: string, text: string][] {
  return [
    [authorizationWebhookFile, webhookKubeconfig],
    [authorizationConfigFile, formatAuthorization(revoked, authorizationWebhookPath(cluster))],
  ]
}

function check(run: Run, revoked: readonly string[]): CheckResult {
  const { auth } = run
  const there = auth.tryBytes(authorizationConfigFile)?.toString()
  const listed = there === undefined ? [] : readRevoked(there)
  const added = revoked.filter((each) => !listed?.includes(each))
  const removed = listed?.filter((each) => !revoked.includes(each))
  if (!run.options.names.includes(name)) refuseFewer(run, removed)
  const isOther = added.length + (removed ?? []).length > 0
  const reasons = textsOf(run, revoked).flatMap(([file, text]): Reason[] => {
    const found = auth.checkFile(file, secretMode, 'a list of harderway', (bytes) => bytes.toString()).reasons
    const isSame = auth.tryBytes(file)?.toString() === text
    return isSame || found.some(({ kind }) => kind === 'missing' || kind === 'not-a-file')
      ? found
      : [...found, { kind: 'content-changed', path: file, what: [file] }]
  })
  const change: Reason[] =
    isOther && there !== undefined ? [{ kind: 'revoked-changed', added, removed: removed ?? [] }] : []
  const unknown = added.filter((each) => !isKnown(run, each))
  const warning = joinClauses(
    unknown.length > 0 && `no certificate in ${auth.path} has the name ${formatNames(unknown)}: is it spelt so?`,
    etcdIsOpen(run, revoked) && openEtcd(run, revoked),
  )
  return {
    reasons: [...change, ...reasons.filter(({ kind }) => change.length === 0 || kind !== 'content-changed')],
    ...(warning !== '' && { warning }),
    ...(etcdIsOpen(run, revoked) && { isUnfinished: true as const }),
    note: revoked.length === 0 ? 'nobody is revoked' : `${formatNames(revoked)} revoked`,
  }
}

/** `removed`: undefined where what is there can't be read, and may list anybody. */
function refuseFewer({ auth, command }: Run, removed: readonly string[] | undefined): void {
  if (removed?.length === 0) return
  const file = `${auth.path}/${authorizationConfigFile}`
  const again = command(`${name} install`)
  if (!removed)
    throw refusal(`${file} is not a list of harderway's, and may have more than revoked in cluster.yaml`, [
      'restore it from a backup, or from a control node',
      `or make it again, which lets in again whom cluster.yaml does not list: ${again}`,
    ])
  throw letInAgain(removed, file, again)
}

/** A user's or a node's certificate of that name. */
function isKnown({ auth }: Run, entry: string): boolean {
  const { attributes = [] } = tryTo(() => tryCertificate(auth, entry)) ?? {}
  return attributes.some((each) => each === `CN=${entry}` || each === `CN=${nodeUser(entry)}`)
}

/** etcd asks no API server: it takes every certificate of its CA. */
function etcdIsOpen({ cluster }: Run, revoked: readonly string[]): boolean {
  const { etcd } = layoutOf(cluster)
  return revoked.length > 0 && etcd !== undefined && etcd.ca !== etcdCaName
}

function openEtcd({ command }: Run, revoked: readonly string[]): string {
  return `what ${formatNames(revoked)} had still opens etcd, and so the cluster, where 2379 can be reached: give etcd a CA of its own: etcd: { ca: own } in cluster.yaml, then ${command('rotate etcd-ca')}`
}
