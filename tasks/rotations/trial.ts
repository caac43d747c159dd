/**
 * A change of auth/ is tried before it is made. Its stages are made by the code of the run, in an auth/ in memory:
 * nothing is written, and no node is contacted. Then each connection of the cluster is tried by real handshakes, with
 * each end as it was before and as it is after: the certificate of one end and the trust of the other are loaded each at
 * its own time.
 */
import { createPublicKey } from 'node:crypto'
import { isIP } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { type AuthDir, caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { openWalk } from '../../lib/graph/executor.ts'
import { byPhase, closure } from '../../lib/graph/target.ts'
import { readEmbedded, readServer } from '../../lib/kubernetes/kubeconfig.ts'
import { type Credentials, formatNotFor, type Met, type Party, shakeHands } from '../../lib/pki/handshake.ts'
import { certificateIn, readCredentials, readIssuer } from '../../lib/pki/pair.ts'
import { generatePrivateKey, type Issuer, issueCertificate, privateKeyPem } from '../../lib/pki/x509.ts'
import { type Diff, missing } from '../../lib/results.ts'
import { count, day } from '../../lib/wording.ts'
import { phases, runPhases } from '../bootstrap.ts'
import { type ClusterGraph, clusterGraph, type Run } from '../cluster-target.ts'
import { type ConnectionRow, connectionTable } from '../layouts/connections.ts'
import { certTable, layoutOf } from '../layouts/tables.ts'
import type { Rotating, Rotation, Stage } from './rotations.ts'

/** Everything in auth/ as a run would make it, beside the files that are there. Throws the Failure of a target. */
export async function makeInMemory(
  run: Run,
  graph: ClusterGraph,
  from: AuthDir,
  signal: AbortSignal,
): Promise<AuthDir> {
  const auth = from.inMemory()
  const isOurs = (file: string) => ![undefined, 'authorization'].includes(auth.files.parse(file)?.kind)
  const made = [...graph.values()].filter(({ where, makes }) => where === 'auth' && makes.some(isOurs))
  const ids = made.map(({ id }) => id)
  const desired = closure(graph, ids)
  const walk = openWalk(desired, {
    ...{ run: { ...run, auth, note: () => {} }, mode: 'run', forced: new Map(), signal, emit: () => {} },
  })
  const rows = await runPhases(byPhase(phases, desired), walk)
  signal.throwIfAborted()
  for (const { failure } of rows.values()) if (failure) throw failure
  return auth
}

export interface TriedStage {
  readonly stage: Stage | undefined
  readonly files: readonly string[]
  readonly tried: Tried
}

/** What is to be made before the stage of that number, and then each stage. What is under way was tried before. */
export async function tryStages({ run, signal }: Rotating, rotation: Rotation, at: number): Promise<TriedStage[]> {
  const trying = { ...run, stagedBy: rotation.name, note: () => {} }
  const graph = await clusterGraph(phases, run.cluster)
  const made = [...graph.values()].flatMap(({ where, makes }) => (where === 'auth' ? makes : []))
  const tryStage = async (stage: Stage | undefined, { before, after }: AuthChange): Promise<TriedStage> => ({
    stage,
    files: made.filter((file) => !isDeepStrictEqual(before.tryBytes(file), after.tryBytes(file))),
    tried: await tryChange(run, { before, after }),
  })
  const start = run.auth.inMemory()
  if (at === 0) rotation.prepare?.({ ...trying, auth: start })
  let before = await makeInMemory(trying, graph, start, signal)
  const tried = [await tryStage(rotation.stages[at - 1], { before: run.auth, after: before })]
  for (const stage of rotation.stages.slice(at)) {
    const begun = before.inMemory()
    await stage.begin({ run: { ...trying, auth: begun }, signal, isForced: true })
    const after = await makeInMemory(trying, graph, begun, signal)
    tried.push(await tryStage(stage, { before, after }))
    before = after
  }
  return tried
}

/** auth/ before a change, and once a run has made everything. */
export interface AuthChange {
  readonly before: AuthDir
  readonly after: AuthDir
}

interface Refusal {
  readonly connection: string
  readonly client: string
  readonly server: string
  /** Which files each has loaded then. */
  readonly state: string
  readonly why: string
}

export interface Tried {
  readonly connections: number
  readonly states: number
  readonly refused: readonly Refusal[]
}

/** The sum, and a line for each connection that is refused. */
export function formatTried({ connections, states, refused }: Tried): readonly [string, ...string[]] {
  return [
    `tried ${count(connections, 'connection')} in ${count(states, 'distinct state')}, ${refused.length} refused`,
    ...refused.map(
      ({ connection, client, server, state, why }) =>
        `${connection}, ${client} to ${server} would fail (${state}): ${why}`,
    ),
  ]
}

/** Nodes of a role are alike, and so are users: so many of each are tried, as a handshake takes milliseconds. */
const mostAlike = 50

/** Those that must be accepted: each stage has a live proof of what must be refused. */
function triedConnections(cluster: Cluster): ConnectionRow[] {
  const nodes = [...Map.groupBy(cluster.nodes, ({ role }) => role)].flatMap(([role, alike]) =>
    role === 'control' ? alike : alike.slice(0, mostAlike),
  )
  const rows = connectionTable({ ...cluster, nodes, users: cluster.users.slice(0, mostAlike) })
  return rows.filter(
    ({ client, expected }) => expected !== 'refused' && (client === 'nobody' || expected !== undefined),
  )
}

export const notTried = `not tried: what docs/rotation.md lists ("What no run sees"), and more than ${mostAlike} nodes of a role, or users`

export async function tryChange(run: Pick<Run, 'cluster' | 'now'>, change: AuthChange): Promise<Tried> {
  const rows = triedConnections(run.cluster)
  let states = 0
  const refused: Refusal[] = []
  for (const row of rows) {
    const { tried, refusal } = await tryConnection(run, change, row)
    states += tried
    if (refusal) refused.push(refusal)
  }
  return { connections: rows.length, states, refused }
}

/** What the two ends have loaded, in the order in which it is tried: each state once. */
function statesOf(before: Parties, after: Parties) {
  const states = [
    { state: 'the client with its new files', client: after.client, server: before.server },
    { state: 'the server with its new files', client: before.client, server: after.server },
    { state: 'both with their new files', client: after.client, server: after.server },
  ]
  const isSame = (one: Parties, other: Parties) =>
    isDeepStrictEqual([one.client, one.server], [other.client, other.server])
  return states.filter((each, i) => states.findIndex((other) => isSame(each, other)) === i)
}

async function tryConnection(
  run: Pick<Run, 'cluster' | 'now'>,
  change: AuthChange,
  row: ConnectionRow,
): Promise<{ tried: number; refusal?: Refusal }> {
  const after = await partiesOf({ ...run, auth: change.after }, row)
  if (!after) return { tried: 0 }
  // What is new has no state before.
  const before = (await partiesOf({ ...run, auth: change.before }, row)) ?? after
  const { client } = row
  const name = typeof client === 'object' ? client.name : row.id.slice(row.id.indexOf('/') + 1)
  const of = { connection: row.id, client: name, server: row.to }
  // Nobody connects by a new name to a server that has no certificate for it yet, but a kubeconfig that has it.
  const named = row.dialled.filter((each) => isServerFor(before.server, each))
  const states = statesOf(before, after)
  for (const { state, ...parties } of states) {
    const isNew = parties.server.certificate.equals(after.server.certificate)
    const met = await connect({ ...row, dialled: isNew ? row.dialled : named }, parties)
    if (met && 'refused' in met) return { tried: states.length, refusal: { ...of, state, why: met.refused } }
    if (met && 'certificate' in parties.client && !met.seen)
      return { tried: states.length, refusal: { ...of, state, why: `anonymous (${met.why})` } }
  }
  return { tried: states.length }
}

type ClientParty = (Party & { readonly dials?: string | undefined }) | Pick<Party, 'ca'>

interface Parties {
  readonly server: Party
  readonly client: ClientParty
}

type Seen = Pick<Run, 'auth' | 'cluster' | 'now'>

export function missingFiles(auth: AuthDir, names: readonly string[]): Diff[] {
  return missing([...new Set([auth.files.certificate(caName), ...names])].filter((name) => !auth.tryBytes(name)))
}

export function missingOf(auth: AuthDir, { client, server, ca = caName, trusts = ca }: ConnectionRow): Diff[] {
  const { pair, certificate } = auth.files
  const isNamed = typeof client === 'object'
  const ofClient = isNamed ? pair(client.name) : client === 'nobody' ? [] : pair(ca)
  const kubeconfigs = isNamed && client.in === 'kubeconfig' ? [kubeconfigFile(client.name)] : []
  return missingFiles(auth, [certificate(ca), certificate(trusts), ...pair(server), ...ofClient, ...kubeconfigs])
}

/** Undefined where a file is missing, or the kubeconfig can't be read. */
export async function partiesOf(seen: Seen, row: ConnectionRow): Promise<Parties | undefined> {
  const { auth } = seen
  const { client, server, ca = caName, trusts = ca } = row
  if (missingOf(auth, row).length > 0) return undefined
  const own = { ca: auth.bytes(auth.files.certificate(trusts)) }
  const ends = { server: { ...readCredentials(auth, server), ca: auth.bytes(auth.files.certificate(ca)) }, client: own }
  if (client === 'nobody') return ends
  if (typeof client === 'string') return { ...ends, client: { ...own, ...(await stranger(seen, client, ca)) } }
  if (client.in === 'files') return { ...ends, client: { ...own, ...readCredentials(auth, client.name) } }
  const text = auth.bytes(kubeconfigFile(client.name)).toString()
  const { ca: trusted, certificate, key } = readEmbedded(text)
  if (!trusted || !certificate || !key) return undefined
  return { ...ends, client: { ca: trusted, certificate, key, dials: readServer(text)?.host } }
}

/** The handshake under the first name dialled; others need only be SANs. Undefined where none is dialled. */
export async function connect(
  row: Pick<ConnectionRow, 'dialled' | 'strict'>,
  { server, client }: Parties,
): Promise<Met | undefined> {
  const own = 'dials' in client && client.dials !== undefined ? [client.dials] : []
  const [dialled, ...others] = [...own, ...row.dialled]
  if (dialled === undefined) return undefined
  const met = await shakeHands({ server, client, dialled, strict: row.strict ?? false })
  const lacking = others.find((name) => !isServerFor(server, name))
  return 'refused' in met || lacking === undefined ? met : { refused: formatNotFor(lacking) }
}

function isServerFor({ certificate }: Party, name: string): boolean {
  const x509 = certificateIn(certificate)?.x509
  return (isIP(name) ? x509?.checkIP(name) : x509?.checkHost(name, { subject: 'never' })) !== undefined
}

/** An admin made in memory: signed by another CA of the same name, or by ours but expired yesterday. */
async function stranger(
  { auth, now, cluster }: Seen,
  kind: 'of another CA' | 'expired',
  ca: string,
): Promise<Credentials> {
  const ours = readIssuer(auth, ca)
  if (kind === 'expired') return issueTest({ now: new Date(now.getTime() - 2 * day), cluster }, ours)
  return issueTest({ now, cluster }, { ...ours, privateKey: await generatePrivateKey('ecdsa-p256') })
}

/** An admin that only a test uses, for a day before and after now: the clock of a node may be wrong. */
export async function issueTest({ now, cluster }: Pick<Run, 'now' | 'cluster'>, issuer: Issuer): Promise<Credentials> {
  const { files } = layoutOf(cluster)
  const admin = certTable(cluster).find(({ name }) => name === files.names.admin)?.profile
  if (!admin) throw new Error('the table has no admin')
  const key = await generatePrivateKey('ecdsa-p256')
  const [notBefore, notAfter] = [-day, day].map((by) => new Date(now.getTime() + by)) as [Date, Date]
  const profile = { ...admin, key: 'ecdsa-p256' as const }
  const certificate = issueCertificate({ profile, publicKey: createPublicKey(key), notBefore, notAfter }, issuer)
  return { certificate: Buffer.from(certificate), key: Buffer.from(privateKeyPem(key)) }
}
