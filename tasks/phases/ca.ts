/** Phase `ca`: the root of trust, made once; every other certificate hangs on it. */

import { createPublicKey, type KeyObject } from 'node:crypto'
import type { Change } from '../../lib/change.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { caName, certificateFile, crossName, keyFile, parseFileName } from '../../lib/files/names.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import { nameInIssued, nameOfCa } from '../../lib/pki/ca-name.ts'
import {
  type Certificate,
  compareKeyKind,
  compareWithProfile,
  findNotAccepted,
  findUnpermittedBy,
  isIssuedBy,
  readCertificate,
} from '../../lib/pki/certificate.ts'
import { changeOfPair, type Pair, readPair, tryCertificate, validityPeriod } from '../../lib/pki/pair.ts'
import { generatePrivateKey, type Profile, privateKeyPem, selfSign } from '../../lib/pki/x509.ts'
import { formatReasons, type Verdict } from '../../lib/reason.ts'
import { authTarget } from '../../lib/targets/auth-target.ts'
import type { Built, Force, Foreseen, Target, Work } from '../../lib/targets/target.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'
import {
  finish,
  finishingReasons,
  makeNext,
  nextReasons,
  profileOf,
  readRotation,
  underWay,
} from '../successors/next-ca.ts'
import { certTable } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'

const [certificate, key] = [certificateFile(caName), keyFile(caName)]
const restore = (workspace: Workspace) =>
  `restore ${certificate} and ${key} from a backup or from a control node: ${fetchCommand(workspace, [certificate, key])}`
const startOver = ({ command }: Workspace) =>
  `or give up this cluster identity, and have every certificate reissued: ${command('ca --force')}`
const renew = ({ command }: Workspace) => `reissue the CA certificate over the same key: ${command('ca --renew')}`

export function caTargets(cluster: Cluster): Target[] {
  return certTable(cluster)
    .filter(({ phase }) => phase === 'ca')
    .map(({ id, phase, profile, purpose, irreplaceable }) =>
      authTarget({
        id,
        phase,
        needs: [],
        makes: [certificate, key],
        purpose,
        restarts: unitsToRestart([certificate, key]),
        where: 'auth',
        irreplaceable: irreplaceable?.part,
        check: (workspace, force) => check(workspace, profile, force),
        build: (workspace, work) => build(workspace, profile, work),
        foresee: (workspace, work) => foresee(workspace, profile, work),
      }),
    )
}

