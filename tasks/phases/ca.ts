/** Phase `ca`: the root of trust, made once; every other certificate depends on it. */
import { createPublicKey } from 'node:crypto'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { backUp, caName, crossName, etcdCaName, nextName } from '../../lib/files/auth-dir.ts'
import { publicMode, secretMode } from '../../lib/files/plain-file.ts'
import { authTarget, type Force, type Run, type Target, type Work } from '../../lib/graph/target.ts'
import { readEmbeddedCa } from '../../lib/kubernetes/kubeconfig.ts'
import {
  type Certificate,
  commonNameOf,
  compareKeyKind,
  compareWithProfile,
  isIssuedBy,
  readCertificates,
} from '../../lib/pki/certificate.ts'
import { oids } from '../../lib/pki/encoding.ts'
import {
  changeOfPair,
  isKeyOf,
  type Pair,
  readIssuer,
  readPair,
  tryCertificate,
  validityPeriod,
} from '../../lib/pki/pair.ts'
import { type Change, type CheckResult, formatReasons } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { type CertRow, certTable, issuedBy, layoutOf, unitsToRestart, wantedValues } from '../layouts/tables.ts'
import { fetchCommand, recoverCommand } from '../nodes/fetch-command.ts'
import {
  type CaState,
  caFiles,
  caProfile,
  caRotationReasons,
  isCopyOfCa,
  nextCaCommonName,
  readCaState,
  refusalDuring,
  refuseWithCopy,
  replacedCas,
  signingCa,
} from '../rotations/states.ts'

export function targets(cluster: Cluster): Target[] {
  const rows = certTable(cluster).filter(({ phase }) => phase === 'ca')
  const others = rows.flatMap(({ id, name }) => (name === caName ? [] : [id]))
  return rows.map((row) => {
    const { id, phase, profile, purpose, irreplaceable } = row
    const files = layoutOf(cluster).files.pair(row.name)
    return authTarget({
      id,
      phase,
      needs: [],
      // Whether there is a CA tells a cluster whose etcd shares it from a new one.
      after: row.name === caName ? others : [],
      makes: files,
      wanted: wantedValues({ profile, validity: cluster.certificates.caValidity }),
      purpose,
      restarts: unitsToRestart(cluster, files),
      where: 'auth',
      irreplaceable: irreplaceable?.part,
      check: (run, force) => check(run, row, force),
      build: (run, work) => build(run, row, work),
      foresee: (run, work) => foresee(run, row, work),
    })
  })
}

