/** Phase `ca`: the root of trust, made once; every other certificate depends on it. */
import type { Change } from '../../lib/change.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { backUp } from '../../lib/files/auth-dir.ts'
import { caName, crossName } from '../../lib/files/names.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import { authTarget } from '../../lib/graph/auth-target.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Force, Target, Work } from '../../lib/graph/target.ts'
import { readEmbeddedCa } from '../../lib/kubernetes/kubeconfig.ts'
import type { CertSpec } from '../../lib/pki/cert-spec.ts'
import {
  type Certificate,
  compareKeyKind,
  compareWithProfile,
  isIssuedBy,
  readCertificates,
} from '../../lib/pki/certificate.ts'
import { oids } from '../../lib/pki/der.ts'
import { changeOfPair, type Pair, readPair, tryCertificate, validityPeriod } from '../../lib/pki/pair.ts'
import { isKeyOf } from '../../lib/pki/private-key.ts'
import { formatReasons, type Look } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { layoutOf } from '../layouts/table.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'
import { caProfile, caRotationReasons, readCaState, replacedCas } from '../rotations/ca-state.ts'
import { refusalDuring } from '../rotations/under-way.ts'
import { certTable, wantedValues } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'

export function caTargets(cluster: Cluster): Target[] {
  const files = layoutOf(cluster).files.pair(caName)
  return certTable(cluster)
    .filter(({ phase }) => phase === 'ca')
    .map(({ id, phase, profile, purpose, irreplaceable }) =>
      authTarget({
        id,
        phase,
        needs: [],
        makes: files,
        wanted: wantedValues({ profile, validity: cluster.certificates.caValidity }),
        purpose,
        restarts: unitsToRestart(cluster, files),
        where: 'auth',
        irreplaceable: irreplaceable?.part,
        check: (run, force) => check(run, profile, force),
        build: (run, work) => build(run, profile, work),
        foresee: (run, work) => foresee(run, profile, work),
      }),
    )
}

