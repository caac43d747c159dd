/**
 * A change of auth/ is tried before it is made. Its stages are made by the code of the run, in an auth/ in memory:
 * nothing is written, and no node is contacted. Then each connection of the cluster is tried by real handshakes, with
 * each end as it was before and as it is after: the certificate of one end and the trust of the other are loaded each at
 * its own time.
 */
import { sign, verify } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { type AuthDir, caName } from '../../../lib/files/auth-dir.ts'
import { sha256 } from '../../../lib/files/plain-file.ts'
import { openWalk } from '../../../lib/graph/executor.ts'
import { byPhase, closure } from '../../../lib/graph/target.ts'
import { readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { type Met, type Party, shakeHands } from '../../../lib/pki/handshake.ts'
import { keyIn } from '../../../lib/pki/pair.ts'
import { count } from '../../../lib/wording.ts'
import { keysIn, tokenFiles } from '../../auth/states.ts'
import { phases, runPhases } from '../../bootstrap.ts'
import { type ConnectionRow, connectionTable } from '../../layouts/connections.ts'
import { encryptionConfig } from '../../layouts/tables.ts'
import { type ClusterGraph, clusterGraph, type Run } from '../../target.ts'
import { type ClientParty, connect, isServerFor, type Parties, partiesOf, stranger } from './parties.ts'
import type { Rotating, Rotation, Stage } from './rotation.ts'

/**
 * Nodes and users of a larger cluster are alike: all control nodes are tried, and so many of each other role, and of
 * the users.
 */
const [manyNodes, manyUsers, ofEach] = [200, 40, 20]

/** With the nodes and users that a trial has time for. */
export function sampleOf(cluster: Cluster): Cluster {
  const { nodes, users } = cluster
  const byRole = Map.groupBy(nodes, ({ role }) => role)
  const some = [...byRole].flatMap(([role, all]) => (role === 'control' ? all : all.slice(0, ofEach)))
  return {
    ...cluster,
    nodes: nodes.length > manyNodes ? some : nodes,
    users: users.length > manyUsers ? users.slice(0, ofEach) : users,
  }
}

export function notTried(cluster: Cluster): string[] {
  const sample = sampleOf(cluster)
  const nodes = cluster.nodes.length - sample.nodes.length
  const users = cluster.users.length - sample.users.length
  return [
    ...(nodes > 0 ? [`${count(nodes, 'node')} beyond ${ofEach} of each role, which are alike`] : []),
    ...(users > 0 ? [`${count(users, 'user')} beyond the first ${ofEach}`] : []),
    'certificates and kubeconfigs not created by harderway, and CA bundles of webhooks and APIServices',
    'the moment between writing a new certificate and its key, when handshakes fail',
    'RBAC, networks, clocks, and whether files are loaded, which each stage checks',
  ]
}

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
  const wanted = closure(graph, ids)
  const walk = openWalk(wanted, {
    ...{ run: { ...run, auth, note: () => {} }, mode: 'run', forced: new Map(), signal, emit: () => {} },
  })
  const rows = await runPhases(byPhase(phases, wanted), walk)
  signal.throwIfAborted()
  for (const { failure } of rows.values()) if (failure) throw failure
  return auth
}

/** Undefined for the walk that comes before the first stage. */
export type TriedStage = Tried & { readonly stage: Stage | undefined }

/**
 * What is left to be made before the stage after that number, and then each stage. What is under way was tried before
 * it began.
 */
export async function tryStages({ run, signal }: Rotating, rotation: Rotation, at: number): Promise<TriedStage[]> {
  const cluster = sampleOf(run.cluster)
  const trying = { ...run, cluster, stagedBy: rotation.name, note: () => {} }
  const graph = await clusterGraph(phases, cluster)
  const start = run.auth.inMemory()
  if (at === 0) rotation.prepare?.({ ...trying, auth: start })
  let before = await makeInMemory(trying, graph, start, signal)
  const first = await tryChange(trying, { before: run.auth, after: before })
  const tried: TriedStage[] = [{ stage: rotation.stages[at - 1], ...first }]
  for (const stage of rotation.stages.slice(at)) {
    const begun = before.inMemory()
    await stage.begin({ run: { ...trying, auth: begun }, signal, isForced: true })
    const after = await makeInMemory(trying, graph, begun, signal)
    tried.push({ stage, ...(await tryChange(trying, { before, after, isLast: stage.isLast === true })) })
    before = after
  }
  return tried
}

