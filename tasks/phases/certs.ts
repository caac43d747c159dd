/** Phases `cluster-cert`, `component-certs`, `node-certs` and `user-certs`: every certificate that the CA signs. */
import type { KeyObject } from 'node:crypto'
import { firstAddress } from '../../lib/address.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal, tryTo } from '../../lib/failure.ts'
import { type AuthDir, backUp, caName, nextName } from '../../lib/files/auth-dir.ts'
import type { BuildContext } from '../../lib/graph/target.ts'
import { usersOf } from '../../lib/kubernetes/authorization.ts'
import { readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { type Certificate, commonNameOf, compareKeyKind, compareNames } from '../../lib/pki/certificate.ts'
import { certificatePem } from '../../lib/pki/encoding.ts'
import {
  checkCertificate,
  checkPair,
  keptKey,
  makePair,
  type Pair,
  readIssuer,
  readPair,
  tryCertificate,
  validityPeriod,
  wrongIn,
} from '../../lib/pki/pair.ts'
import { type Check, type Diff, formatDiffs, texts } from '../../lib/results.ts'
import { formatNames } from '../../lib/wording.ts'
import { chainOf, readTokenPair, readTokenState, recoverFromNode, refusalDuring, signingCa } from '../auth/states.ts'
import { authTarget, type ClusterTarget, type Run } from '../cluster-target.ts'
import { type CertRow, certTable, desiredValues, layoutOf } from '../layouts/tables.ts'

export function targets(cluster: Cluster, { phase }: { readonly phase: string }): ClusterTarget[] {
  return certTable(cluster)
    .filter((row) => row.phase === phase)
    .map((row) => {
      const files = layoutOf(cluster).files.pair(row.name)
      return authTarget({
        id: row.id,
        phase,
        node: row.node,
        needs: [issuerOf(cluster, row)],
        makes: files,
        desired: desiredValues(row),
        purpose: row.purpose,
        where: 'auth',
        irreplaceable: row.irreplaceable?.part,
        ...(row.irreplaceable ? tokenPair(row, row.irreplaceable) : leafPair(row)),
      })
    })
}

function issuerOf(cluster: Cluster, { issuer }: CertRow): string {
  return (issuer !== undefined && certTable(cluster).find(({ name }) => name === issuer)?.id) || caName
}

type CheckAndBuild = Pick<ClusterTarget, 'refuse' | 'check' | 'build'>

function leafPair(row: CertRow): CheckAndBuild {
  return {
    ...(row.phase === 'cluster-cert' && { refuse: (run) => void check(run, row) }),
    check: (run) => check(run, row),
    build: (run, work) => build(run, row, work),
  }
}

/** A warning of the certificate itself comes with the run that issues it, and with `status`. */
function check(run: Run, row: CertRow): Check {
  const { auth, now, cluster, isObserved } = run
  const { name, profile, warning } = row
  const signer = signingCa(auth, now, row.issuer)
  const issuer = tryCertificate(auth, signer.issuer)
  const pair = readPair(auth, name)
  const { renewBefore } = cluster.certificates
  const checked = checkPair(pair, { profile, issuer, chain: signer.chain, now, renewBefore })
  if (row.phase === 'cluster-cert' && pair.certificate) refuseLostNames(run, row, pair.certificate)
  const isSaid = checked.diffs.length > 0 || isObserved
  return { ...checked, warn: texts(isSaid && warning) }
}

/** Throws a refusal if the API's certificate would lose a name that pods, components or kubeconfigs dial. */
function refuseLostNames(run: Run, { id, name, profile }: CertRow, present: Certificate): void {
  const { auth, cluster, options } = run
  const { added, removed } = compareNames(present, profile)
  if (removed.length === 0 || options.names.includes(id)) return
  const { api, network, domain } = cluster
  const dialled = [...network.serviceCIDRs.map(firstAddress), api.host, api.virtualIP ?? api.host]
  const domains = [domain, network.clusterDomain].map((each) => `.${each}`)
  // kubernetes.new for kubernetes.old
  const isMoved = (name: string) =>
    domains.some((end) => name.endsWith(end) && removed.some((each) => each.startsWith(name.slice(0, 1 - end.length))))
  const instead = added.filter((each) => dialled.includes(each) || isMoved(each))
  const hosts = auth.names().map((file) => readHost(auth, file))
  const lost = instead.length > 0 ? removed : removed.filter((each) => hosts.includes(each))
  if (lost.length === 0) return
  const replacement = instead.length > 0 ? `, and have ${formatNames(instead)} instead` : ''
  throw lostNames(
    run,
    id,
    `${auth.files.certificate(name)} would lose ${formatNames(lost)}, which clients may use${replacement}`,
  )
}

export function lostNames({ command }: Run, id: string, found: string): Failure {
  return refusal(found, [
    'if cluster.yaml is wrong, correct domain (or name), api.host, api.virtualIP or network',
    'to serve both, add the old names to api.extraSANs',
    `or drop them:\n    ${command(id)}`,
  ])
}

function readHost(auth: AuthDir, file: string): string | undefined {
  const text = auth.files.parse(file)?.kind === 'kubeconfig' ? tryTo(() => auth.tryBytes(file)) : undefined
  return text && readServer(text.toString())?.host
}

/** A node never has the key of a user of its name, who has a copy; nor the other way round. */
function keyToKeep({ name, profile }: CertRow, pair: Pair, diffs: readonly Diff[]): KeyObject | undefined {
  const CN = pair.certificate && commonNameOf(pair.certificate)
  const isOthers = CN !== undefined && CN !== profile.subject.CN && usersOf(name).includes(CN)
  return isOthers ? undefined : keptKey(pair, diffs)
}

async function build(run: Run, row: CertRow, { force, diffs, tell }: BuildContext) {
  const { auth, now } = run
  const { name, profile, validity } = row
  const pair = readPair(auth, name)
  const key = force === undefined ? keyToKeep(row, pair, diffs) : undefined
  // Whoever has a copy of it may use it until it expires: the backup tells who may still be let in.
  if (pair.certificate && pair.certificate.notAfter > now) backUp(auth, [auth.files.certificate(name)], now)
  const { issuer, chain } = signingCa(auth, now, row.issuer)
  const note = await makePair(auth, name, {
    profile,
    issuer: readIssuer(auth, issuer),
    now,
    validity,
    key,
    chain: chain && certificatePem(chain.der),
    keyKind: run.planKey,
    tell,
  })
  return { note, warn: texts(row.warning) }
}

type Irreplaceable = NonNullable<CertRow['irreplaceable']>

function tokenPair(row: CertRow, irreplaceable: Irreplaceable): CheckAndBuild {
  return {
    refuse: (run, force) => {
      if (force !== 'replace') checkTokens(run, row, irreplaceable)
      else if (readTokenState(run).stage !== 'settled')
        throw refusalDuring('service-account', `a rotation of the ${irreplaceable.label} is in progress`, run)
    },
    check: (run) => checkTokens(run, row, irreplaceable),
    build: (run, work) => buildTokens(run, row, work),
  }
}

function checkTokens(run: Run, row: CertRow, irreplaceable: Irreplaceable): Check {
  const { auth, now, cluster } = run
  const { others, stage } = readTokenState(run)
  const pair = readTokenPair(auth)
  refuseOtherKey(run, row, irreplaceable, pair)
  const { renewBefore } = cluster.certificates
  const demands = { profile: row.profile, issuer: tryCertificate(auth, caName), now, renewBefore }
  const checked = pair.certificate ? checkCertificate(pair.certificate, demands) : { diffs: [] }
  const diffs = [...wrongIn(pair), ...checked.diffs]
  if (!others.every((key) => certificateOf(key, pair)))
    diffs.push({ what: `${auth.files.certificate(row.name)} must hold ${others.length + 1} keys`, verb: 'change' })
  if (stage === 'signing' && auth.read(auth.files.key(nextName(row.name))))
    diffs.push({ what: 'the next key already signs', verb: 'change' })
  return { ...checked, diffs }
}

/** API servers read only its key: they take one that has expired, or is of another CA. */
function certificateOf(key: KeyObject, pair: Pair): Certificate | undefined {
  return chainOf(pair).find(({ publicKey }) => publicKey.equals(key))
}

/** Another key makes every token in the cluster invalid, and breaks whatever runs with one. */
function refuseOtherKey(run: Run, { id, name, profile }: CertRow, { label, loss }: Irreplaceable, pair: Pair): void {
  const { key, missing } = pair
  const { auth, command } = run
  const keyFile = auth.files.key(name)
  const lost = wrongIn(pair).filter(({ verb, names }) => verb !== 'chmod' && names?.includes(keyFile))
  const other = key ? compareKeyKind(key, profile) : []
  if (missing.length === 2 || lost.length + other.length === 0) return
  throw refusal(`the ${label} in ${auth.path} can't be used; ${formatDiffs([...lost, ...other])}`, [
    other.length > 0
      ? 'change certificates.key in cluster.yaml to match the key'
      : `move aside what can't be used, and restore ${keyFile} from a backup or from a control node:\n    ${recoverFromNode(run)}`,
    `or abandon ${loss}:\n    ${command(`${id} --force`)}`,
  ])
}

async function buildTokens(run: Run, row: CertRow, { force, tell }: BuildContext) {
  const { auth, now, command } = run
  const { name, profile, validity } = row
  const pair = readTokenPair(auth)
  const old = force === 'replace' ? backUp(auth, auth.files.pair(name), now) : undefined
  const key = force === 'replace' ? undefined : pair.key
  // A new key beside the old certificate would look like a lost key.
  if (!key) auth.remove(auth.files.certificate(name))
  const chain = key ? await otherCertificates(run, row, pair) : ''
  const issuer = readIssuer(auth)
  const note = await makePair(auth, name, { profile, issuer, now, validity, key, chain, keyKind: run.planKey, tell })
  if (readTokenState(run).stage === 'signing') auth.remove(auth.files.key(nextName(name)))
  if (!old) return { note, warn: texts(row.warning) }
  const warning = `moved the old key to ${old}; run:\n    ${command('bootstrap --replace-identity')}\nthen restart what reads the new one everywhere`
  return { note, warn: [warning] }
}

/** PEM; those that are there stay as they are. */
async function otherCertificates(run: Run, row: CertRow, pair: Pair): Promise<string> {
  const { issueCertificate } = await import('../../lib/pki/x509.ts')
  const { auth, now } = run
  const issuer = readIssuer(auth)
  const period = validityPeriod(now, row.validity, issuer.certificate.notAfter)
  const pems = readTokenState(run).others.map((publicKey) => {
    const there = certificateOf(publicKey, pair)
    return there ? certificatePem(there.der) : issueCertificate({ profile: row.profile, publicKey, ...period }, issuer)
  })
  return pems.join('')
}
