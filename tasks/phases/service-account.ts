/**
 * The pair that signs service-account tokens. Its certificate file holds the certificates of all accepted keys, that of the
 * signing key first; API servers read only the keys out of them.
 */
import type { KeyObject } from 'node:crypto'
import { refusal } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/auth-dir.ts'
import { caName, nextName } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target, Work } from '../../lib/graph/target.ts'
import { type Certificate, compareKeyKind } from '../../lib/pki/certificate.ts'
import {
  checkCertificate,
  isSignedByLostCa,
  makePair,
  type Pair,
  readIssuer,
  tryCertificate,
  validityPeriod,
} from '../../lib/pki/pair.ts'
import { certificatePem } from '../../lib/pki/pem.ts'
import { formatReasons, type Look, type Reason } from '../../lib/reason.ts'
import { fetchCommand } from '../nodes/fetch-command.ts'
import { chainOf, readTokenPair, readTokenState } from '../rotations/service-account-state.ts'
import { refusalDuring } from '../rotations/under-way.ts'
import type { CertRow } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'

type Irreplaceable = NonNullable<CertRow['irreplaceable']>

export function tokenPair(row: CertRow, irreplaceable: Irreplaceable): Pick<Target, 'check' | 'build'> {
  return {
    check: (run) => checkTokens(run, row, irreplaceable),
    build: (run, work) => buildTokens(run, row, work),
  }
}

function checkTokens(run: Run, row: CertRow, irreplaceable: Irreplaceable): Look {
  const { auth, now, cluster } = run
  const { others, stage } = readTokenState(run)
  const pair = readTokenPair(auth)
  refuseOtherKey(run, row, irreplaceable, pair)
  const { renewBefore } = cluster.certificates
  const demands = { profile: row.profile, issuer: tryCertificate(auth, caName), now, renewBefore }
  const verdict = pair.certificate ? checkCertificate(pair.certificate, demands) : { reasons: [] }
  const reasons: Reason[] = [...pair.reasons, ...verdict.reasons]
  if (!others.every((key) => certificateOf(key, pair)))
    reasons.push({ kind: 'rotation', what: `${auth.files.certificate(row.name)} is to hold ${others.length + 1} keys` })
  if (stage === 'signing' && auth.read(auth.files.key(nextName(row.name))))
    reasons.push({ kind: 'rotation', what: 'the next key signs already' })
  return { ...verdict, reasons, staysFresh: isSignedByLostCa(auth, pair) }
}

/** API servers read only its key: they take one that has expired, or is of another CA. */
function certificateOf(key: KeyObject, pair: Pair): Certificate | undefined {
  return chainOf(pair).find(({ publicKey }) => publicKey.equals(key))
}

/** Another key makes every token in the cluster invalid, and breaks whatever runs with one. */
function refuseOtherKey(
  run: Run,
  { id, name, profile }: CertRow,
  { label, loss }: Irreplaceable,
  { key, reasons }: Pair,
): void {
  const { auth, command } = run
  const lost = reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && 'path' in reason && reason.path === auth.files.key(name),
  )
  const isNew = lost.some(({ kind }) => kind === 'missing') && auth.read(auth.files.certificate(name)) === undefined
  const other = key ? compareKeyKind(key, profile) : []
  if (isNew || lost.length + other.length === 0) return
  const isMissing = lost.every(({ kind }) => kind === 'missing')
  const files = [auth.files.key(name), ...(isMissing ? [] : [auth.files.certificate(name)])]
  throw refusal(`the ${label} in ${auth.path}: ${formatReasons([...lost, ...other])}`, [
    other.length > 0
      ? 'change certificates.key in cluster.yaml to match the key'
      : `restore ${files.join(' and ')} from a backup or from a control node: ${fetchCommand(run, files)}`,
    `or give up ${loss}: ${command(`${id} --force`)}`,
  ])
}

async function buildTokens(run: Run, row: CertRow, { force, tell }: Work) {
  const { auth, cluster, now, command } = run
  const { name, profile, validity } = row
  if (force === 'replace' && readTokenState(run).stage !== 'settled')
    throw refusalDuring('service-account', `a rotation of the ${row.irreplaceable?.label} is under way`, run)
  const pair = readTokenPair(auth)
  const old = force === 'replace' ? backUp(auth, auth.files.pair(name), now) : undefined
  const key = force === 'replace' ? undefined : pair.key
  const wasThere = auth.read(auth.files.certificate(name)) !== undefined
  // A new key beside the old certificate would look like a lost key.
  if (!key) auth.remove(auth.files.certificate(name))
  const chain = key ? await otherCertificates(run, row, pair) : ''
  const issuer = readIssuer(auth)
  const made = await makePair(auth, name, { profile, issuer, now, validity, key, chain, durable: true, tell })
  const change = made.kind === 'made' && wasThere ? { ...made, isNew: false } : made
  if (readTokenState(run).stage === 'signing') auth.remove(auth.files.key(nextName(name)))
  if (!old) return { change, warning: row.warning }
  const warning = `the old key is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart ${unitsToRestart(cluster, auth.files.pair(name)).join(', ')} everywhere`
  return { change, warning }
}

/** PEM; those that are there stay as they are. */
async function otherCertificates(run: Run, row: CertRow, pair: Pair): Promise<string> {
  const { issueCertificate } = await import('../../lib/pki/x509.ts')
  const { auth, now } = run
  const issuer = readIssuer(auth)
  const period = validityPeriod(now, row.validity, issuer.notAfter)
  const pems = readTokenState(run).others.map((publicKey) => {
    const there = certificateOf(publicKey, pair)
    return there ? certificatePem(there.der) : issueCertificate({ profile: row.profile, publicKey, ...period }, issuer)
  })
  return pems.join('')
}
