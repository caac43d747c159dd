/** Phases `cluster-cert`, `component-certs` and `node-certs`: every certificate that the CA signs. */
import type { Cluster } from '../lib/cluster.ts'
import type { Target, Verdict, Work } from '../lib/graph.ts'
import { backUp, refusal } from '../lib/irreplaceable.ts'
import {
  certificateFile,
  judgePair,
  keyFile,
  makePair,
  readCaCertificate,
  readIssuer,
  readPair,
  repairModes,
} from '../lib/pair.ts'
import { formatReasons } from '../lib/reason.ts'
import type { Workspace } from '../lib/workspace.ts'
import { keyKindOf } from '../lib/x509.ts'
import { type CertRow, certTable } from './cert-table.ts'

type LeafPhase = 'cluster-cert' | 'component-certs' | 'node-certs'

/** Its key signs the tokens of every service account: it is kept when the certificate is issued again. */
const tokenSigner = 'service-account'

export function leafTargets(cluster: Cluster, phase: LeafPhase): Target[] {
  return certTable(cluster)
    .filter((row) => row.phase === phase)
    .map((row) => ({
      id: certTargetId(row),
      phase,
      ...(row.node !== undefined && { node: row.node }),
      needs: ['ca'],
      makes: [certificateFile(row.name), keyFile(row.name)],
      lane: 'cpu',
      ...(row.name === tokenSigner && { irreplaceable: true }),
      check: (at) => check(at, row),
      build: (at, work) => build(at, row, work),
    }))
}

export function certTargetId({ phase, name }: CertRow): string {
  return phase === 'ca' || phase === 'cluster-cert' ? phase : `${phase}/${name}`
}

function check(at: Workspace, row: CertRow): Verdict {
  const { auth, now, cluster } = at
  if (row.name === tokenSigner) refuseOtherTokenKey(at, row)
  return judgePair(
    readPair(auth, row.name),
    row.profile,
    readCaCertificate(auth),
    now,
    cluster.certificates.renewBefore,
  )
}

/** Replacing the key makes every token in the cluster invalid, and with them whatever runs with one. */
function refuseOtherTokenKey({ auth }: Workspace, { name, profile }: CertRow): void {
  const { key, reasons } = readPair(auth, name)
  const keyReasons = reasons.filter((reason) => 'path' in reason && reason.path === keyFile(name))
  if (keyReasons.some(({ kind }) => kind === 'missing') && auth.read(certificateFile(name)) === undefined) return
  const asked = key && keyKindOf(key) !== profile.key
  const found = asked ? [{ kind: 'key-kind-changed', was: keyKindOf(key), asked: profile.key } as const] : keyReasons
  if (found.length === 0) return
  throw refusal(`the service-account key in ${auth.path}: ${formatReasons(found)}`, [
    asked
      ? 'change certificates.key in cluster.yaml to what the key is'
      : `put ${keyFile(name)} and ${certificateFile(name)} back, from a backup or from a control node (its folder of ssh.directory)`,
    `or give up every service-account token there is: npm run task -- component-certs/${name} --force`,
  ])
}

async function build(
  { auth, now, cluster }: Workspace,
  row: CertRow,
  { reasons, force }: Work,
): Promise<string | undefined> {
  if (repairModes(auth, reasons)) return undefined
  const signing = { profile: row.profile, issuer: readIssuer(auth), now, validity: cluster.certificates.validity }
  const keeps = row.name === tokenSigner
  const key = keeps && force !== 'replace' ? readPair(auth, row.name).key : undefined
  const old = force === 'replace' ? backUp(auth, [certificateFile(row.name), keyFile(row.name)], now) : undefined
  // A new key beside the old certificate would look like a lost one.
  if (keeps && !key) auth.remove(certificateFile(row.name))
  await makePair(auth, row.name, { ...signing, key, durable: keeps })
  return (
    old &&
    `the old key is in ${old}; now: npm run bootstrap -- --replace-identity, then restart kube-apiserver and kube-controller-manager`
  )
}
