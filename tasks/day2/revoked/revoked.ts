/**
 * Phase `revoked`: the list of who is revoked, as API servers read it. A pair whose key is revoked is replaced before
 * its old key is listed. So this phase leaves out a key whose pair is still to be replaced; phase `revoked-keys` adds
 * it later.
 */
import { join } from 'node:path'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../../lib/cluster/problem.ts'
import { refusal } from '../../../lib/failure.ts'
import {
  authorizationConfigFile,
  authorizationFiles,
  authorizationWebhookFile,
  backUp,
  etcdCaName,
  neededMarker,
} from '../../../lib/files/auth-dir.ts'
import { secretMode } from '../../../lib/files/plain-file.ts'
import { formatAuthorization, webhookKubeconfig } from '../../../lib/kubernetes/authorization.ts'
import {
  coveredBy,
  formatEntries,
  formatRemoved,
  formatUnread,
  isAccepted,
  isAlike,
  knownCertificates,
  listIn,
  pinnedUsers,
  removedFrom,
  unknownKeys,
  waitingKeys,
  wantedList,
} from '../../../lib/kubernetes/revocation.ts'
import type { RevokedList } from '../../../lib/kubernetes/revoked-list.ts'
import { asFindings, type Change, type CheckResult, type Finding, type Reason } from '../../../lib/results.ts'
import { count, formatNames, pasteable, quote } from '../../../lib/wording.ts'
import { withReplaced } from '../../auth/accepted.ts'
import { fetchCommand } from '../../auth/fetch-command.ts'
import { isPending } from '../../auth/pending.ts'
import { authorizationWebhookPath, type CertRow, certTable, layoutOf } from '../../layouts/tables.ts'
import { authTarget, type ClusterTarget, type Run } from '../../target.ts'

/** Of the phase, and of its target in auth/. */
const name = 'revoked'

/** `earlier`: the certificates of its users come first. */
export function targets(
  { revoked }: Cluster,
  { earlier }: { readonly earlier: readonly ClusterTarget[] },
): ClusterTarget[] {
  if (revoked === undefined) return []
  return [
    authTarget({
      id: name,
      phase: name,
      needs: [],
      after: earlier.map(({ id }) => id),
      // The list does not wait for a certificate that failed.
      waitsFor: () => [],
      // By the first of its files a target is named.
      makes: authorizationFiles.toReversed(),
      wanted: { revoked: revoked.toSorted() },
      purpose: 'who is revoked',
      where: 'auth',
      stopsRun: true,
      check,
      build: async (run) => {
        const list = wantedNow(run)
        // The guard of a node compares with it: who is let in on purpose was listed here when this run began.
        if (isLonger(listIn(run.auth), list, run)) backUp(run.auth, [authorizationConfigFile], run.now)
        return { change: writeList(run, list) }
      },
      foresee: (run) => changeOf(run, wantedNow(run)),
    }),
  ]
}

/** What of the list changes nobody's access, and is part of no plan's hash. */
export const countedCertificates = 'counted certificates'

const isLonger = (listed: RevokedList | undefined, list: RevokedList, { now }: Run) =>
  !listed || removedFrom(listed, list, now).length > 0

const wantedNow = (run: Run) => withReplaced(run, wantedList(run, waitingKeys(run)))

function textsOf({ cluster }: Run, list: RevokedList): [file: string, text: string][] {
  return [
    [authorizationWebhookFile, webhookKubeconfig],
    [authorizationConfigFile, formatAuthorization(list, authorizationWebhookPath(cluster))],
  ]
}

export function changeOf(run: Run, list: RevokedList): Change {
  const others = textsOf(run, list).filter(([file, text]) => run.auth.tryBytes(file)?.toString() !== text)
  const files = others.map(([file]) => file).toReversed()
  return {
    kind: 'made',
    files: files.length > 0 ? files : [authorizationConfigFile],
    isNew: run.auth.read(authorizationConfigFile) === undefined,
  }
}

/** The version that first wrote lists as they are now: an older one takes them for somebody else's. */
export const neededByList = `${neededMarker}0.5.0`

/** Returns what that changes. */
export function writeList(run: Run, list: RevokedList): Change {
  const change = changeOf(run, list)
  if (!run.auth.names().includes(neededByList)) run.auth.write(neededByList, '', secretMode)
  for (const [file, text] of textsOf(run, list)) run.auth.write(file, text, secretMode)
  return change
}