function check(workspace: Workspace, asked: Profile, force?: Force): Verdict {
  const rotation = readRotation(workspace)
  if (rotation.stage === 'finishing') return { reasons: finishingReasons(workspace) }
  const pair = readPair(workspace.auth, caName)
  const profile = profileOf(pair, asked)
  if (isAbsent(pair)) refuseNewCa(workspace)
  else refuseOtherCa(pair, profile, workspace, force)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${workspace.auth.path} has no CA to renew`, { remedy: `${workspace.command('ca')} makes one` })
  if (!pair.certificate && pair.key) refuseForeignKey(pair.key, workspace)
  if (pair.certificate && force !== 'renew') refuseNotAccepted(pair.certificate, workspace)
  if (!pair.certificate || force === 'renew') return { reasons: pair.reasons }
  const { reasons, ...verdict } = checkTimes(pair, pair.certificate, workspace)
  return { ...verdict, reasons: [...reasons, ...(rotation.stage === 'both' ? nextReasons(workspace) : [])] }
}

/** A key without its certificate is the CA's if it signed what there is; or if a run that replaced the CA was killed. */
function refuseForeignKey(privateKey: KeyObject, workspace: Workspace): void {
  const { auth } = workspace
  const publicKey = createPublicKey(privateKey)
  const made = readLeaves(workspace)
  if (made.length === 0 || made.some(({ x509 }) => x509.verify(publicKey)) || auth.backups(key).length > 0) return
  throw refusal(`${auth.path} has a ${key} that signed none of the certificates there, and no ${certificate}`, [
    restore(workspace),
    startOver(workspace),
  ])
}

function readLeaves({ auth, cluster }: Workspace): Certificate[] {
  const leaves = certTable(cluster).filter(({ phase }) => phase !== 'ca')
  return leaves.flatMap(({ name }) => readCertificate(auth.tryBytes(certificateFile(name)) ?? '') ?? [])
}

/** No component would trust anything signed by this CA. */
function refuseNotAccepted(ca: Certificate, workspace: Workspace): void {
  const { auth, cluster } = workspace
  const reasons = findNotAccepted(ca)
  if (reasons.length > 0) throw refusal(`the CA in ${auth.path}: ${formatReasons(reasons)}`, [renew(workspace)])
  const names = new Set(certTable(cluster).flatMap(({ profile }) => profile.sans))
  const unpermitted = findUnpermittedBy(ca, [...names])
  if (unpermitted.length > 0)
    throw refusal(`the CA in ${auth.path} may not issue for ${formatNames(unpermitted)} (its name constraints)`, [
      renew(workspace),
    ])
}

function isAbsent({ reasons }: Pair): boolean {
  return reasons.filter(({ kind }) => kind === 'missing').length === 2
}

/** Without a CA, whatever was issued under an earlier one would become worthless. */
function refuseNewCa(workspace: Workspace): void {
  const { auth } = workspace
  const made = auth.names().filter((name) => ['certificate', 'kubeconfig'].includes(parseFileName(name)?.kind ?? ''))
  if (made.length > 0)
    throw refusal(`${auth.path} has no ${certificate} and ${key}, but ${formatNames(made)}, made under an earlier CA`, [
      restore(workspace),
      `or take all that is missing from a control node: ${recoverCommand(workspace)}`,
      startOver(workspace),
    ])
}

/** The certificate may be missing: it can be reissued from the key. */
function refuseOtherCa(pair: Pair, profile: Profile, workspace: Workspace, force?: Force): void {
  const { auth } = workspace
  const broken = pair.reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && !(reason.kind === 'missing' && reason.path === certificate),
  )
  if (broken.length > 0)
    throw refusal(`the CA in ${auth.path}: ${formatReasons(broken)}`, [restore(workspace), startOver(workspace)])
  const asked = pair.certificate
    ? compareWithProfile(pair.certificate, profile)
    : pair.key
      ? compareKeyKind(pair.key, profile)
      : []
  // What it may be used for is no part of the identity.
  const isRenewable = asked.every(({ kind }) => kind === 'usages-changed')
  if (asked.length === 0 || (isRenewable && force === 'renew')) return
  if (isRenewable) throw refusal(`the CA in ${auth.path}: ${formatReasons(asked)}`, [renew(workspace)])
  const keep = 'change cluster.yaml to match the CA'
  throw refusal(`the CA in ${auth.path} is not what cluster.yaml asks for: ${formatReasons(asked)}`, [
    keep,
    startOver(workspace),
  ])
}

function checkTimes({ reasons }: Pair, ca: Certificate, workspace: Workspace): Verdict {
  const { notBefore, notAfter } = ca
  const { now, cluster, auth } = workspace
  if (notAfter <= now) throw refusal(`the CA in ${auth.path} expired on ${formatDate(notAfter)}`, [renew(workspace)])
  if (notBefore > now)
    throw refusal(
      `the CA in ${auth.path} is not valid before ${notBefore.toISOString()}, and here it is ${now.toISOString()}`,
      ["correct this machine's clock", `or, if the clock is right, ${renew(workspace)}`],
    )
  const end = `the CA expires on ${formatDate(notAfter)}`
  if (notAfter.getTime() - now.getTime() <= cluster.certificates.renewBefore)
    return { reasons, until: notAfter, warning: `${end}, and all that it issued with it; ${renew(workspace)}` }
  // cfssl gives a CA five years where none are asked for, whatever it issues.
  const leaf = certificateFile('kubernetes')
  const issued = tryCertificate(auth, 'kubernetes')
  const leafEnd = issued && isIssuedBy(issued, ca) ? issued.notAfter : notAfter
  const warning =
    leafEnd > notAfter ? `${end}, before ${leaf} (${formatDate(leafEnd)}); ${renew(workspace)}` : undefined
  return { reasons, until: notAfter, warning }
}

function foresee(workspace: Workspace, asked: Profile, { force }: Foreseen): Change {
  const { auth, now, cluster } = workspace
  const { notAfter: expires } = validityPeriod(now, cluster.certificates.caValidity)
  const isKeyKept = force !== 'replace' && auth.read(key) !== undefined
  return changeOfPair(auth, caName, { profile: asked, expires, isKeyKept })
}

async function build(workspace: Workspace, asked: Profile, { force, tell }: Work): Promise<Built | undefined> {
  const { stage } = readRotation(workspace)
  if (stage === 'finishing') return finish(workspace)
  if (stage === 'both') {
    if (force === 'replace') throw underWay(workspace)
    if (!force) return makeNext(workspace, asked)
  }
  return makeCa(workspace, asked, { force, tell })
}

async function makeCa(
  workspace: Workspace,
  asked: Profile,
  { force, tell }: Pick<Work, 'force' | 'tell'>,
): Promise<Built> {
  const { auth, now, cluster, command } = workspace
  const pair = readPair(auth, caName)
  const profile = force === 'replace' ? asked : profileOf(pair, asked)
  const kept = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const change = changeOfPair(auth, caName, { profile, expires: period.notAfter, isKeyKept: kept !== undefined })
  const old = force && auth.backUp([certificate, key, certificateFile(crossName)], now)
  // It would lead to another CA than the one that is there then.
  if (!kept) auth.remove(certificateFile(crossName))
  // The certificate must never be beside a key that does not match.
  if (!kept) auth.remove(certificate)
  if (!kept) tell({ doing: 'new key' })
  const privateKey = kept ?? (await generatePrivateKey(profile.key))
  if (!kept) auth.write(key, privateKeyPem(privateKey), secretMode, { durable: true })
  const { certificate: ca } = pair
  const name = kept && (ca ? nameOfCa(ca) : nameInIssued(readLeaves(workspace), createPublicKey(kept), profile.subject))
  const pem = selfSign({ profile, ...period, name }, privateKey)
  auth.write(certificate, pem, publicMode, { durable: true })
  if (!old) return { change }
  const warning =
    force === 'renew'
      ? `the old ${certificate} is in ${old}; now: ${command('bootstrap')}, then restart ${unitsToRestart([certificate]).join(', ')} everywhere`
      : `the old CA is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart every component on every node`
  return { change, warning }
}
