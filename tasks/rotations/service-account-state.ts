/**
 * The pair that service-account tokens are signed with. Its file has the certificates of all keys that are accepted, that
 * of the key that signs first: nobody reads more than the keys out of them.
 */

import { createPublicKey, type KeyObject } from 'node:crypto'
import type { Change } from '../../lib/change.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/backup.ts'
import { caName, certificateFile, keyFile, nextName, pairFiles } from '../../lib/files/names.ts'
import { publicMode } from '../../lib/files/plain-file.ts'
import type { Built, Force, Look, Target, Work } from '../../lib/graph/target.ts'
import type { Workspace } from '../../lib/graph/workspace.ts'
import { type TokenRotation, tokenRotation } from '../../lib/kubernetes/rotation.ts'
import { type Certificate, compareKeyKind, readDerCertificate } from '../../lib/pki/certificate.ts'
import {
  changeOfPair,
  checkCertificate,
  isSignedByLostCa,
  makePair,
  type Pair,
  readIssuer,
  readPair,
  tryCertificate,
  validityPeriod,
} from '../../lib/pki/pair.ts'
import { certificatePem } from '../../lib/pki/pem.ts'
import { formatReasons, type Reason } from '../../lib/reason.ts'
import { fetchCommand } from '../nodes/fetch-command.ts'
import type { CertRow } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'
import { refusalDuring } from './refusal.ts'

type Irreplaceable = NonNullable<CertRow['irreplaceable']>

export function tokenPair(row: CertRow, irreplaceable: Irreplaceable): Pick<Target, 'check' | 'build' | 'foresee'> {
  return {
    check: (workspace) => check(workspace, row, irreplaceable),
    build: (workspace, work) => build(workspace, row, work),
    foresee: (workspace, { force }) => foresee(workspace, row, force),
  }
}

function check(workspace: Workspace, row: CertRow, irreplaceable: Irreplaceable): Look {
  const { auth } = workspace
  const { others, stage } = readRotation(workspace, row)
  const pair = withItsOwn(readPair(auth, row.name))
  refuseOtherKey(workspace, row, irreplaceable, pair)
  const verdict = pair.certificate ? checkCertificate(pair.certificate, demands(workspace, row)) : { reasons: [] }
  const reasons: Reason[] = [...pair.reasons, ...verdict.reasons]
  const file = certificateFile(row.name)
  const inFile = chainOf(pair)
  const wanting = others.filter((key) => !inFile.some((each) => isGood(workspace, row, each, key)))
  if (wanting.length > 0) reasons.push({ kind: 'rotation', what: `${file} is to hold ${others.length + 1} keys` })
  if (stage === 'signing' && auth.read(keyFile(nextName(row.name))))
    reasons.push({ kind: 'rotation', what: 'the next key signs already' })
  return { ...verdict, reasons, isFinal: isSignedByLostCa(auth, pair) }
}

/** Throws a refusal where the files do not fit together. */
export function readRotation({ auth }: Workspace, { name }: Pick<CertRow, 'name'>): TokenRotation {
  const rotation = tokenRotation((file) => auth.tryBytes(file), name)
  if (rotation.stage !== 'unclear') return rotation
  throw refusal(`${auth.path}: ${rotation.why}`, [
    `restore it from a backup, or remove it if it was never deployed: rm ${auth.path}/${rotation.file}`,
  ])
}

function demands({ auth, now, cluster }: Workspace, { profile }: CertRow) {
  const { renewBefore } = cluster.certificates
  return { profile, issuer: tryCertificate(auth, caName), now, renewBefore }
}

function isGood(workspace: Workspace, row: CertRow, certificate: Certificate, key: KeyObject): boolean {
  return (
    certificate.publicKey.equals(key) && checkCertificate(certificate, demands(workspace, row)).reasons.length === 0
  )
}

function chainOf({ chain }: Pair): Certificate[] {
  return chain.flatMap((der) => readDerCertificate(der) ?? [])
}

/** Where the key that signs has just been changed, its certificate is not yet the first. */
function withItsOwn(pair: Pair): Pair {
  const { certificate, key, reasons } = pair
  const isAway = reasons.some(({ kind }) => kind === 'key-mismatch')
  const own = key && isAway ? chainOf(pair).find(({ publicKey }) => publicKey.equals(createPublicKey(key))) : undefined
  if (!own || !certificate) return pair
  const what = 'the certificate of the key that signs does not come first'
  return {
    key,
    certificate: own,
    chain: [certificate.der, ...pair.chain.filter((der) => !der.equals(own.der))],
    reasons: [...reasons.filter(({ kind }) => kind !== 'key-mismatch'), { kind: 'rotation', what }],
  }
}