function check(run: Run, wanted: CertSpec, force?: Force): Look {
  const state = readCaState(run)
  if (state.stage === 'finishing') return { reasons: caRotationReasons(run, state) }
  const pair = readCa(run)
  const profile = caProfile(pair.certificate, wanted)
  if (!isAbsent(pair)) refuseOtherCa(pair, profile, run, force)
  if (!pair.certificate && !isBeingReplaced(pair, run)) refuseNewCa(run)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${run.auth.path} has no CA to renew`, { remedy: `${run.command('ca')} makes one` })
  if (pair.certificate && force !== 'renew') refuseNotAccepted(pair.certificate, run)
  if (!pair.certificate || force === 'renew') return { reasons: pair.reasons }
  refuseUntimely(pair.certificate, run)
  const reasons = [...pair.reasons, ...caRotationReasons(run, state)]
  return { reasons, until: pair.certificate.notAfter }
}

/** A lost certificate is in the kubeconfigs, byte for byte: unless one embeds another, or it is not of the key. */
function readCa({ auth }: Run): Pair & { readonly embedded?: Buffer } {
  const pair = readPair(auth, caName)
  if (!pair.key || auth.read(auth.files.certificate(caName))) return pair
  const kubeconfigs = auth.names().filter((name) => auth.files.parse(name)?.kind === 'kubeconfig')
  const [embedded, ...others] = kubeconfigs.map((name) => readEmbeddedCa(String(auth.tryBytes(name))))
  const [certificate, next] = readCertificates(embedded ?? '')
  if (!embedded || !certificate || next || !isKeyOf(certificate, pair.key)) return pair
  return others.every((each) => each?.equals(embedded)) ? { ...pair, certificate, embedded } : pair
}

function isAbsent({ reasons }: Pair): boolean {
  return reasons.filter(({ kind }) => kind === 'missing').length === 2
}

function foresee(run: Run, wanted: CertSpec, { force }: Work): Change {
  const { auth, now, cluster } = run
  const { certificate, embedded } = readCa(run)
  const { notAfter } = validityPeriod(now, cluster.certificates.caValidity)
  const isRestored = !force && embedded !== undefined
  const expires = (isRestored && certificate?.notAfter) || notAfter
  const isKeyKept = force !== 'replace' && auth.read(auth.files.key(caName)) !== undefined
  const change = changeOfPair(auth, caName, { profile: wanted, expires, isKeyKept })
  return isRestored && change.kind === 'made' ? { ...change, isRestored } : change
}

async function build(run: Run, wanted: CertSpec, work: Work) {
  const { stage } = readCaState(run)
  if (stage === 'finishing') return (await import('../rotations/ca.ts')).finishCa(run)
  if (stage === 'both') {
    if (work.force === 'replace') throw refusalDuring('ca', 'a rotation of the CA is under way', run)
    if (!work.force) return (await import('../rotations/ca.ts')).makeNextCa(run, wanted)
  }
  return makeCa(run, wanted, work)
}

async function makeCa(run: Run, wanted: CertSpec, work: Work) {
  const { force, tell } = work
  const { generatePrivateKey, issuerNameOf, privateKeyPem, selfSign } = await import('../../lib/pki/x509.ts')
  const { auth, now, cluster, command } = run
  const [certificate, key] = auth.files.pair(caName)
  const pair = readCa(run)
  const profile = force === 'replace' ? wanted : caProfile(pair.certificate, wanted)
  const kept = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const embedded = force ? undefined : pair.embedded
  const change = foresee(run, wanted, work)
  const old = force && backUp(auth, [certificate, key, auth.files.certificate(crossName)], now)
  // It would lead to the CA that is being replaced.
  if (!kept) auth.remove(auth.files.certificate(crossName))
  // The certificate must never be beside a key that does not match.
  if (!kept) auth.remove(certificate)
  if (!kept) tell({ doing: 'new key' })
  const privateKey = kept ?? (await generatePrivateKey(profile.key))
  if (!kept) auth.write(key, privateKeyPem(privateKey), secretMode, { durable: true })
  const named = pair.certificate ?? replacedCas(run.auth).find((each) => isKeyOf(each, privateKey))
  const name = kept && named && issuerNameOf(named)
  const pem = embedded ?? selfSign({ profile, ...period, name }, privateKey)
  auth.write(certificate, pem, publicMode, { durable: true })
  if (!old) return { change }
  const warning =
    force === 'renew'
      ? `the old ${certificate} is in ${old}; now: ${command('bootstrap')}${cluster.install ? '' : ', which lists what to restart'}`
      : `the old CA is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart every component on every node`
  return { change, warning }
}

const pairOf = ({ auth }: Run) => auth.files.pair(caName).join(' and ')
const restore = (run: Run) =>
  `restore ${pairOf(run)} from a backup or from a control node: ${fetchCommand(run, run.auth.files.pair(caName))}`
/** For missing files: a file that exists would be in the way. */
const recoverMissing = (run: Run) =>
  `restore ${pairOf(run)} from a backup or from a control node: ${recoverCommand(run)}`
const startOver = ({ command }: Run) =>
  `or give up this cluster identity, and have every certificate reissued: ${command('ca --force')}`
const renew = ({ command }: Run) => `reissue the CA certificate over the same key: ${command('ca --renew')}`

/** Components would not trust what this CA signs, or not all of it. */
function refuseNotAccepted(ca: Certificate, run: Run): void {
  const { auth } = run
  if (ca.refusals.length > 0) throw refusal(`the CA in ${auth.path}: ${formatReasons(ca.refusals)}`, [renew(run)])
  // RFC 5280, 4.2.1.10. Whether they permit the cluster's names is not evaluated.
  if (ca.extensions.some(({ id }) => id === oids.nameConstraints))
    throw refusal(`the CA in ${auth.path} has name constraints, which harderway does not support`, [renew(run)])
}

/**
 * A run that replaces the CA was killed between its files: what is here is still of one in backup/. Of a CA that was renewed the
 * certificate can be lost, too: it gets the same name again.
 */
function isBeingReplaced({ key }: Pair, run: Run): boolean {
  const { auth } = run
  const issued = tryCertificate(auth, auth.files.names.api)
  return key !== undefined && issued !== undefined && replacedCas(run.auth).some((ca) => isIssuedBy(issued, ca))
}

/** With a new CA, or another name of it, whatever the previous one issued would stop working. */
function refuseNewCa(run: Run): void {
  const { auth } = run
  const missing = auth.files.pair(caName).filter((name) => !auth.read(name))
  const made = auth.names().filter((name) => ['certificate', 'kubeconfig'].includes(auth.files.parse(name)?.kind ?? ''))
  if (made.length > 0)
    throw refusal(`${auth.path} has no ${missing.join(' and ')}, but ${formatNames(made)}, issued by a previous CA`, [
      recoverMissing(run),
      startOver(run),
    ])
}

/** A missing certificate is left to refuseNewCa. */
function refuseOtherCa(pair: Pair, profile: CertSpec, run: Run, force?: Force): void {
  const { auth } = run
  const broken = pair.reasons.filter(
    (reason) =>
      reason.kind !== 'wrong-mode' && !(reason.kind === 'missing' && reason.path === auth.files.certificate(caName)),
  )
  if (broken.length > 0)
    throw refusal(`the CA in ${auth.path}: ${formatReasons(broken)}`, [
      broken.every(({ kind }) => kind === 'missing') ? recoverMissing(run) : restore(run),
      startOver(run),
    ])
  const differences = pair.certificate
    ? compareWithProfile(pair.certificate, profile)
    : pair.key
      ? compareKeyKind(pair.key, profile)
      : []
  // Its usages are not part of the identity.
  const isRenewable = differences.every(({ kind }) => kind === 'usages-changed')
  if (differences.length === 0 || (isRenewable && force === 'renew')) return
  if (isRenewable) throw refusal(`the CA in ${auth.path}: ${formatReasons(differences)}`, [renew(run)])
  const keep = 'change cluster.yaml to match the CA'
  throw refusal(`the CA in ${auth.path} differs from cluster.yaml: ${formatReasons(differences)}`, [
    keep,
    startOver(run),
  ])
}

/** Nobody would accept what it issues. */
function refuseUntimely({ notBefore, notAfter }: Certificate, run: Run): void {
  const { now, auth } = run
  if (notAfter <= now) throw refusal(`the CA in ${auth.path} expired on ${formatDate(notAfter)}`, [renew(run)])
  if (notBefore > now)
    throw refusal(
      `the CA in ${auth.path} is not valid before ${notBefore.toISOString()}, and here it is ${now.toISOString()}`,
      ["correct this machine's clock", `or, if the clock is right, ${renew(run)}`],
    )
}