/** auth/ before a change, and once a run has made everything. */
export interface AuthChange {
  readonly before: AuthDir
  readonly after: AuthDir
  /** The old CA or key is no longer trusted afterwards: what only that vouches for is refused at the end. */
  readonly isLast?: boolean
}

export interface Refusal {
  /** The id of its row. */
  readonly connection: string
  readonly client: string
  readonly server: string
  /** Which files each has loaded then. */
  readonly state: string
  readonly why: string
}

export interface Tried {
  readonly connections: number
  /** Distinct handshakes. */
  readonly states: number
  /** The first of each connection. */
  readonly refused: readonly Refusal[]
}

/** The sum, and a line for each connection that is refused. */
export function formatTried({ connections, states, refused }: Tried): readonly [string, ...string[]] {
  return [
    `tried ${count(connections, 'connection')} in ${count(states, 'distinct state')}, ${refused.length} refused`,
    ...refused.map((each) => `${each.connection}, ${formatRefused(each)}`),
  ]
}

export function formatRefused({ client, server, state, why }: Refusal): string {
  return `${client} to ${server} would fail (${state}): ${why}`
}

interface Trial extends Pick<Run, 'cluster' | 'now'>, AuthChange {
  /** By what the handshake is of. */
  readonly known: Map<string, Promise<Met>>
}

export async function tryChange({ cluster, now }: Pick<Run, 'cluster' | 'now'>, change: AuthChange): Promise<Tried> {
  const trial: Trial = { cluster, now, ...change, known: new Map() }
  const rows = connectionTable(cluster)
  const refused: Refusal[] = []
  for (const row of rows) refused.push(...(await tryConnection(trial, row)))
  refused.push(...tryTokens(trial), ...tryStored(trial))
  return { connections: rows.length + 2, states: trial.known.size, refused }
}

/** What the two ends have loaded, in the order in which it is tried. */
function statesOf<Client, Server>(client: readonly [Client, Client], server: readonly [Server, Server]) {
  return [
    { state: 'the client with its new files', client: client[1], server: server[0] },
    { state: 'the server with its new files', client: client[0], server: server[1] },
    { state: 'both with their new files', client: client[1], server: server[1] },
  ]
}

async function tryConnection(trial: Trial, row: ConnectionRow): Promise<Refusal[]> {
  const after = await partiesOf({ ...trial, auth: trial.after }, row)
  if (!after) return []
  // What is new has no state before.
  const before = (await partiesOf({ ...trial, auth: trial.before }, row)) ?? after
  const { client } = row
  const name = typeof client === 'object' ? client.name : row.id.slice(row.id.indexOf('/') + 1)
  const of = { connection: row.id, client: name, server: row.to }
  if (row.expected === 'refused' || client === 'of another CA' || client === 'expired')
    return (await isStillRefused(trial, row, { before, after }))
      ? []
      : [{ ...of, state: 'both with their new files', why: 'accepted, but must be rejected' }]
  // Nobody connects by a new name to a server that has no certificate for it yet, but a kubeconfig that has it.
  const named = row.dialled.filter((each) => isServerFor(before.server, each))
  for (const { state, ...parties } of statesOf([before.client, after.client], [before.server, after.server])) {
    const isNew = parties.server.certificate.equals(after.server.certificate)
    const why = await problemOf(trial, { ...row, dialled: isNew ? row.dialled : named }, parties)
    if (why !== undefined) return [{ ...of, state, why }]
  }
  return []
}

/** Why the connection is not as it has to be; undefined where it is. */
async function problemOf(trial: Trial, row: ConnectionRow, parties: Parties): Promise<string | undefined> {
  const met = await connectOnce(trial, row, parties)
  if (met && 'refused' in met) return met.refused
  return met && 'certificate' in parties.client && !met.seen ? `anonymous (${met.why})` : undefined
}

