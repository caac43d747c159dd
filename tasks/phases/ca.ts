/**
 * Phase `ca`: the roots of trust, each made once; every other certificate depends on one. What a build of a CA makes
 * follows from the stage of its rotation (tasks/auth/states.ts) and from the files in auth/:
 *
 *   stage      in auth/                             called with  a build makes
 *   ---------  -----------------------------------  -----------  ------------------------------------------------------
 *   settled    neither key nor certificate                       the key, then the certificate
 *              the key alone, as a killed run leaves it          the certificate
 *              the key and the certificate          --renew      the certificate, with the same key
 *                                                   --force      another key, then its certificate
 *   both       the next CA's key                                 the next CA's certificate, then the cross certificate
 *              the next CA's key and certificate                 the cross certificate
 *              either of these                      --renew      the current CA's certificate, with the same key
 *   finishing  the next CA's certificate, as that                the next CA's key, as that of the current CA; then the
 *              of the current CA                                 files that are named as the next CA's are removed
 *
 * The front proxy's CA has no stages.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { backUp, caName, crossName, etcdCaName, frontProxyCaName, nextName } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { BuildContext, Built, Force } from '../../lib/graph/target.ts'
import { commonNameOf, compareIdentity, compareKeyKind, hasUsages, isIssuedBy } from '../../lib/pki/certificate.ts'
import {
  isKeyOf,
  noteOnPair,
  type Pair,
  readIssuer,
  readPair,
  tryCertificate,
  validityPeriod,
  wrongIn,
} from '../../lib/pki/pair.ts'
import { type Check, type Diff, formatDiffs, missing, texts } from '../../lib/results.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import {
  type CaState,
  caFiles,
  caProfile,
  caRotationFiles,
  isCopyOfCa,
  isTwin,
  nextCaCommonName,
  readCaState,
  recoverCommand,
  recoverFromNode,
  refusalDuring,
  refuseWithCopy,
  replacedCas,
  signingCa,
} from '../auth/states.ts'
import { authTarget, type ClusterTarget, type Run } from '../cluster-target.ts'
import { type CertRow, certTable, desiredValues, issuedBy, layoutOf } from '../layouts/tables.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const rows = certTable(cluster).filter(({ phase }) => phase === 'ca')
  const others = rows.flatMap(({ id, name }) => (name === caName ? [] : [id]))
  return rows.map((row) => {
    const { id, phase, profile, purpose, irreplaceable } = row
    return authTarget({
      id,
      phase,
      // A cluster CA that is there before etcd's own is one that etcd shares, so the target of etcd's comes first.
      needs: row.name === caName ? others : [],
      makes: layoutOf(cluster).files.pair(row.name),
      desired: desiredValues({ profile, validity: cluster.certificates.caValidity }),
      purpose,
      where: 'auth',
      irreplaceable: irreplaceable?.part,
      refuse: (run, force) => {
        if (force === 'replace') refuseReplacing(run, row)
        else check(run, row, force)
      },
      check: (run, force) => check(run, row, force),
      build: (run, work) => build(run, row, work),
    })
  })
}

function check(run: Run, row: CertRow, force: Force | undefined): Check {
  if (row.name === caName) refuseSharedEtcd(run)
  const stage = stageOf(run, row, force)
  if (stage === 'finishing') return checkFinishing(run, row)
  const checked = checkPresent(run, row, force)
  if (stage === 'both') return { ...checked, diffs: [...checked.diffs, ...readNext(run, row.name).missing] }
  const { auth, command, stagedBy } = run
  // `rotate etcd-ca` waits before its first stage; from then on its own notices report it, like any rotation.
  const isCopy = row.name === etcdCaName && stagedBy !== row.name && isCopyOfCa(auth)
  return {
    ...checked,
    warn: texts(isCopy && `etcd still has the cluster CA; continue:\n    ${command('rotate etcd-ca')}`),
  }
}

async function build(run: Run, row: CertRow, work: BuildContext): Promise<Built> {
  const stage = stageOf(run, row, work.force)
  if (stage === 'finishing') return finish(run, row)
  return stage === 'both' ? makeNext(run, row) : makePresent(run, row, work)
}

/** The stage that a run with this `force` works in. Throws a refusal if the files in auth/ do not fit together. */
function stageOf(run: Run, row: CertRow, force: Force | undefined): CaState['stage'] {
  if (row.name === frontProxyCaName) {
    if (force !== 'replace') refuseBegun(run, row)
    return 'settled'
  }
  const { stage } = readCaState(run, row.name)
  return force === 'renew' && stage === 'both' ? 'settled' : stage
}

