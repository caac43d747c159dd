/** Phases `cluster-cert`, `component-certs`, `node-certs` and `user-certs`: every certificate that the CA signs. */

import type { Cluster } from '../../lib/cluster/cluster.ts'
import { refusal } from '../../lib/failure.ts'
import { caName, certificateFile, keyFile, pairFiles } from '../../lib/files/names.ts'
import { compareKeyKind } from '../../lib/pki/certificate.ts'
import { checkPair, keptKey, makePair, type Pair, readCaCertificate, readIssuer, readPair } from '../../lib/pki/pair.ts'
import { formatReasons, type Reason, type Verdict } from '../../lib/reason.ts'
import { authTarget } from '../../lib/targets/auth-target.ts'
import type { Target, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { fetchCommand } from '../nodes/fetch-command.ts'
import { type CertPhase, type CertRow, certTable } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'

export type LeafPhase = Exclude<CertPhase, 'ca'>

export function leafTargets(cluster: Cluster, phase: LeafPhase): Target[] {
  return certTable(cluster)
    .filter((row) => row.phase === phase)
    .map((row) =>
      authTarget({
        id: row.id,
        phase,
        node: row.node,
        needs: [caName],
        makes: pairFiles(row.name),
        purpose: row.purpose,
        restarts: unitsToRestart(pairFiles(row.name), row.node),
        where: 'auth',
        irreplaceable: row.irreplaceable?.part,
        check: (workspace) => check(workspace, row),
        build: (workspace, work) => build(workspace, row, work),
      }),
    )
}

function check(workspace: Workspace, row: CertRow): Verdict {
  const { auth, now, cluster } = workspace
  const pair = readPair(auth, row.name)
  if (row.irreplaceable) refuseOtherKey(workspace, row, pair)
  const { renewBefore } = cluster.certificates
  const verdict = checkPair(pair, { profile: row.profile, issuer: readCaCertificate(auth), now, renewBefore })
  return { ...verdict, warning: row.warning }
}

/** Replacing the key makes every token in the cluster invalid, and with them whatever runs with one. */
function refuseOtherKey(
  workspace: Workspace,
  { id, name, profile, irreplaceable }: CertRow,
  { key, reasons }: Pair,
): void {
  const { auth, command } = workspace
  const lost = reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && 'path' in reason && reason.path === keyFile(name),
  )
  const isNew = lost.some(({ kind }) => kind === 'missing') && auth.read(certificateFile(name)) === undefined
  const other = key ? compareKeyKind(key, profile) : []
  if (isNew || lost.length + other.length === 0) return
  throw refusal(`the ${irreplaceable?.label} in ${auth.path}: ${formatReasons([...lost, ...other])}`, [
    other.length > 0
      ? 'change certificates.key in cluster.yaml to match the key'
      : `restore ${keyFile(name)} and ${certificateFile(name)} from a backup or from a control node: ${fetchCommand(workspace, [keyFile(name), certificateFile(name)])}`,
    `or give up ${irreplaceable?.loss}: ${command(`${id} --force`)}`,
  ])
}

async function build(
  { auth, now, command }: Workspace,
  row: CertRow,
  { force, reasons }: Work,
): Promise<string | undefined> {
  const { name, profile, validity, irreplaceable } = row
  const keeps = irreplaceable !== undefined
  const pair = readPair(auth, name)
  const key = force === 'replace' ? undefined : keeps ? pair.key : keptKey(pair, reasons)
  const old = force === 'replace' ? auth.backUp([certificateFile(name), keyFile(name)], now) : undefined
  // A new key beside the old certificate would look like a lost key.
  if (keeps && !key) auth.remove(certificateFile(name))
  await makePair(auth, name, { profile, issuer: readIssuer(auth), now, validity, key, durable: keeps })
  if (!old) return describeOldGroups(row, pair, reasons) ?? row.warning
  return `the old key is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart ${unitsToRestart(pairFiles(name)).join(', ')} everywhere`
}

/** Of a user, of whom others may hold copies. */
function describeOldGroups({ phase }: CertRow, { certificate }: Pair, reasons: readonly Reason[]): string | undefined {
  const removed = reasons.flatMap((reason) => (reason.kind === 'subject-changed' ? reason.removed : []))
  const groups = removed.filter((attribute) => attribute.startsWith('O=')).map((attribute) => attribute.slice(2))
  if (phase !== 'user-certs' || groups.length === 0 || !certificate) return undefined
  return `copies of the earlier certificate are of ${formatNames(groups)} until ${formatDate(certificate.notAfter)}: nothing revokes a certificate before it expires`
}