function check(run: Run, row: CertRow, force?: Force): CheckResult {
  const { name } = row
  if (name === caName) refuseSharedEtcd(run)
  const state = readCaState(run, name)
  if (state.stage === 'finishing') return { reasons: caRotationReasons(run, state, name) }
  const pair = readCa(run, name)
  refuseWrongCa(pair, run, row, force)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${run.auth.path} has no CA to renew`, { remedy: `${run.command('ca')} makes one` })
  if (!pair.certificate || force === 'renew') return { reasons: pair.reasons }
  const reasons = [...pair.reasons, ...caRotationReasons(run, state, name)]
  const until = pair.certificate.notAfter
  return { reasons, until, note: `expires ${formatDate(until)}`, warning: warnOfCopy(run, name, state) }
}

/** A lost certificate is in the kubeconfigs, byte for byte: unless one embeds another, or it is not of the key. */
function readCa({ auth }: Run, name: string): Pair & { readonly embedded?: Buffer } {
  const pair = readPair(auth, name)
  if (name !== caName || !pair.key || auth.read(auth.files.certificate(name))) return pair
  const kubeconfigs = auth.names().filter((name) => auth.files.parse(name)?.kind === 'kubeconfig')
  const [embedded, ...others] = kubeconfigs.map((name) => readEmbeddedCa(String(auth.tryBytes(name))))
  const [certificate, next] = readCertificates(embedded ?? '')
  if (!embedded || !certificate || next || !isKeyOf(certificate, pair.key)) return pair
  return others.every((each) => each?.equals(embedded)) ? { ...pair, certificate, embedded } : pair
}

function isAbsent({ reasons }: Pair): boolean {
  return reasons.filter(({ kind }) => kind === 'missing').length === 2
}

function foresee(run: Run, { name, profile }: CertRow, { force }: Work): Change {
  const { auth, now, cluster } = run
  const { certificate, embedded } = readCa(run, name)
  const { notAfter } = validityPeriod(now, cluster.certificates.caValidity)
  const isRestored = !force && embedded !== undefined
  const expires = (isRestored && certificate?.notAfter) || notAfter
  const isKeyKept = force !== 'replace' && auth.read(auth.files.key(name)) !== undefined
  const change = changeOfPair(auth, name, { profile, expires, isKeyKept })
  return isRestored && change.kind === 'made' ? { ...change, isRestored } : change
}

async function build(run: Run, row: CertRow, work: Work) {
  const { name } = row
  const { stage } = readCaState(run, name)
  if (stage === 'finishing') return finishCa(run, name)
  if (name === caName && work.force === 'replace') refuseWithCopy(run)
  if (stage === 'both') {
    if (work.force === 'replace') throw refusalDuring(name, `a rotation of the ${labelOf(row)} is under way`, run)
    if (!work.force) return makeNextCa(run, row)
  }
  return makeCa(run, row, work)
}

/** While both CAs are in use, from the next CA's key. What is there already stays. */
async function makeNextCa(
  { auth, now, cluster }: Run,
  { name, profile: { subject, ...wanted } }: Pick<CertRow, 'name' | 'profile'>,
): Promise<{ change: Change }> {
  const { issueCertificate, issuerNameOf, selfSign } = await import('../../lib/pki/x509.ts')
  const { next: nextFile, cross: crossFile } = caFiles(auth.files, name)
  const { certificate: present } = readPair(auth, name)
  const { key, certificate: there } = readPair(auth, nextName(name))
  if (!key || !present) throw unreadable(auth)
  const profile = { ...wanted, subject: { ...subject, CN: nextCaCommonName(commonNameOf(present) ?? '', subject.CN) } }
  const periodUntil = (end?: Date) => validityPeriod(now, cluster.certificates.caValidity, end)
  if (!there || there.notBefore > now)
    auth.write(nextFile, selfSign({ profile, ...periodUntil() }, key), publicMode, { durable: true })
  const next = tryCertificate(auth, nextName(name))
  if (!next) throw unreadable(auth)
  const end = new Date(Math.min(next.notAfter.getTime(), present.notAfter.getTime()))
  const request = { profile, publicKey: createPublicKey(key), ...periodUntil(end), name: issuerNameOf(next) }
  auth.write(crossFile, issueCertificate(request, readIssuer(auth, name)), publicMode, { durable: true })
  const is = { key: cluster.certificates.key, expires: next.notAfter, names: 0 }
  return { change: { kind: 'made', files: [nextFile, crossFile], isNew: there === undefined, is } }
}

/** The next CA's certificate has replaced the present one, which is in backup/: the key follows. */
async function finishCa({ auth }: Run, name: string): Promise<{ change: Change }> {
  const { privateKeyPem } = await import('../../lib/pki/x509.ts')
  const { certificate } = readPair(auth, name)
  const { key } = readPair(auth, nextName(name))
  if (key && certificate?.publicKey.equals(createPublicKey(key)))
    auth.write(auth.files.key(name), privateKeyPem(key), secretMode, { durable: true })
  const { next, nextKey } = caFiles(auth.files, name)
  auth.remove(next)
  auth.remove(nextKey)
  return { change: { kind: 'made', files: auth.files.pair(name), isNew: false } }
}

function unreadable(auth: Run['auth']): Failure {
  return new Failure(`the CA in ${auth.path} can't be read any more`, { remedy: runAgain })
}