/** Throws a refusal for the front proxy's CA, if harderway 0.5.0 has begun to rotate it: that version had stages. */
function refuseBegun({ auth, command }: Run, { id, name }: CertRow): void {
  const begun = auth.files.pair(nextName(name)).filter((file) => auth.read(file))
  if (begun.length === 0) return
  throw refusal(`${auth.path} has ${formatNames(begun)}, of a rotation that harderway 0.5.0 began`, [
    `finish it with harderway 0.5.0: rotate ${name} --finish`,
    `or replace the CA at once:\n    ${command(`${id} --force`)}`,
  ])
}

function refuseReplacing(run: Run, row: CertRow): void {
  if (row.name === frontProxyCaName) return
  const { stage } = readCaState(run, row.name)
  const what = `a rotation of the ${labelOf(row)} is in progress`
  if (stage !== 'settled') throw refusalDuring(row.name, what, run, { isLast: stage === 'finishing' })
  if (row.name === caName) refuseWithCopy(run)
}

function checkPresent(run: Run, row: CertRow, force: Force | undefined): Check {
  const { auth, command } = run
  const pair = readPair(auth, row.name)
  refuseUnusable(run, row, pair, force)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${auth.path} has no CA to renew`, { remedy: `create one:\n    ${command('ca')}` })
  const diffs = wrongIn(pair)
  if (!pair.certificate || force) return { diffs }
  const until = pair.certificate.notAfter
  return { diffs, until, note: `expires ${formatDate(until)}` }
}

/** A certificate is never beside a key that does not match: a run that is killed leaves the key alone. */
async function makePresent(run: Run, row: CertRow, { force, tell }: BuildContext): Promise<Built> {
  const { auth, now, cluster } = run
  const pair = readPair(auth, row.name)
  const kept = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const note = noteOnPair(auth, row.name, period.notAfter, { isKeyKept: kept !== undefined })
  const [certificate, key] = auth.files.pair(row.name)
  const old = force && backUp(auth, [certificate, key, ...caRotationFiles(auth.files, row.name)], now)
  const { selfSign } = await import('../../lib/pki/x509.ts')
  if (!kept) tell('new key')
  const privateKey = kept ?? (await makeKey(run, row))
  // A key that stays keeps its CA's name, byte for byte: issued certificates name their issuer by these bytes.
  const named = kept && (pair.certificate ?? replacedCas(auth, row.name).find((ca) => isKeyOf(ca, kept)))
  const profile = kept ? caProfile(pair.certificate, row.profile) : row.profile
  auth.writeDurably([certificate, selfSign({ profile, named, ...period }, privateKey), publicMode])
  return { note, warn: texts(old && force && adviseAfterReplacing(run, row, force, old)) }
}

/** Removes first what would lead to the CA that the key replaces. */
async function makeKey({ auth, planKey }: Run, { name, profile }: CertRow): Promise<KeyObject> {
  const { generatePrivateKey, privateKeyPem } = await import('../../lib/pki/x509.ts')
  const [certificate, key] = auth.files.pair(name)
  for (const file of [...caRotationFiles(auth.files, name), certificate]) auth.remove(file)
  const made = await generatePrivateKey(planKey ?? profile.key)
  auth.writeDurably([key, privateKeyPem(made), secretMode])
  return made
}

function adviseAfterReplacing({ auth, cluster, command }: Run, row: CertRow, force: Force, folder: string): string {
  if (force === 'renew')
    return `moved the old ${auth.files.certificate(row.name)} to ${folder}; ${cluster.install ? 'then run' : 'then run what lists what to restart'}:\n    ${command('bootstrap')}`
  if (row.name === frontProxyCaName)
    return `moved the old ${labelOf(row)} to ${folder}; ${frontProxyOutage}; install it:\n    ${command('bootstrap')}`
  return `moved the old ${labelOf(row)} to ${folder}; run:\n    ${command('bootstrap --replace-identity')}\nthen restart every component on every node`
}

/** One that a wrong clock has dated in the future counts as missing, and is made again with the cross one. */
function readNext({ auth, now }: Run, name: string) {
  const pair = readPair(auth, nextName(name))
  const { key, certificate } = pair
  const [present, cross] = [tryCertificate(auth, name), tryCertificate(auth, crossName(name))]
  const isEarly = certificate !== undefined && certificate.notBefore > now
  const isCross = certificate && present && cross?.isCa && isTwin(cross, certificate) && isIssuedBy(cross, present)
  const early: Diff[] = isEarly ? [{ what: 'the next CA is not valid yet', verb: 'change' }] : []
  // The key comes first: without its certificate the next CA is still to be made.
  const ofPair = wrongIn(pair).map((diff): Diff => (diff.verb === 'renew' ? { ...diff, verb: 'make' } : diff))
  const noCross = isCross && cross.notAfter > now ? [] : missing([caFiles(auth.files, name).cross])
  return {
    ...{ key, certificate: isEarly ? undefined : certificate, present },
    missing: [...ofPair, ...early, ...noCross],
  }
}

/** The cross certificate expires with the first of the two CAs. */
async function makeNext(run: Run, { name, profile }: CertRow): Promise<Built> {
  const { auth, now, cluster } = run
  const { key, certificate, present } = readNext(run, name)
  const { issueCertificate, selfSign } = await import('../../lib/pki/x509.ts')
  if (!key || !present) throw new Failure(`can't read the CA in ${auth.path} any more`, { remedy: runAgain })
  const files = caFiles(auth.files, name)
  const periodUntil = (end?: Date) => validityPeriod(now, cluster.certificates.caValidity, end)
  const CN = nextCaCommonName(commonNameOf(present) ?? '', profile.subject.CN)
  const desired = { ...profile, subject: { ...profile.subject, CN } }
  if (!certificate) auth.writeDurably([files.next, selfSign({ profile: desired, ...periodUntil() }, key), publicMode])
  const [next, issuer] = [readIssuer(auth, nextName(name)), readIssuer(auth, name)]
  const end = new Date(Math.min(next.certificate.notAfter.getTime(), issuer.certificate.notAfter.getTime()))
  const request = { profile: desired, publicKey: createPublicKey(key), ...periodUntil(end), named: next.certificate }
  auth.writeDurably([files.cross, issueCertificate(request, issuer), publicMode])
  return { note: `expires ${formatDate(next.certificate.notAfter)}` }
}

