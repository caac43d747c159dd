/** Refusals to use the CA in auth/, or to make another one. Each throws a refusal that names the ways out. */

import { createPublicKey, type KeyObject } from 'node:crypto'
import { refusal } from '../../lib/failure.ts'
import { backups } from '../../lib/files/backup.ts'
import { caName, certificateFile, keyFile, parseFileName } from '../../lib/files/names.ts'
import type { Force } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { type Certificate, compareKeyKind, compareWithProfile, readCertificate } from '../../lib/pki/certificate.ts'
import { findUnpermitted } from '../../lib/pki/constraints.ts'
import type { Pair } from '../../lib/pki/pair.ts'
import type { Profile } from '../../lib/pki/profile.ts'
import { formatReasons } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'
import { certTable } from '../tables/certs.ts'

const [certificate, key] = [certificateFile(caName), keyFile(caName)]
const restore = (workspace: Workspace) =>
  `restore ${certificate} and ${key} from a backup or from a control node: ${fetchCommand(workspace, [certificate, key])}`
/** For missing files: a file that exists would be in the way. */
const recoverMissing = (workspace: Workspace) =>
  `restore ${certificate} and ${key} from a backup or from a control node: ${recoverCommand(workspace)}`
const startOver = ({ command }: Workspace) =>
  `or give up this cluster identity, and have every certificate reissued: ${command('ca --force')}`
export const renew = ({ command }: Workspace) =>
  `reissue the CA certificate over the same key: ${command('ca --renew')}`

/** A key without its certificate is the CA's if it signed what there is; or if a run that replaced the CA was killed. */
export function refuseForeignKey(privateKey: KeyObject, workspace: Workspace): void {
  const { auth } = workspace
  const publicKey = createPublicKey(privateKey)
  const made = readLeaves(workspace)
  if (made.length === 0 || made.some(({ x509 }) => x509.verify(publicKey)) || backups(auth, key).length > 0) return
  throw refusal(`${auth.path} has a ${key} that signed none of the certificates there, and no ${certificate}`, [
    restore(workspace),
    startOver(workspace),
  ])
}

export function readLeaves({ auth, cluster }: Workspace): Certificate[] {
  const leaves = certTable(cluster).filter(({ phase }) => phase !== 'ca')
  return leaves.flatMap(({ name }) => readCertificate(auth.tryBytes(certificateFile(name)) ?? '') ?? [])
}

/** No component would trust anything signed by this CA. */
export function refuseNotAccepted(ca: Certificate, workspace: Workspace): void {
  const { auth, cluster } = workspace
  if (ca.refusals.length > 0) throw refusal(`the CA in ${auth.path}: ${formatReasons(ca.refusals)}`, [renew(workspace)])
  const names = new Set(certTable(cluster).flatMap(({ profile }) => profile.sans))
  const unpermitted = findUnpermitted(ca.fields, [...names])
  if (unpermitted.length > 0)
    throw refusal(`the CA in ${auth.path} may not issue for ${formatNames(unpermitted)} (its name constraints)`, [
      renew(workspace),
    ])
}

/** With a new CA, whatever a previous one issued would stop working. */
export function refuseNewCa(workspace: Workspace): void {
  const { auth } = workspace
  const made = auth.names().filter((name) => ['certificate', 'kubeconfig'].includes(parseFileName(name)?.kind ?? ''))
  if (made.length > 0)
    throw refusal(`${auth.path} has no ${certificate} and ${key}, but ${formatNames(made)}, issued by a previous CA`, [
      recoverMissing(workspace),
      startOver(workspace),
    ])
}

/** The certificate may be missing: it can be reissued from the key. */
export function refuseOtherCa(pair: Pair, profile: Profile, workspace: Workspace, force?: Force): void {
  const { auth } = workspace
  const broken = pair.reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && !(reason.kind === 'missing' && reason.path === certificate),
  )
  if (broken.length > 0)
    throw refusal(`the CA in ${auth.path}: ${formatReasons(broken)}`, [
      broken.every(({ kind }) => kind === 'missing') ? recoverMissing(workspace) : restore(workspace),
      startOver(workspace),
    ])
  const differences = pair.certificate
    ? compareWithProfile(pair.certificate, profile)
    : pair.key
      ? compareKeyKind(pair.key, profile)
      : []
  // Its usages are not part of the identity.
  const isRenewable = differences.every(({ kind }) => kind === 'usages-changed')
  if (differences.length === 0 || (isRenewable && force === 'renew')) return
  if (isRenewable) throw refusal(`the CA in ${auth.path}: ${formatReasons(differences)}`, [renew(workspace)])
  const keep = 'change cluster.yaml to match the CA'
  throw refusal(`the CA in ${auth.path} differs from cluster.yaml: ${formatReasons(differences)}`, [
    keep,
    startOver(workspace),
  ])
}

/** Nobody would accept what it issues. */
export function refuseUntimely({ notBefore, notAfter }: Certificate, workspace: Workspace): void {
  const { now, auth } = workspace
  if (notAfter <= now) throw refusal(`the CA in ${auth.path} expired on ${formatDate(notAfter)}`, [renew(workspace)])
  if (notBefore > now)
    throw refusal(
      `the CA in ${auth.path} is not valid before ${notBefore.toISOString()}, and here it is ${now.toISOString()}`,
      ["correct this machine's clock", `or, if the clock is right, ${renew(workspace)}`],
    )
}