async function makeCa(run: Run, row: CertRow, work: Work) {
  const { name, profile: wanted } = row
  const { force, tell } = work
  const { generatePrivateKey, issuerNameOf, privateKeyPem, selfSign } = await import('../../lib/pki/x509.ts')
  const { auth, now, cluster, command } = run
  const [certificate, key] = auth.files.pair(name)
  const cross = auth.files.certificate(crossName(name))
  const pair = readCa(run, name)
  const profile = force === 'replace' ? wanted : caProfile(pair.certificate, wanted)
  const kept = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const embedded = force ? undefined : pair.embedded
  const change = foresee(run, row, work)
  const old = force && backUp(auth, [certificate, key, cross], now)
  // It would lead to the CA that is being replaced.
  if (!kept) auth.remove(cross)
  // The certificate must never be beside a key that does not match.
  if (!kept) auth.remove(certificate)
  if (!kept) tell({ doing: 'new key' })
  const privateKey = kept ?? (await generatePrivateKey(profile.key))
  if (!kept) auth.write(key, privateKeyPem(privateKey), secretMode, { durable: true })
  const named = pair.certificate ?? replacedCas(run.auth, name).find((each) => isKeyOf(each, privateKey))
  const encoded = kept && named && issuerNameOf(named)
  const pem = embedded ?? selfSign({ profile, ...period, name: encoded }, privateKey)
  auth.write(certificate, pem, publicMode, { durable: true })
  if (!old) return { change }
  const warning =
    force === 'renew'
      ? `the old ${certificate} is in ${old}; now: ${command('bootstrap')}${cluster.install ? '' : ', which lists what to restart'}`
      : `the old ${labelOf(row)} is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart every component on every node`
  return { change, warning }
}

const labelOf = ({ name, irreplaceable }: CertRow) => irreplaceable?.label ?? name
const caIn = ({ auth }: Pick<Run, 'auth'>, row: CertRow) => `the ${labelOf(row)} in ${auth.path}`
const pairOf = ({ auth }: Pick<Run, 'auth'>, name: string) => auth.files.pair(name).join(' and ')
const sourceOf = ({ cluster: { certificates } }: Run) => (certificates.caKeyOnNodes ? ' or from a control node' : '')
/** `inTheWay`: files that exist. */
const restore = (run: Run, name: string, inTheWay: readonly string[] = []) =>
  `restore ${pairOf(run, name)} from a backup${sourceOf(run)}: ${fetchCommand(run, inTheWay, recoverCommand(run))}`
const startOver = ({ command }: Run, { id, irreplaceable }: CertRow) =>
  `or give up ${irreplaceable?.loss}: ${command(`${id} --force`)}`
const renew = ({ command }: Run) => `reissue the CA certificate over the same key: ${command('ca --renew')}`

/** `rotate etcd-ca` has begun, and waits. From its first stage on it is reported as any rotation is. */
function warnOfCopy({ auth, command, rotating }: Run, name: string, { stage }: CaState): string | undefined {
  return name === etcdCaName && stage === 'settled' && rotating !== name && isCopyOfCa(auth)
    ? `etcd still has the CA of the cluster; go on: ${command(`rotate ${name}`)}`
    : undefined
}

/** There is no way back: the members would no longer accept each other. */
export function refuseSharedEtcd(run: Run): void {
  const { auth, cluster, now } = run
  const isOwn = tryCertificate(auth, etcdCaName) !== undefined && !isCopyOfCa(auth)
  const isRotating = signingCa(auth, now, etcdCaName).stage !== 'settled'
  if (cluster.etcd.ca === 'own' || !tryCertificate(auth, caName) || !(isOwn || isRotating)) return
  throw refusal(
    `etcd has a CA of its own (${auth.files.certificate(etcdCaName)} in ${auth.path}), and cluster.yaml lets it share the cluster's`,
    [
      'set etcd: { ca: own } in cluster.yaml',
      ...(isRotating ? [] : [`or, if etcd was never given it, move ${pairOf(run, etcdCaName)} away`]),
    ],
  )
}

/**
 * A run that replaces the CA was killed between its files: what is here is still of one in backup/. Of a CA that was renewed the
 * certificate can be lost, too: it gets the same name again.
 */
function isBeingReplaced({ key }: Pair, { auth, cluster }: Run, { name }: CertRow): boolean {
  const [first] = issuedBy(cluster, name)
  const issued = first && tryCertificate(auth, first.name)
  return key !== undefined && issued !== undefined && replacedCas(auth, name).some((ca) => isIssuedBy(issued, ca))
}