function checkFinishing({ auth }: Run, { name }: CertRow): Check {
  const left = auth.files.pair(nextName(name)).filter((file) => auth.read(file))
  const what = `the next CA replaces the current one: ${left.join(', ')}`
  return { diffs: [{ what, verb: 'change', names: [auth.files.key(name)] }] }
}

/** The current CA's certificate and key are in backup/ by now. */
function finish({ auth }: Run, { name }: CertRow): Built {
  const bytes = auth.tryBytes(auth.files.key(nextName(name)))
  if (bytes) auth.writeDurably([auth.files.key(name), bytes, secretMode])
  for (const file of auth.files.pair(nextName(name))) auth.remove(file)
  return {}
}

const isAbsent = ({ missing }: Pair) => missing.length === 2

/** What to expect of the replacement of the front proxy's CA, before and after. */
export const frontProxyOutage = 'aggregated APIs fail until each API server has the new CA, for seconds to minutes'

const labelOf = ({ name, irreplaceable }: CertRow) => irreplaceable?.label ?? name
const pairOf = ({ auth }: Pick<Run, 'auth'>, name: string) => auth.files.pair(name).join(' and ')

/** An etcd with its own CA can't share the cluster's again: the members would no longer accept each other. */
export function refuseSharedEtcd(run: Run): void {
  const { auth, cluster, now } = run
  const isOwn = tryCertificate(auth, etcdCaName) !== undefined && !isCopyOfCa(auth)
  const isRotating = signingCa(auth, now, etcdCaName).stage !== 'settled'
  if (cluster.etcd.ca === 'own' || !tryCertificate(auth, caName) || !(isOwn || isRotating)) return
  throw refusal(
    `etcd has its own CA (${auth.files.certificate(etcdCaName)} in ${auth.path}), but cluster.yaml has etcd.ca: shared`,
    [
      'set etcd.ca: own in cluster.yaml',
      ...(isRotating ? [] : [`or, if etcd never had that CA, move ${pairOf(run, etcdCaName)} aside`]),
    ],
  )
}

