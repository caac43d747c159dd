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
 * The front proxy's CA has no stages. All is computed from one look at auth/, so that a plan says what the run makes.
 * What no run may go on with is in the table of obstacles, below.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { backUp, caName, crossName, etcdCaName, frontProxyCaName, nextName } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import type { Built, Force, Work } from '../../lib/graph/target.ts'
import {
  type Certificate,
  commonNameOf,
  compareIdentity,
  compareKeyKind,
  hasUsages,
  isIssuedBy,
} from '../../lib/pki/certificate.ts'
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
import { fetchCommand, recoverCommand } from '../auth/fetch-command.ts'
import {
  type CaState,
  caFiles,
  caProfile,
  caRotationFiles,
  isCopyOfCa,
  isTwin,
  nextCaCommonName,
  readCaState,
  refusalDuring,
  refuseWithCopy,
  replacedCas,
  signingCa,
} from '../auth/states.ts'
import { type CertRow, certTable, issuedBy, layoutOf, wantedValues } from '../layouts/tables.ts'
import { authTarget, type ClusterTarget, type Run } from '../target.ts'

export function targets(cluster: Cluster): ClusterTarget[] {
  const rows = certTable(cluster).filter(({ phase }) => phase === 'ca')
  const others = rows.flatMap(({ id, name }) => (name === caName ? [] : [id]))
  return rows.map((row) => {
    const { id, phase, profile, purpose, irreplaceable } = row
    const files = layoutOf(cluster).files.pair(row.name)
    return authTarget({
      id,
      phase,
      // A cluster CA that is there before etcd's own is one that etcd shares, so the target of etcd's comes first.
      needs: row.name === caName ? others : [],
      makes: files,
      wanted: wantedValues({ profile, validity: cluster.certificates.caValidity }),
      purpose,
      where: 'auth',
      irreplaceable: irreplaceable?.part,
      refuse: (run, force) => {
        if (force === 'replace') refuseReplacing(run, row)
        else check(run, row, force)
      },
      check: (run, force) => check(run, row, force),
      build: (run, work) => workOf(run, row, work.force).make(work),
    })
  })
}

function check(run: Run, row: CertRow, force: Force | undefined): Check {
  if (row.name === caName) refuseSharedEtcd(run)
  return workOf(run, row, force).check()
}

/** The work of a build, in one stage. */
interface StageWork {
  check(): Check
  make(work: Work): Promise<Built>
}

const stages: Readonly<Record<CaState['stage'], (run: Run, row: CertRow, force?: Force) => StageWork>> = {
  settled: workOnCa,
  both: workOnNext,
  finishing: workOnKey,
}