/** Replacing the key makes every token in the cluster invalid, and with them whatever runs with one. */
function refuseOtherKey(
  workspace: Workspace,
  { id, name, profile }: CertRow,
  { label, loss }: Irreplaceable,
  { key, reasons }: Pair,
): void {
  const { auth, command } = workspace
  const lost = reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && 'path' in reason && reason.path === keyFile(name),
  )
  const isNew = lost.some(({ kind }) => kind === 'missing') && auth.read(certificateFile(name)) === undefined
  const other = key ? compareKeyKind(key, profile) : []
  if (isNew || lost.length + other.length === 0) return
  throw refusal(`the ${label} in ${auth.path}: ${formatReasons([...lost, ...other])}`, [
    other.length > 0
      ? 'change certificates.key in cluster.yaml to match the key'
      : `restore ${keyFile(name)} and ${certificateFile(name)} from a backup or from a control node: ${fetchCommand(workspace, [keyFile(name), certificateFile(name)])}`,
    `or give up ${loss}: ${command(`${id} --force`)}`,
  ])
}

function foresee({ auth, now, cluster }: Workspace, { name, profile, validity }: CertRow, force?: Force): Change {
  const end = tryCertificate(auth, caName)?.notAfter ?? validityPeriod(now, cluster.certificates.caValidity).notAfter
  const { notAfter: expires } = validityPeriod(now, validity, end)
  const isKeyKept = force !== 'replace' && auth.read(keyFile(name)) !== undefined
  return changeOfPair(auth, name, { profile, expires, isKeyKept })
}

async function build(workspace: Workspace, row: CertRow, { force, tell }: Work): Promise<Built> {
  const { auth, now, command } = workspace
  const { name, profile, validity } = row
  if (force === 'replace' && readRotation(workspace, row).stage !== 'settled')
    throw refusalDuring(name, `a rotation of the ${row.irreplaceable?.label} is under way`, workspace)
  const pair = withItsOwn(readPair(auth, name))
  const old = force === 'replace' ? backUp(auth, pairFiles(name), now) : undefined
  const key = force === 'replace' ? undefined : pair.key
  // A new key beside the old certificate would look like a lost key.
  if (!key) auth.remove(certificateFile(name))
  const chain = key ? await otherCertificates(workspace, row, pair) : ''
  const issuer = readIssuer(auth)
  const change = await makePair(auth, name, { profile, issuer, now, validity, key, chain, durable: true, tell })
  if (readRotation(workspace, row).stage === 'signing') auth.remove(keyFile(nextName(name)))
  if (!old) return { change, warning: row.warning }
  const warning = `the old key is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart ${unitsToRestart(pairFiles(name)).join(', ')} everywhere`
  return { change, warning }
}

/** PEM; those that are good stay as they are. */
async function otherCertificates(workspace: Workspace, row: CertRow, pair: Pair): Promise<string> {
  const { issueCertificate } = await import('../../lib/pki/x509.ts')
  const { auth, now } = workspace
  const there = chainOf(pair)
  const issuer = readIssuer(auth)
  const pems = readRotation(workspace, row).others.map((publicKey) => {
    const good = there.find((each) => isGood(workspace, row, each, publicKey))
    if (good) return certificatePem(good.der)
    return issueCertificate(
      { profile: row.profile, publicKey, ...validityPeriod(now, row.validity, issuer.notAfter) },
      issuer,
    )
  })
  return pems.join('')
}

/** With the certificate of the key that signs alone: tokens of all others are worth nothing then. Throws a Failure where it is not there. */
export function dropOtherKeys({ auth }: Pick<Workspace, 'auth'>, name: string): void {
  const { certificate, key } = withItsOwn(readPair(auth, name))
  if (!certificate || !key)
    throw new Failure(`${certificateFile(name)} in ${auth.path} can't be read any more`, {
      remedy: runAgain,
    })
  auth.write(certificateFile(name), certificatePem(certificate.der), publicMode, { durable: true })
}