/** True after a kill in the replacement of the CA: certificates are still of a CA in backup/. */
function isBeingReplaced({ auth, cluster }: Run, { name }: CertRow, { key }: Pair): boolean {
  const [first] = issuedBy(cluster, name)
  const issued = first && tryCertificate(auth, first.name)
  return key !== undefined && issued !== undefined && replacedCas(auth, name).some((ca) => isIssuedBy(issued, ca))
}

/** Files that stop working with a new CA. Those of former nodes and users are of the cluster's CA. */
function issuedIn({ auth, cluster }: Run, ca: string): string[] {
  const hasName = (rows: readonly CertRow[], name: string) => rows.some((row) => row.name === name)
  return auth.names().filter((file) => {
    const { kind = '', name = '' } = auth.files.parse(file) ?? {}
    const isIssued = hasName(issuedBy(cluster, ca), name) || (ca === caName && !hasName(certTable(cluster), name))
    return ['certificate', 'kubeconfig'].includes(kind) && isIssued
  })
}

/** Throws a refusal for what no run may go on with: each relies on those before it. --renew mends what the certificate has wrong. */
function refuseUnusable(run: Run, row: CertRow, pair: Pair, force: Force | undefined): void {
  const { auth, cluster, command, now } = run
  const { id, name, irreplaceable } = row
  const { key, certificate, missing } = pair
  const files = auth.files.pair(name)
  const ca = `the ${labelOf(row)} in ${auth.path}`
  const startOver = `or abandon ${irreplaceable?.loss}:\n    ${command(`${id} --force`)}`
  const renew = `reissue the CA certificate with the same key:\n    ${command('ca --renew')}`
  // The certificate alone is on control nodes wherever the keys are.
  const isOnNodes = cluster.certificates.caKeyOnNodes || key !== undefined
  const source = `a backup${isOnNodes ? ' or from a control node' : ''}`
  const recover = isOnNodes ? recoverFromNode(run) : recoverCommand(run)
  const restore = `move aside what can't be used, and restore ${pairOf(run, name)} from ${source}:\n    ${recover}`

  // A missing certificate can be made again, and a wrong mode corrected.
  const isOfMissing = ({ names = [] }: Diff) => names.some((file) => missing.includes(file))
  const isRepaired = (diff: Diff) => diff.verb === 'chmod' || (isOfMissing(diff) && !missing.includes(files[1]))
  const broken = wrongIn(pair).filter((diff) => !isRepaired(diff))
  if (!isAbsent(pair) && broken.length > 0)
    throw refusal(`${ca} can't be used; ${formatDiffs(broken)}`, [restore, startOver])

  const profile = caProfile(certificate, row.profile)
  const differences = certificate ? compareIdentity(certificate, profile) : key ? compareKeyKind(key, profile) : []
  if (differences.length > 0)
    throw refusal(`${ca} differs from cluster.yaml, which needs another CA (${formatDiffs(differences)})`, [
      'change cluster.yaml to match the CA',
      startOver,
    ])

  if (!certificate) {
    if (isBeingReplaced(run, row, pair)) return
    const issued = issuedIn(run, name)
    if (issued.length > 0) {
      const lost = files.filter((file) => !auth.read(file)).join(' and ')
      const what = `${auth.path} has no ${lost}, but ${formatNames(issued)}, issued by a previous CA`
      throw refusal(what, [restore, startOver])
    }
    if (name === etcdCaName && auth.names().some((file) => auth.files.parse(file)?.kind === 'certificate'))
      throw refusal(`etcd shares the CA in ${auth.path}, but cluster.yaml has etcd.ca: own`, [
        `migrate the running cluster:\n    ${command(`rotate ${name}`)}`,
        `if it does not run yet, create that CA:\n    ${command(`${id} --force`)}`,
        'or set etcd.ca: shared in cluster.yaml',
      ])
    return
  }

  if (force === 'renew') return
  const { notBefore, notAfter } = certificate
  if (!hasUsages(certificate, row.profile)) throw refusal(`${ca} can't be used; key usages differ`, [renew])
  if (notAfter <= now) throw refusal(`${ca} expired on ${formatDate(notAfter)}`, [renew])
  if (notBefore > now)
    throw refusal(`${ca} is not valid before ${notBefore.toISOString()}, and this machine has ${now.toISOString()}`, [
      'correct the clock of this machine',
      `or, if the clock is right, ${renew}`,
    ])
}