/** Throws a refusal if the files in auth/ do not fit together. */
function workOf(run: Run, row: CertRow, force: Force | undefined): StageWork {
  if (row.name === frontProxyCaName) {
    if (force !== 'replace') refuseBegun(run, row)
    return workOnCa(run, row, force)
  }
  const { stage } = readCaState(run, row.name)
  return stages[force === 'renew' && stage === 'both' ? 'settled' : stage](run, row, force)
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

/** What is known of a CA before a build. */
interface CaLook {
  readonly run: Run
  readonly row: CertRow
  readonly force: Force | undefined
  readonly pair: Pair
}

/** A CA that is to be made: `key` is what there is of it already. */
interface CaMaking extends CaLook {
  readonly key: KeyObject | undefined
  readonly period: ReturnType<typeof validityPeriod>
}

function workOnCa(run: Run, row: CertRow, force?: Force): StageWork {
  const { auth, now, cluster } = run
  const { name } = row
  const pair = readPair(auth, name)
  const key = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const look: CaLook = { run, row, force, pair }
  return {
    check: () => ({ ...checkCa(look), warn: texts(warnOfCopy(run, name)) }),
    make: (work) => makeCa({ ...look, key, period }, work),
  }
}

/** A certificate is never beside a key that does not match: a run that is killed leaves the key alone. */
async function makeCa(making: CaMaking, work: Work): Promise<Built> {
  const { run, row, force, period, key: kept } = making
  const { auth, now } = run
  const note = noteOnPair(auth, row.name, { expires: period.notAfter, isKeyKept: kept !== undefined })
  const [certificate, key] = auth.files.pair(row.name)
  const old = force && backUp(auth, [certificate, key, ...caRotationFiles(auth.files, row.name)], now)
  const privateKey = kept ?? (await makeCaKey(making, work))
  auth.writeDurably([certificate, await signCa(making, privateKey), publicMode])
  return { note, warn: texts(old && adviseAfter(making, old)) }
}

/** Removes first what would lead to the CA that the key replaces. */
async function makeCaKey(
  { run: { auth, planKey }, row: { name, profile } }: CaMaking,
  { tell }: Work,
): Promise<KeyObject> {
  const { generatePrivateKey, privateKeyPem } = await import('../../lib/pki/x509.ts')
  const [certificate, key] = auth.files.pair(name)
  for (const file of caRotationFiles(auth.files, name)) auth.remove(file)
  auth.remove(certificate)
  tell('new key')
  const made = await generatePrivateKey(planKey ?? profile.key)
  auth.writeDurably([key, privateKeyPem(made), secretMode])
  return made
}

/** A key that stays keeps its CA's name, byte for byte: issued certificates name their issuer by these bytes. */
async function signCa({ run, row, pair, key, period }: CaMaking, privateKey: KeyObject): Promise<string> {
  const { selfSign } = await import('../../lib/pki/x509.ts')
  if (!key) return selfSign({ profile: row.profile, ...period }, privateKey)
  const former = pair.certificate ?? replacedCas(run.auth, row.name).find((ca) => isKeyOf(ca, privateKey))
  const profile = caProfile(pair.certificate, row.profile)
  return selfSign({ profile, named: former, ...period }, privateKey)
}

function adviseAfter({ run: { auth, cluster, command }, row, force }: CaMaking, folder: string): string {
  if (force === 'renew')
    return `moved the old ${auth.files.certificate(row.name)} to ${folder}; ${cluster.install ? 'then run' : 'then run what lists what to restart'}:\n    ${command('bootstrap')}`
  if (row.name === frontProxyCaName)
    return `moved the old ${labelOf(row)} to ${folder}; ${frontProxyOutage}; install it:\n    ${command('bootstrap')}`
  return `moved the old ${labelOf(row)} to ${folder}; run:\n    ${command('bootstrap --replace-identity')}\nthen restart every component on every node`
}

/** What a rotation has made of the next CA. */
interface NextCa {
  readonly key: KeyObject | undefined
  /**
   * A certificate that a wrong clock has dated in the future counts as missing: it is made again, with the cross one.
   */
  readonly certificate: Certificate | undefined
  readonly present: Certificate | undefined
  /** What is still to be made. */
  readonly missing: readonly Diff[]
}

function readNext({ auth, now }: Run, name: string): NextCa {
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

function workOnNext(run: Run, row: CertRow): StageWork {
  const { auth, now, cluster } = run
  const next = readNext(run, row.name)
  const expires = next.certificate?.notAfter ?? validityPeriod(now, cluster.certificates.caValidity).notAfter
  return {
    check() {
      const checked = checkCa({ run, row, force: undefined, pair: readPair(auth, row.name) })
      return { ...checked, diffs: [...checked.diffs, ...next.missing] }
    },
    async make() {
      await makeNext(run, row, next)
      return { note: `expires ${formatDate(expires)}` }
    },
  }
}

/** The cross certificate expires with the first of the two CAs. */
async function makeNext(run: Run, { name, profile }: CertRow, { key, certificate, present }: NextCa): Promise<void> {
  const { auth, now, cluster } = run
  const { issueCertificate, selfSign } = await import('../../lib/pki/x509.ts')
  if (!key || !present) throw new Failure(`can't read the CA in ${auth.path} any more`, { remedy: runAgain })
  const files = caFiles(auth.files, name)
  const periodUntil = (end?: Date) => validityPeriod(now, cluster.certificates.caValidity, end)
  const CN = nextCaCommonName(commonNameOf(present) ?? '', profile.subject.CN)
  const wanted = { ...profile, subject: { ...profile.subject, CN } }
  if (!certificate) auth.writeDurably([files.next, selfSign({ profile: wanted, ...periodUntil() }, key), publicMode])
  const [next, issuer] = [readIssuer(auth, nextName(name)), readIssuer(auth, name)]
  const end = new Date(Math.min(next.certificate.notAfter.getTime(), issuer.certificate.notAfter.getTime()))
  const request = { profile: wanted, publicKey: createPublicKey(key), ...periodUntil(end), named: next.certificate }
  auth.writeDurably([files.cross, issueCertificate(request, issuer), publicMode])
}

/** The current CA's certificate and key are in backup/ by now. */
function workOnKey({ auth }: Run, { name }: CertRow): StageWork {
  const [key, next] = [auth.files.key(name), auth.files.pair(nextName(name))]
  const left = next.filter((file) => auth.read(file))
  return {
    check: () => ({
      diffs: [{ what: `the next CA replaces the current one: ${left.join(', ')}`, verb: 'change', names: [key] }],
    }),
    async make() {
      const bytes = auth.tryBytes(auth.files.key(nextName(name)))
      if (bytes) auth.writeDurably([key, bytes, secretMode])
      for (const file of next) auth.remove(file)
      return {}
    },
  }
}

function checkCa(look: CaLook): Check {
  const { run, force, pair } = look
  refuseObstacles(look)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${run.auth.path} has no CA to renew`, { remedy: `create one:\n    ${run.command('ca')}` })
  const diffs = wrongIn(pair)
  if (!pair.certificate || force) return { diffs }
  const until = pair.certificate.notAfter
  return { diffs, until, note: `expires ${formatDate(until)}` }
}

/** `rotate etcd-ca` waits before its first stage; from then on its own notices report it, like any rotation. */
function warnOfCopy({ auth, command, stagedBy }: Run, name: string): string | undefined {
  return name === etcdCaName && stagedBy !== name && isCopyOfCa(auth)
    ? `etcd still has the cluster CA; continue:\n    ${command(`rotate ${name}`)}`
    : undefined
}

const isAbsent = ({ missing }: Pair) => missing.length === 2

/** What to expect of the replacement of the front proxy's CA, before and after. */
export const frontProxyOutage = 'aggregated APIs fail until each API server has the new CA, for seconds to minutes'

const labelOf = ({ name, irreplaceable }: CertRow) => irreplaceable?.label ?? name
const caIn = ({ auth }: Pick<Run, 'auth'>, row: CertRow) => `the ${labelOf(row)} in ${auth.path}`
const pairOf = ({ auth }: Pick<Run, 'auth'>, name: string) => auth.files.pair(name).join(' and ')

/** `existing`: files that have to be moved aside first. `isOnNodes`: control nodes have what is missing. */
function formatRestore(
  run: Run,
  name: string,
  existing: readonly string[] = [],
  isOnNodes = run.cluster.certificates.caKeyOnNodes,
): string {
  const source = `a backup${isOnNodes ? ' or from a control node' : ''}`
  const recover = isOnNodes ? undefined : recoverCommand(run)
  return `restore ${pairOf(run, name)} from ${source}:\n    ${fetchCommand(run, existing, recover)}`
}

const formatStartOver = ({ command }: Run, { id, irreplaceable }: CertRow) =>
  `or abandon ${irreplaceable?.loss}:\n    ${command(`${id} --force`)}`
const formatRenew = ({ command }: Run) => `reissue the CA certificate with the same key:\n    ${command('ca --renew')}`

/** An etcd with its own CA can't share the cluster's again: the members would no longer accept each other. */
export function refuseSharedEtcd(run: Run): void {
  const { auth, cluster, now } = run
  const isOwn = tryCertificate(auth, etcdCaName) !== undefined && !isCopyOfCa(auth)
  const isRotating = signingCa(auth, now, etcdCaName).stage !== 'settled'
  if (cluster.etcd.ca === 'own' || !tryCertificate(auth, caName) || !(isOwn || isRotating)) return
  throw refusal(
    `etcd has its own CA (${auth.files.certificate(etcdCaName)} in ${auth.path}), but cluster.yaml has etcd.ca: shared`,
    [
      'set in cluster.yaml:\n    etcd: { ca: own }',
      ...(isRotating ? [] : [`or, if etcd never had that CA, move ${pairOf(run, etcdCaName)} aside`]),
    ],
  )
}

/**
 * True after a run that replaces the CA was killed between its files: certificates are still of a CA in backup/. Where
 * its key is still there, another certificate gets the same name.
 */
function isBeingReplaced({ pair, run: { auth, cluster }, row: { name } }: CaLook): boolean {
  const [first] = issuedBy(cluster, name)
  const issued = first && tryCertificate(auth, first.name)
  return pair.key !== undefined && issued !== undefined && replacedCas(auth, name).some((ca) => isIssuedBy(issued, ca))
}

/**
 * Files that stop working with a new CA, or with another name of the same one. Those of former nodes and users are of
 * the cluster's CA.
 */
function issuedIn({ auth, cluster }: Run, ca: string): string[] {
  const hasName = (rows: readonly CertRow[], name: string) => rows.some((row) => row.name === name)
  return auth.names().filter((file) => {
    const { kind = '', name = '' } = auth.files.parse(file) ?? {}
    const isIssued = hasName(issuedBy(cluster, ca), name) || (ca === caName && !hasName(certTable(cluster), name))
    return ['certificate', 'kubeconfig'].includes(kind) && isIssued
  })
}

/** What no run may go on with, and each way out. */
interface Obstacle {
  readonly what: string
  readonly ways: readonly string[]
}

/**
 * The first obstacle that is there is refused, so each of them relies on those before it. A run with --renew goes past
 * the obstacles that are marked (*).
 *
 *   in auth/                                                    ways out
 *   ----------------------------------------------------------  ---------------------------------------------
 *   a file that can't be used                                   restore; --force
 *   a CA that differs from cluster.yaml in key or subject       change cluster.yaml; --force
 *   a CA with other usages than it needs                (*)     --renew
 *   no certificate, but files that a previous CA has issued     restore; --force
 *   no CA of etcd, but a cluster CA, which etcd shares          rotate; --force; change cluster.yaml
 *   a CA with name constraints                          (*)     --renew
 *   an expired CA                                       (*)     --renew
 *   a CA that is not valid yet                          (*)     correct the clock of this machine; --renew
 */
const obstacles: readonly ((look: CaLook) => Obstacle | false | undefined)[] = [
  unusableFiles,
  anotherIdentity,
  otherUsages,
  lostCa,
  sharedCa,
  nameConstraints,
  expired,
  notYetValid,
]

function refuseObstacles(look: CaLook): void {
  for (const find of obstacles) {
    const obstacle = find(look)
    if (obstacle) throw refusal(obstacle.what, obstacle.ways)
  }
}

/** A missing certificate can be made again, and a wrong mode corrected. */
function unusableFiles({ run, row, pair }: CaLook) {
  const files = run.auth.files.pair(row.name)
  // A certificate without its key, or a key without its certificate.
  const isMissing = ({ verb, names = [] }: Diff) =>
    verb !== 'chmod' && names.some((name) => pair.missing.includes(name))
  const isRepaired = (diff: Diff) => diff.verb === 'chmod' || (isMissing(diff) && !pair.missing.includes(files[1]))
  const broken = wrongIn(pair).filter((diff) => !isRepaired(diff))
  if (isAbsent(pair) || broken.length === 0) return undefined
  const existing = broken.every(isMissing) ? [] : files
  return {
    what: `${caIn(run, row)} can't be used; ${formatDiffs(broken)}`,
    ways: [formatRestore(run, row.name, existing), formatStartOver(run, row)],
  }
}

/** What the CA, or its key alone, has otherwise than cluster.yaml wants. */
function differencesOf({ row, pair: { certificate, key } }: CaLook): Diff[] {
  const profile = caProfile(certificate, row.profile)
  if (certificate) return compareIdentity(certificate, profile)
  return key ? compareKeyKind(key, profile) : []
}

/** A CA with other usages is still the same: --renew corrects them. */
function anotherIdentity(look: CaLook) {
  const { run, row } = look
  const differences = differencesOf(look)
  if (differences.length === 0) return undefined
  return {
    what: `${caIn(run, row)} differs from cluster.yaml, which needs another CA (${formatDiffs(differences)})`,
    ways: ['change cluster.yaml to match the CA', formatStartOver(run, row)],
  }
}

function otherUsages(look: CaLook) {
  const { certificate } = look.pair
  if (look.force === 'renew' || !certificate || hasUsages(certificate, look.row.profile)) return undefined
  const what = `${caIn(look.run, look.row)} can't be used; key usages differ`
  return { what, ways: [formatRenew(look.run)] }
}

function lostCa(look: CaLook) {
  const { run, row, pair } = look
  if (pair.certificate || isBeingReplaced(look)) return undefined
  const issued = issuedIn(run, row.name)
  if (issued.length === 0) return undefined
  const missing = run.auth.files.pair(row.name).filter((file) => !run.auth.read(file))
  return {
    what: `${run.auth.path} has no ${missing.join(' and ')}, but ${formatNames(issued)}, issued by a previous CA`,
    // The certificate alone is on control nodes wherever the keys are.
    ways: [formatRestore(run, row.name, [], pair.key ? true : undefined), formatStartOver(run, row)],
  }
}

function sharedCa(look: CaLook) {
  const { auth, command } = look.run
  const { id, name } = look.row
  if (name !== etcdCaName || look.pair.certificate || isBeingReplaced(look)) return undefined
  if (!auth.names().some((file) => auth.files.parse(file)?.kind === 'certificate')) return undefined
  return {
    what: `etcd shares the CA in ${auth.path}, but cluster.yaml has etcd.ca: own`,
    ways: [
      `migrate the running cluster:\n    ${command(`rotate ${name}`)}`,
      `if it does not run yet, create that CA:\n    ${command(`${id} --force`)}`,
      'or set in cluster.yaml:\n    etcd: { ca: shared }',
    ],
  }
}

/** The certificate that is used; undefined if it is about to be renewed. */
const usedIn = ({ force, pair }: CaLook) => (force === 'renew' ? undefined : pair.certificate)

/** The constraints are not evaluated, though they may permit the cluster's names: RFC 5280, 4.2.1.10. */
function nameConstraints(look: CaLook) {
  if (!usedIn(look)?.hasNameConstraints) return undefined
  const what = `${caIn(look.run, look.row)} has name constraints, which harderway does not support`
  return { what, ways: [formatRenew(look.run)] }
}

function expired(look: CaLook) {
  const ca = usedIn(look)
  if (!ca || ca.notAfter > look.run.now) return undefined
  return { what: `${caIn(look.run, look.row)} expired on ${formatDate(ca.notAfter)}`, ways: [formatRenew(look.run)] }
}

function notYetValid(look: CaLook) {
  const { run, row } = look
  const ca = usedIn(look)
  if (!ca || ca.notBefore <= run.now) return undefined
  return {
    what: `${caIn(run, row)} is not valid before ${ca.notBefore.toISOString()}, and this machine has ${run.now.toISOString()}`,
    ways: ['correct the clock of this machine', `or, if the clock is right, ${formatRenew(run)}`],
  }
}
