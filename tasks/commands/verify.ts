/** `verify`: every handshake of the cluster is tried between the files in auth/, in memory. */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { providers } from '../../lib/cluster/schema.ts'
import { Failure } from '../../lib/failure.ts'
import { type AuthDir, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { buildGraph, byPhase } from '../../lib/graph/target.ts'
import { readEncryptionConfig } from '../../lib/kubernetes/encryption.ts'
import type { Identity } from '../../lib/pki/handshake.ts'
import { readPair, wrongIn } from '../../lib/pki/pair.ts'
import { type Check, formatDiffs, missing } from '../../lib/results.ts'
import { notices } from '../../lib/show/rows.ts'
import { joinClauses } from '../../lib/wording.ts'
import { notesOnHolders } from '../auth/accepted.ts'
import type { ClusterTarget, Run } from '../cluster-target.ts'
import { type ConnectionRow, connectionTable } from '../layouts/connections.ts'
import { encryptionConfig } from '../layouts/tables.ts'
import { connect, missingFiles, missingOf, partiesOf } from '../rotations/trial.ts'
import { type CommandRun, readAuth } from '../run/command-run.ts'
import type { ExitCause } from '../run/host.ts'
import { selectNodes } from '../run/options.ts'
import { checkTarget, observe, showObservation } from '../views/observe.ts'

/** Throws a usage Failure for a node without connections. */
export async function verify(given: CommandRun): Promise<readonly ExitCause[]> {
  const graph = buildGraph(selectNodes(given, connectionTargets(given.cluster)))
  return readAuth(given, graph, async (run) => {
    const seen = await observe(run, graph, { phases: byPhase(connectionKinds, graph) })
    const isAllRight = [...seen.rows.values()].every(({ state }) => state === 'fresh' || state === 'skipped')
    const text = `see what is wrong, and how to repair it:\n    ${run.command('status')}`
    const beside = [...notesOnHolders(run), ...notices('after', !isAllRight && text)]
    return showObservation(run, seen, { notices: beside })
  })
}

/** The part of a target's id before the slash, in display order. */
const connectionKinds = [
  { name: 'etcd', title: 'Clients to etcd' },
  { name: 'kubelets', title: 'API server to kubelets' },
  { name: 'clients', title: 'Clients to API server' },
  { name: 'front-proxy', title: 'Who may set X-Remote-User' },
  { name: 'keys', title: 'Tokens and Secrets' },
  { name: 'strangers', title: 'Clients that must be rejected' },
]

function connectionTargets(cluster: Cluster): ClusterTarget[] {
  const rows = connectionTable(cluster)
  return [
    ...rows.map((row) => checkTarget(row.id, (run) => checkConnection(run, row), { node: row.node })),
    ...keyRows.map(({ id, check }) => checkTarget(id, check)),
  ]
}

async function checkConnection(run: Run, row: ConnectionRow): Promise<Check> {
  const { client, server, to, expected, tolerated = [], notice } = row
  const lacking = missingOf(run.auth, row)
  if (lacking.length > 0) return { diffs: lacking }
  for (const name of [server, typeof client === 'object' ? client.name : undefined])
    if (name !== undefined) refuseBrokenPair(run.auth, name)
  const parties = await partiesOf(run, row)
  if (!parties) throw noPairIn(run, row)
  const met = await connect(row, parties)
  if (!met) throw new Failure(`no name of ${to} is dialled`)
  const right = expected === 'refused' ? ['rejected'] : [expected, ...tolerated].map(formatSeen)
  const found = 'refused' in met ? 'rejected' : formatSeen(met.seen)
  if (right.includes(found)) return { diffs: [], note: joinClauses(found, notice) }
  const why = 'refused' in met ? met.refused : met.why
  throw new Failure(`connecting to ${to}: ${found}${why ? ` (${why})` : ''}, expected ${right[0]}`)
}

function noPairIn({ command }: Run, { client }: ConnectionRow): Failure {
  const file = typeof client === 'object' ? kubeconfigFile(client.name) : 'the kubeconfig'
  return new Failure(`${file} has no certificate and key`, { remedy: `make it again:\n    ${command('kubeconfigs')}` })
}

function refuseBrokenPair(auth: AuthDir, name: string): void {
  const broken = wrongIn(readPair(auth, name)).filter(({ verb }) => verb !== 'chmod')
  if (broken.length > 0) throw new Failure(formatDiffs(broken))
}

function formatSeen(seen: Identity | undefined): string {
  return seen
    ? `authenticated as ${seen.user} (${seen.groups.length > 0 ? `groups ${seen.groups.join(', ')}` : 'no groups'})`
    : 'anonymous, as without a certificate'
}

/** kube-controller-manager signs tokens with the key, and kube-apiserver verifies them with the certificate. */
function checkTokens({ auth }: Run): Check {
  const { tokens } = auth.files.names
  const [certificateName, keyName] = auth.files.pair(tokens)
  const lacking = missingFiles(auth, [certificateName, keyName])
  if (lacking.length > 0) return { diffs: lacking }
  refuseBrokenPair(auth, tokens)
  return { diffs: [], note: `${certificateName} verifies tokens signed by ${keyName}` }
}

function checkEncryption({ auth }: Run): Check {
  const { file: name } = encryptionConfig
  const file = auth.tryBytes(name)
  if (!file) return { diffs: missing([name]) }
  const config = readEncryptionConfig(file)
  // The first provider encrypts: keys of those after it, as after identity, are for reading alone.
  if (!config || !providers.some((keyed) => keyed === config.provider))
    throw new Failure(`${name} is not a valid EncryptionConfiguration, or its first provider has no key`)
  return { diffs: [], note: `a valid EncryptionConfiguration; encrypts with its ${config.provider} key` }
}

const keyRows = [
  { id: 'keys/service-account-token', check: checkTokens },
  { id: 'keys/encryption', check: checkEncryption },
]