function connectOnce({ known }: Trial, row: ConnectionRow, parties: Parties): Promise<Met | undefined> {
  return connect(row, parties, (handshake) => {
    const { server, client, dialled, strict } = handshake
    const id = [idOf(client), idOf(server), dialled, strict].join()
    const met = known.get(id) ?? shakeHands(handshake)
    known.set(id, met)
    return met
  })
}

function idOf(party: ClientParty | Party): string {
  const presented = 'certificate' in party ? [sha256(party.certificate), sha256(party.key)] : []
  return [...presented, sha256(party.ca)].join()
}

/**
 * What was refused before the change is refused after it; after the last stage all that must be, also what the old CA
 * signs.
 */
async function isStillRefused(trial: Trial, row: ConnectionRow, parties: Record<'before' | 'after', Parties>) {
  const { before, after, isLast = false } = trial
  const isRefused = async (tried: Parties) => {
    const met = await connectOnce(trial, row, tried)
    return met !== undefined && ('refused' in met || (row.expected === undefined && met.seen === undefined))
  }
  const isDue = isLast || (await isRefused(parties.before))
  if (isDue && !(await isRefused(parties.after))) return false
  const { ca = caName } = row
  const [old, present] = [before, after].map((auth) => auth.tryBytes(auth.files.key(ca)))
  if (!isLast || row.client !== 'of another CA' || !old || !present || old.equals(present)) return true
  const former = await stranger({ ...trial, auth: before }, 'ours', ca)
  return isRefused({ ...parties.after, client: { ...parties.after.client, ...former } })
}

/** Each API server verifies the tokens that each signs, and those that were handed out, unless their key ends. */
function tryTokens({ before, after, isLast = false }: Trial): Refusal[] {
  const { certificate, key } = tokenFiles(after.files)
  const [signer, verifier] = [after.tryBytes(key), after.tryBytes(certificate)]
  if (!signer || !verifier) return []
  const signed = Buffer.from('header.payload')
  const isVerified = (by: Buffer, of: Buffer) => {
    const privateKey = keyIn(by)
    const signature = privateKey && sign('sha256', signed, privateKey)
    return signature !== undefined && keysIn(of).some((each) => verify('sha256', signed, each, signature))
  }
  const wrong = statesOf(
    [(isLast ? undefined : before.tryBytes(key)) ?? signer, signer],
    [before.tryBytes(certificate) ?? verifier, verifier],
  ).find(({ client, server }) => !isVerified(client, server))
  const why = `no certificate in ${certificate} verifies that token`
  const of = { connection: 'keys/service-account-token', client: 'pods', server: 'kube-apiserver' }
  return wrong ? [{ ...of, state: wrong.state, why }] : []
}

/** Each API server decrypts what each encrypts. */
function tryStored(trial: Trial): Refusal[] {
  const { file } = encryptionConfig
  const next = trial.after.tryBytes(file)
  if (!next) return []
  const first = trial.before.tryBytes(file) ?? next
  const entriesIn = (bytes: Buffer) => readEncryptionConfig(bytes)?.entries ?? []
  const keysFor = (bytes: Buffer, resource: string) =>
    entriesIn(bytes).find(({ resources }) => resources.includes(resource))?.keys ?? []
  const findUnread = (by: Buffer, of: Buffer) =>
    entriesIn(by)
      .flatMap(({ resources }) => resources)
      .find((each) => {
        const [key] = keysFor(by, each)
        return key !== undefined && !keysFor(of, each).some((its) => isDeepStrictEqual(its, key))
      })
  const of = { connection: 'keys/encryption', client: 'kube-apiserver', server: 'another kube-apiserver' }
  const refused = statesOf([first, next], [first, next]).flatMap(({ state, client, server }) => {
    const unread = findUnread(client, server)
    return unread === undefined ? [] : [{ ...of, state, why: `${file} lacks the key of ${unread}` }]
  })
  return refused.slice(0, 1)
}