function check(run: Run): CheckResult {
  const { auth } = run
  const list = wantedNow(run)
  const wanted = list.entries
  const listed = listIn(auth)
  const added = wanted.filter((each) => !listed?.entries.includes(each))
  const removed = listed && removedFrom(listed, list, run.now)
  if (!run.options.names.includes(name)) refuseFewer(run, removed)
  const isOther = added.length + (removed ?? []).length > 0
  const reasons = textsOf(run, list).flatMap(([file, text]): Reason[] => {
    const found = auth.checkFile(file, secretMode, 'a list written by harderway', (bytes) => bytes.toString()).reasons
    const there = auth.tryBytes(file)?.toString()
    // The entries say it better.
    if (isOther || there === undefined) return found
    if (isListPending(run, file, pinnedUsers(auth)) || (there !== text && !isAlike(listed, list)))
      return [...found, { kind: 'content-changed', path: file, what: [file] }]
    const isCounted = there !== text || isListPending(run, file)
    return isCounted ? [...found, { kind: 'content-changed', path: file, what: [countedCertificates] }] : found
  })
  const change: Reason[] = isOther ? [{ kind: 'revoked-changed', added, removed: removed ?? [] }] : []
  const names = added.filter((each) => !isKeyEntry(each))
  const known = names.length > 0 ? knownCertificates(auth) : []
  const replaced = toBeReplaced(run)
  const misspelt = names.filter((each) => coveredBy(each, known).length === 0)
  return {
    reasons: [...change, ...reasons],
    findings: [
      ...asFindings([
        misspelt.length > 0 && `${auth.path} has no certificate of ${misspelt.join(', ')}; check the spelling`,
        replaced > 0 && `each API server will count requests with ${count(replaced, 'earlier certificate')}`,
      ]),
      ...leftToUser(run),
    ],
    note: wanted.length === 0 ? 'nobody is revoked' : `revoked: ${formatNames(wanted)}`,
  }
}

/** In a plan: a certificate of one of the users will be replaced, by default of anybody whose requests are counted. */
function isListPending(run: Run, file: string, users?: readonly string[]): boolean {
  return file === authorizationConfigFile && toBeReplaced(run, users) > 0
}

function toBeReplaced(run: Run, users?: readonly string[]): number {
  const { auth, cluster } = run
  if (!run.pending) return 0
  const isWanted = ({ isClient, name, profile: { subject } }: CertRow) =>
    users ? users.includes(subject.CN) : isClient && name !== auth.files.names.admin
  return certTable(cluster).filter((row) => {
    const file = auth.files.certificate(row.name)
    return isWanted(row) && isPending(run, file) && (users !== undefined || auth.read(file) !== undefined)
  }).length
}

/** `removed`: undefined where what is there can't be read, and may list anybody. */
function refuseFewer(run: Run, removed: readonly string[] | undefined): void {
  const { auth, command } = run
  if (removed?.length === 0) return
  const again = command(`${name} install`)
  const file = `${auth.path}/${authorizationConfigFile}`
  if (!removed)
    throw refusal(formatUnread(file), [
      `restore it from a control node: ${fetchCommand(run, [authorizationConfigFile])}`,
      `or replace it, which restores access to all that cluster.yaml does not list: ${again}`,
    ])
  throw refusal(formatRemoved(removed, file), [
    `write ${formatEntries(run, removed)} in cluster.yaml`,
    `or restore access, with every certificate that is still valid: ${again}`,
  ])
}

function leftToUser(run: Run): Finding[] {
  const { auth } = run
  const unknown = unknownKeys(run)
  const folder = join(auth.path, 'backup', 'revoked')
  const copy = pasteable(
    `mkdir -m 700 -p ${quote(folder)} && cp FILE ${quote(join(folder, auth.files.certificate(unknown[0]?.slice('sha256:'.length, 19) ?? '')))}`,
  )
  const ofUnknown = `not revoked: ${formatNames(unknown)}, as ${auth.path} has no such certificate; list the name of its user or node instead (system:masters can't be revoked), or copy the certificate there: ${copy}`
  return asFindings([unknown.length > 0 && ofUnknown, ...etcdIsOpen(run)], { owner: 'user' })
}

/** etcd asks no API server: it takes every certificate of its CA. Those that nobody knows count as such. */
function etcdIsOpen(run: Run): string[] {
  const { auth, cluster, command } = run
  const { etcd } = layoutOf(cluster)
  const { revoked = [] } = cluster
  if (revoked.length === 0 || etcd === undefined || etcd.ca === etcdCaName) return []
  const known = knownCertificates(auth)
  const open = revoked.filter((entry) => {
    const its = coveredBy(entry, known)
    return its.length === 0 || its.some((each) => isAccepted(run, each))
  })
  if (open.length === 0) return []
  return [
    `certificates of ${formatNames(open)} still open etcd, and so the cluster, through port 2379; write ${pasteable('etcd: { ca: own }')} in cluster.yaml, then run ${command('rotate etcd-ca')}`,
  ]
}