/** With a new CA, or another name of it, this would stop working. Of the cluster's CA are those of former nodes and users too. */
function issuedIn({ auth, cluster }: Run, ca: string): string[] {
  const isOf = (rows: readonly CertRow[], its: string) => rows.some(({ name }) => name === its)
  return auth.names().filter((file) => {
    const { kind = '', name = '' } = auth.files.parse(file) ?? {}
    const isIssued = isOf(issuedBy(cluster, ca), name) || (ca === caName && !isOf(certTable(cluster), name))
    return ['certificate', 'kubeconfig'].includes(kind) && isIssued
  })
}

/** What is there, or is not, and no run may go on with: the first row that applies, with the ways out. */
function refuseWrongCa(pair: Pair, run: Run, row: CertRow, force?: Force): void {
  const { auth, command, now } = run
  const { name } = row
  const { certificate: ca, key } = pair
  const files = auth.files.pair(name)
  const what = caIn(run, row)
  const profile = caProfile(ca, row.profile)
  const isMissing = ({ kind, path }: { kind: string; path?: string }) => kind === 'missing' && path === files[0]
  const broken = isAbsent(pair) ? [] : pair.reasons.filter((each) => each.kind !== 'wrong-mode' && !isMissing(each))
  const inTheWay = broken.every(({ kind }) => kind === 'missing') ? [] : files
  const differences = ca ? compareWithProfile(ca, profile) : key ? compareKeyKind(key, profile) : []
  // Its usages are not part of the identity.
  const isRenewable = differences.every(({ kind }) => kind === 'usages-changed')
  const isNew = !ca && !isBeingReplaced(pair, run, row)
  const issued = isNew ? issuedIn(run, name) : []
  const missing = files.filter((each) => !auth.read(each)).join(' and ')
  const none = `${auth.path} has no ${missing}, but ${formatNames(issued)}, issued by a previous CA`
  const isOfEtcd = isNew && name === etcdCaName
  const isShared = isOfEtcd && auth.names().some((each) => auth.files.parse(each)?.kind === 'certificate')
  const isNotYet = `${what} is not valid before ${ca?.notBefore.toISOString()}, and here it is ${now.toISOString()}`
  const [again, over, keep] = [renew(run), startOver(run, row), 'change cluster.yaml to match the CA']
  type Ground = readonly [when: boolean, found: string, ...ways: string[]]
  const ofFiles: Ground[] = [
    [broken.length > 0, `${what}: ${formatReasons(broken)}`, restore(run, name, inTheWay), over],
    [!isRenewable, `${what} differs from cluster.yaml: ${formatReasons(differences)}`, keep, over],
    [differences.length > 0 && force !== 'renew', `${what}: ${formatReasons(differences)}`, again],
    [issued.length > 0, none, restore(run, name), over],
    [
      isShared,
      `etcd shares the CA in ${auth.path}, and cluster.yaml gives it one of its own`,
      `lead it there while it runs: ${command(`rotate ${name}`)}`,
      `if it does not run yet, make that CA: ${command(`${row.id} --force`)}`,
      'or set etcd: { ca: shared } in cluster.yaml',
    ],
  ]
  const ofUse = ({ refusals, extensions, notBefore, notAfter }: Certificate): Ground[] => [
    // Components would not trust what it signs, or not all of it.
    [refusals.length > 0, `${what}: ${formatReasons(refusals)}`, again],
    // RFC 5280, 4.2.1.10. Whether they permit the cluster's names is not evaluated.
    [
      extensions.some(({ id }) => id === oids.nameConstraints),
      `${what} has name constraints, which harderway does not support`,
      again,
    ],
    [notAfter <= now, `${what} expired on ${formatDate(notAfter)}`, again],
    [notBefore > now, isNotYet, "correct this machine's clock", `or, if the clock is right, ${again}`],
  ]
  for (const [when, found, ...ways] of [...ofFiles, ...(ca && force !== 'renew' ? ofUse(ca) : [])])
    if (when) throw refusal(found, ways)
}
