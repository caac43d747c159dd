/** Phases `cluster-cert`, `component-certs` and `node-certs`: every certificate that the CA signs. */

import type { Cluster } from '../../lib/cluster/cluster.ts'
import { refusal } from '../../lib/failure.ts'
import { compareKeyKind } from '../../lib/pki/certificate.ts'
import {
  certificateFile,
  judgePair,
  keyFile,
  makePair,
  type Pair,
  readCaCertificate,
  readIssuer,
  readPair,
} from '../../lib/pki/pair.ts'
import { formatReasons } from '../../lib/reason.ts'
import type { Target, Verdict, Work } from '../../lib/targets/graph.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { type CertRow, certTable } from '../tables/certs.ts'
import { fetchCommand } from './fetch-command.ts'

/** Its key signs the tokens of every service account: it is kept when the certificate is issued again. */
const tokenSigner = 'service-account'

export type LeafPhase = Exclude<CertRow['phase'], 'ca'>

export function leafTargets(cluster: Cluster, phase: LeafPhase): Target[] {
  return certTable(cluster)
    .filter((row) => row.phase === phase)
    .map((row) => ({
      id: certTargetId(row),
      phase,
      node: row.node,
      needs: ['ca'],
      makes: [certificateFile(row.name), keyFile(row.name)],
      purpose: row.purpose,
      usedBy: row.usedBy,
      lane: 'cpu',
      irreplaceable: row.name === tokenSigner ? 'key' : undefined,
      check: (at) => check(at, row),
      build: (at, work) => build(at, row, work),
    }))
}

export function certTargetId({ phase, name }: CertRow): string {
  return phase === 'ca' || phase === 'cluster-cert' ? phase : `${phase}/${name}`
}

function check(at: Workspace, row: CertRow): Verdict {
  const { auth, now, cluster } = at
  const pair = readPair(auth, row.name)
  if (row.name === tokenSigner) refuseOtherTokenKey(at, row, pair)
  const { renewBefore } = cluster.certificates
  return judgePair(pair, { profile: row.profile, issuer: readCaCertificate(auth), now, renewBefore })
}

/** Replacing the key makes every token in the cluster invalid, and with them whatever runs with one. */
function refuseOtherTokenKey(at: Workspace, { name, profile }: CertRow, { key, reasons }: Pair): void {
  const { auth, command } = at
  const lost = reasons.filter(
    (reason) => reason.kind !== 'wrong-mode' && 'path' in reason && reason.path === keyFile(name),
  )
  const isNew = lost.some(({ kind }) => kind === 'missing') && auth.read(certificateFile(name)) === undefined
  const other = key ? compareKeyKind(key, profile) : []
  if (isNew || lost.length + other.length === 0) return
  throw refusal(`the service-account key in ${auth.path}: ${formatReasons([...lost, ...other])}`, [
    other.length > 0
      ? 'change certificates.key in cluster.yaml to what the key is'
      : `put ${keyFile(name)} and ${certificateFile(name)} back, from a backup or from a control node: ${fetchCommand(at, [keyFile(name), certificateFile(name)])}`,
    `or give up every service-account token there is: ${command(`component-certs/${name} --force`)}`,
  ])
}

async function build(
  { auth, now, cluster, command }: Workspace,
  { name, profile }: CertRow,
  { force }: Work,
): Promise<string | undefined> {
  const keeps = name === tokenSigner
  const key = keeps && force !== 'replace' ? readPair(auth, name).key : undefined
  const old = force === 'replace' ? auth.backUp([certificateFile(name), keyFile(name)], now) : undefined
  // A new key beside the old certificate would look like a lost one.
  if (keeps && !key) auth.remove(certificateFile(name))
  const { validity } = cluster.certificates
  await makePair(auth, name, { profile, issuer: readIssuer(auth), now, validity, key, durable: keeps })
  return (
    old &&
    `the old key is in ${old}; now: ${command('bootstrap --replace-identity')}, then restart kube-apiserver and kube-controller-manager`
  )
}
