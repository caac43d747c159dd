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
import { asFindings, type Change, type CheckResult, formatReasons, type Reason } from '../../lib/results.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { fetchCommand, recoverCommand } from '../auth/fetch-command.ts'
import {
  type CaState,
  caFiles,
  caProfile,
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
      where: 'auth',
      irreplaceable: irreplaceable?.part,
      check: (run, force) => {
        if (row.name === caName) refuseSharedEtcd(run)
        return workOf(run, row, force).check()
      },
      refuseReplacing: (run) => refuseReplacing(run, row),
      build: async (run, work) => {
        const { change, make } = workOf(run, row, work.force)
        return { change, findings: asFindings([await make(work)]) }
      },
      foresee: (run, { force }) => workOf(run, row, force).change,
    })
  })
}

/** Computed from one look at auth/, so that a plan says what the run makes. */
interface StageWork {
  check(): CheckResult
  readonly change: Change
  /** Makes that change. Returns what the user must do next. */
  make(work: Work): Promise<string | undefined>
}

const stages: Readonly<Record<CaState['stage'], (run: Run, row: CertRow, force?: Force) => StageWork>> = {
  settled: workOnCa,
  both: workOnNext,
  finishing: workOnKey,
}

/** Throws a refusal if the files in auth/ do not fit together. */
function workOf(run: Run, row: CertRow, force: Force | undefined): StageWork {
  const { stage } = readCaState(run, row.name)
  // The present CA is renewed whatever follows it.
  return stages[force === 'renew' && stage === 'both' ? 'settled' : stage](run, row, force)
}

function refuseReplacing(run: Run, row: CertRow): void {
  const { stage } = readCaState(run, row.name)
  const what = `a rotation of the ${labelOf(row)} is in progress`
  if (stage !== 'settled') throw refusalDuring(row.name, what, run, { isLast: stage === 'finishing' })
  if (row.name === caName) refuseWithCopy(run)
}

function workOnCa(run: Run, row: CertRow, force?: Force): StageWork {
  const { auth, now, cluster, command } = run
  const { name, profile } = row
  const [certificate, key] = auth.files.pair(name)
  const pair = readCa(run, name)
  const embedded = force ? undefined : pair.embedded
  const kept = force === 'replace' ? undefined : pair.key
  const period = validityPeriod(now, cluster.certificates.caValidity)
  const expires = (embedded && pair.certificate?.notAfter) ?? period.notAfter
  const change = changeOfPair(auth, name, { profile, expires, isKeyKept: kept !== undefined })
  return {
    check: () => ({ ...checkCa(run, row, pair, force), findings: asFindings([warnOfCopy(run, name)]) }),
    change: embedded && change.kind === 'made' ? { ...change, isRestored: true } : change,
    async make({ tell }) {
      const { generatePrivateKey, issuerNameOf, privateKeyPem, selfSign } = await import('../../lib/pki/x509.ts')
      const cross = auth.files.certificate(crossName(name))
      const old = force && backUp(auth, [certificate, key, cross], now)
      if (!kept) {
        // It would lead to the CA that is being replaced.
        auth.remove(cross)
        // The certificate must never be beside a key that does not match.
        auth.remove(certificate)
        tell({ doing: 'new key' })
      }
      const privateKey = kept ?? (await generatePrivateKey(profile.key))
      if (!kept) auth.write(key, privateKeyPem(privateKey), secretMode, { durable: true })
      const named = pair.certificate ?? replacedCas(auth, name).find((each) => isKeyOf(each, privateKey))
      const its = {
        profile: kept ? caProfile(pair.certificate, profile) : profile,
        name: kept && named && issuerNameOf(named),
      }
      auth.write(certificate, embedded ?? selfSign({ ...its, ...period }, privateKey), publicMode, { durable: true })
      if (!old) return undefined
      return force === 'renew'
        ? `moved the old ${certificate} to ${old}; run ${command('bootstrap')}${cluster.install ? '' : ' (it lists what to restart)'}`
        : `moved the old ${labelOf(row)} to ${old}; run ${command('bootstrap --replace-identity')}, then restart every component on every node`
    },
  }
}

