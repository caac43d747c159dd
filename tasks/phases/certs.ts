/** Phases `cluster-cert`, `component-certs`, `node-certs` and `user-certs`: every certificate that the CA signs. */

import { firstAddress } from '../../lib/address.ts'
import type { Change } from '../../lib/change.ts'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type Failure, refusal, tryTo } from '../../lib/failure.ts'
import type { AuthDir } from '../../lib/files/auth-dir.ts'
import { caName } from '../../lib/files/names.ts'
import { authTarget } from '../../lib/graph/auth-target.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target, Work } from '../../lib/graph/target.ts'
import { readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { endOf } from '../../lib/pki/certificate.ts'
import {
  changeOfPair,
  checkPair,
  isSignedByLostCa,
  keptKey,
  makePair,
  ownCas,
  type Pair,
  readIssuer,
  readPair,
  tryCertificate,
  validityPeriod,
} from '../../lib/pki/pair.ts'
import { certificatePem } from '../../lib/pki/pem.ts'
import type { Look, Reason } from '../../lib/reason.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import type { CertPhase } from '../layouts/layout.ts'
import { layoutOf } from '../layouts/table.ts'
import { signingCa } from '../rotations/ca-state.ts'
import { type CertRow, certTable, wantedValues } from '../tables/certs.ts'
import { unitsToRestart } from '../tables/places.ts'
import { tokenPair } from './service-account.ts'

export type LeafPhase = Exclude<CertPhase, 'ca'>

export function leafTargets(cluster: Cluster, phase: LeafPhase): Target[] {
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
        wanted: wantedValues(row),
        purpose: row.purpose,
        restarts: unitsToRestart(cluster, files, row.node),
        where: 'auth',
        irreplaceable: row.irreplaceable?.part,
        stopsRun: row.phase === 'cluster-cert',
        check: (run) => check(run, row),
        build: (run, work) => build(run, row, work),
        foresee: (run, work) => foresee(run, row, work),
        ...(row.irreplaceable && tokenPair(row, row.irreplaceable)),
      })
    })
}

function issuerOf(cluster: Cluster, { issuer }: CertRow): string {
  return (issuer !== undefined && certTable(cluster).find(({ name }) => name === issuer)?.id) || caName
}

function check(run: Run, row: CertRow): Look {
  const { auth, now, cluster } = run
  const { name, profile, warning } = row
  const signer = signingCa(auth, now, row.issuer)
  const issuer = tryCertificate(auth, signer.issuer)
  const pair = readPair(auth, name)
  const { renewBefore } = cluster.certificates
  const verdict = checkPair(pair, { profile, issuer, chain: signer.chain, now, renewBefore })
  if (row.phase === 'cluster-cert') refuseLostNames(run, row, verdict.reasons)
  return { ...verdict, warning, staysFresh: isSignedByLostCa(auth, pair, row.issuer) }
}

/**
 * Throws a refusal if the API's certificate would lose a name that pods or components dial: what a new name of cluster.yaml replaces, and
 * what the kubeconfigs dial. The names of a control node that has left may go.
 */
function refuseLostNames(run: Run, { id, name }: CertRow, reasons: readonly Reason[]): void {
  const { auth, cluster, options } = run
  const { added, removed } = reasons.find((reason) => reason.kind === 'san-changed') ?? { added: [], removed: [] }
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
  const now = instead.length > 0 ? `, and is then for ${formatNames(instead)} instead` : ''
  throw lostNames(
    run,
    id,
    `${auth.files.certificate(name)} would lose ${formatNames(lost)}, which may be dialled${now}`,
  )
}

export function lostNames({ command }: Run, id: string, found: string): Failure {
  return refusal(found, [
    'if cluster.yaml is wrong: correct domain (or name), api.host, api.virtualIP or network',
    'to serve both: add the old names to api.extraSANs',
    `or drop them: ${command(id)}`,
  ])
}

/** What a kubeconfig in auth/ dials. */
function readHost(auth: AuthDir, file: string): string | undefined {
  const text = auth.files.parse(file)?.kind === 'kubeconfig' ? tryTo(() => auth.tryBytes(file)) : undefined
  return text && readServer(text.toString())?.host
}

function foresee(run: Run, row: CertRow, { force, reasons }: Work): Change {
  const { auth, now, cluster } = run
  const issuer = tryCertificate(auth, signingCa(auth, now, row.issuer).issuer)
  const end = issuer?.notAfter ?? validityPeriod(now, cluster.certificates.caValidity).notAfter
  const { notAfter: expires } = validityPeriod(now, row.validity, end)
  const isKeyKept = row.irreplaceable
    ? force !== 'replace' && auth.read(auth.files.key(row.name)) !== undefined
    : force === undefined && keptKey(readPair(auth, row.name), reasons) !== undefined
  return changeOfPair(auth, row.name, { profile: row.profile, expires, isKeyKept })
}

async function build(run: Run, row: CertRow, { force, reasons, tell }: Work) {
  const { auth, now } = run
  const { name, profile, validity } = row
  const pair = readPair(auth, name)
  const key = force === undefined ? keptKey(pair, reasons) : undefined
  const { issuer, chain } = signingCa(auth, now, row.issuer)
  const change = await makePair(auth, name, {
    profile,
    issuer: readIssuer(auth, issuer),
    now,
    validity,
    key,
    chain: chain && certificatePem(chain.der),
    tell,
  })
  return { change, warning: describeOldGroups(auth, row, pair, reasons) ?? row.warning }
}

/** For a user's certificate, of which others may hold copies. */
function describeOldGroups(
  auth: AuthDir,
  { phase }: CertRow,
  { certificate }: Pair,
  reasons: readonly Reason[],
): string | undefined {
  const removed = reasons.flatMap((reason) => (reason.kind === 'subject-changed' ? reason.removed : []))
  const groups = removed.filter((attribute) => attribute.startsWith('O=')).map((attribute) => attribute.slice(2))
  if (phase !== 'user-certs' || groups.length === 0 || !certificate) return undefined
  return `copies of the old certificate are in ${formatNames(groups)} until ${formatDate(endOf(certificate, ownCas(auth)))}: nothing revokes a certificate before it expires`
}