/** The next CA's key exists, and the rest is made from it. Existing files stay, unless a wrong clock dated them. */
function workOnNext(run: Run, row: CertRow): StageWork {
  const { auth, now, cluster } = run
  const { name, profile } = row
  const files = caFiles(auth.files, name)
  const { key, certificate: there, reasons } = readPair(auth, nextName(name))
  const [present, cross] = [tryCertificate(auth, name), tryCertificate(auth, crossName(name))]
  const next = there && there.notBefore <= now ? there : undefined
  const isCross = there && present && cross?.isCa && isTwin(cross, there) && isIssuedBy(cross, present)
  const periodUntil = (end?: Date) => validityPeriod(now, cluster.certificates.caValidity, end)
  const missing: Reason[] = [
    ...reasons,
    ...(there && !next ? [{ kind: 'not-yet-valid', notBefore: there.notBefore } as const] : []),
    ...(isCross && cross.notAfter > now ? [] : [{ kind: 'missing', path: files.cross } as const]),
  ]
  const is = { key: cluster.certificates.key, expires: next?.notAfter ?? periodUntil().notAfter, names: 0 }
  return {
    check() {
      const result = checkCa(run, row, readCa(run, name))
      return { ...result, reasons: [...result.reasons, ...missing] }
    },
    change: { kind: 'made', files: next ? [files.cross] : [files.next, files.cross], isNew: !next, is },
    async make() {
      const { issueCertificate, selfSign } = await import('../../lib/pki/x509.ts')
      if (!key || !present) throw new Failure(`can't read the CA in ${auth.path} any more`, { remedy: runAgain })
      const CN = nextCaCommonName(commonNameOf(present) ?? '', profile.subject.CN)
      const wanted = { ...profile, subject: { ...profile.subject, CN } }
      if (!next)
        auth.write(files.next, selfSign({ profile: wanted, ...periodUntil() }, key), publicMode, { durable: true })
      const [its, issuer] = [readIssuer(auth, nextName(name)), readIssuer(auth, name)]
      const end = new Date(Math.min(its.notAfter.getTime(), issuer.notAfter.getTime()))
      const request = { profile: wanted, publicKey: createPublicKey(key), ...periodUntil(end), name: its }
      auth.write(files.cross, issueCertificate(request, issuer), publicMode, { durable: true })
      return undefined
    },
  }
}

/** The next CA's certificate has replaced the present one, which is in backup/: the key follows. */
function workOnKey({ auth }: Run, { name }: CertRow): StageWork {
  const [key, next] = [auth.files.key(name), auth.files.pair(nextName(name))]
  const left = next.filter((file) => auth.read(file))
  return {
    check: () => ({
      reasons: [{ kind: 'rotation', what: `the next CA replaces the current one: ${left.join(', ')}` }],
    }),
    change: { kind: 'made', files: [key], isNew: false },
    async make() {
      const bytes = auth.tryBytes(auth.files.key(nextName(name)))
      if (bytes) auth.write(key, bytes, secretMode, { durable: true })
      for (const file of next) auth.remove(file)
      return undefined
    },
  }
}

function checkCa(run: Run, row: CertRow, pair: Pair, force?: Force): CheckResult {
  const { certificate, reasons } = pair
  refuseWrongCa(pair, run, row, force)
  if (isAbsent(pair) && force === 'renew')
    throw new Failure(`${run.auth.path} has no CA to renew`, { remedy: `create one: ${run.command('ca')}` })
  if (!certificate || force) return { reasons }
  const until = certificate.notAfter
  return { reasons, until, note: `expires ${formatDate(until)}` }
}

/** `rotate etcd-ca` waits before its first stage; from that on it is reported like any rotation. */
function warnOfCopy({ auth, command, stagedBy }: Run, name: string): string | undefined {
  return name === etcdCaName && stagedBy !== name && isCopyOfCa(auth)
    ? `etcd still has the cluster CA; continue: ${command(`rotate ${name}`)}`
    : undefined
}

/** A lost certificate is restored from the kubeconfigs, if all embed the same one and it is of the key. */
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

const labelOf = ({ name, irreplaceable }: CertRow) => irreplaceable?.label ?? name
const caIn = ({ auth }: Pick<Run, 'auth'>, row: CertRow) => `the ${labelOf(row)} in ${auth.path}`
const pairOf = ({ auth }: Pick<Run, 'auth'>, name: string) => auth.files.pair(name).join(' and ')
const sourceOf = ({ cluster: { certificates } }: Run) => (certificates.caKeyOnNodes ? ' or from a control node' : '')
/** `inTheWay`: files that exist. */
const restore = (run: Run, name: string, inTheWay: readonly string[] = []) =>
  `restore ${pairOf(run, name)} from a backup${sourceOf(run)}: ${fetchCommand(run, inTheWay, recoverCommand(run))}`
const startOver = ({ command }: Run, { id, irreplaceable }: CertRow) =>
  `or abandon ${irreplaceable?.loss}: ${command(`${id} --force`)}`
const renew = ({ command }: Run) => `reissue the CA certificate with the same key: ${command('ca --renew')}`

/** There is no way back: the members would no longer accept each other. */
export function refuseSharedEtcd(run: Run): void {
  const { auth, cluster, now } = run
  const isOwn = tryCertificate(auth, etcdCaName) !== undefined && !isCopyOfCa(auth)
  const isRotating = signingCa(auth, now, etcdCaName).stage !== 'settled'
  if (cluster.etcd.ca === 'own' || !tryCertificate(auth, caName) || !(isOwn || isRotating)) return
  throw refusal(
    `etcd has its own CA (${auth.files.certificate(etcdCaName)} in ${auth.path}), but cluster.yaml has etcd.ca: shared`,
    [
      'set etcd: { ca: own } in cluster.yaml',
      ...(isRotating ? [] : [`or, if etcd never had that CA, move ${pairOf(run, etcdCaName)} aside`]),
    ],
  )
}

/**
 * A run that replaces the CA was killed between its files: what is here is still of one in backup/. Of a CA that was
 * renewed the certificate can be lost, too: it gets the same name again.
 */
function isBeingReplaced({ key }: Pair, { auth, cluster }: Run, { name }: CertRow): boolean {
  const [first] = issuedBy(cluster, name)
  const issued = first && tryCertificate(auth, first.name)
  return key !== undefined && issued !== undefined && replacedCas(auth, name).some((ca) => isIssuedBy(issued, ca))
}

/**
 * With a new CA, or another name of it, this would stop working. Of the cluster's CA are those of former nodes and
 * users too.
 */
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
  const isNotYet = `${what} is not valid before ${ca?.notBefore.toISOString()}, and this machine has ${now.toISOString()}`
  const [again, over, keep] = [renew(run), startOver(run, row), 'change cluster.yaml to match the CA']
  type Ground = readonly [when: boolean, found: string, ...ways: string[]]
  const ofFiles: Ground[] = [
    [broken.length > 0, `${what} can't be used; ${formatReasons(broken)}`, restore(run, name, inTheWay), over],
    [
      !isRenewable,
      `${what} differs from cluster.yaml, which needs another CA (${formatReasons(differences)})`,
      keep,
      over,
    ],
    [differences.length > 0 && force !== 'renew', `${what} can't be used; ${formatReasons(differences)}`, again],
    [issued.length > 0, none, restore(run, name), over],
    [
      isShared,
      `etcd shares the CA in ${auth.path}, but cluster.yaml has etcd.ca: own`,
      `migrate the running cluster: ${command(`rotate ${name}`)}`,
      `if it does not run yet, create that CA: ${command(`${row.id} --force`)}`,
      'or set etcd: { ca: shared } in cluster.yaml',
    ],
  ]
  const ofUse = ({ refusals, extensions, notBefore, notAfter }: Certificate): Ground[] => [
    // Components would not trust what it signs, or not all of it.
    [refusals.length > 0, `${what} can't be used; ${formatReasons(refusals)}`, again],
    // RFC 5280, 4.2.1.10. Whether they permit the cluster's names is not evaluated.
    [
      extensions.some(({ id }) => id === oids.nameConstraints),
      `${what} has name constraints, which harderway does not support`,
      again,
    ],
    [notAfter <= now, `${what} expired on ${formatDate(notAfter)}`, again],
    [notBefore > now, isNotYet, 'correct the clock of this machine', `or, if the clock is right, ${again}`],
  ]
  for (const [when, found, ...ways] of [...ofFiles, ...(ca && force !== 'renew' ? ofUse(ca) : [])])
    if (when) throw refusal(found, ways)
}
