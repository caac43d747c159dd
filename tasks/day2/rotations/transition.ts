/**
 * What changes from one state of auth/ to the next, tried: each connection, in every mixture of what its two ends may
 * have loaded before and after, by one real handshake for each distinct (certificate, key, trust).
 */
import { sign, verify } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { type AuthDir, backups, caName } from '../../../lib/files/auth-dir.ts'
import { sha256 } from '../../../lib/files/plain-file.ts'
import { readEncryptionConfig } from '../../../lib/kubernetes/encryption.ts'
import { type Met, type Party, type Presented, shakeHands } from '../../../lib/pki/handshake.ts'
import { certificateIn, isKeyOf, keyIn } from '../../../lib/pki/pair.ts'
import { count } from '../../../lib/wording.ts'
import { keysIn, tokenFiles } from '../../auth/states.ts'
import { type ConnectionRow, connectionTable } from '../../layouts/connections.ts'
import { encryptionConfig } from '../../layouts/tables.ts'
import type { Run } from '../../target.ts'
import { type ClientParty, connect, isServerFor, type Parties, partiesOf, stranger } from './parties.ts'

/** What changes: auth/ before it, and once a run has made everything. */
export interface Transition {
  readonly before: AuthDir
  readonly after: AuthDir
  /** The old one is no longer trusted afterwards: what only that vouches for is refused at the end. */
  readonly isLast?: boolean
}

export interface Refusal {
  /** As in `verify`. */
  readonly connection: string
  readonly client: string
  readonly server: string
  /** Which files each has loaded then. */
  readonly state: string
  readonly why: string
  readonly until: string
  /** So many of the connection's states are refused; the first one is described. */
  readonly states: number
}

export interface Tried {
  readonly connections: number
  /** Distinct ones. */
  readonly states: number
  readonly refused: readonly Refusal[]
}

/** The sum, and a line for each connection that is refused. */
export function formatTried({ connections, states, refused }: Tried): readonly [string, ...string[]] {
  const sum = refused.reduce((all, each) => all + each.states, 0)
  return [
    `tried ${count(connections, 'connection')} in ${count(states, 'distinct state')}, ${sum} refused`,
    ...refused.map((each) => `${each.connection}, ${formatRefused(each)}`),
  ]
}

export function formatRefused({ client, server, state, why, until, states }: Refusal): string {
  const more = states > 1 ? `, and ${count(states - 1, 'more state')}` : ''
  return `${client} to ${server} would fail ${until} (${state}${more}): ${why}`
}

/** Of steps that follow each other: no handshake is tried twice. */
export function stepsOf(trying: Pick<Run, 'cluster' | 'now'>): (step: Transition) => Promise<Tried> {
  const known = new Map<string, Promise<Met>>()
  return async (step) => {
    const trial = { ...trying, ...step, known, states: new Set<string>() }
    const rows = connectionTable(trying.cluster)
    const refused: Refusal[] = []
    for (const row of rows) refused.push(...(await tryConnection(trial, row)))
    refused.push(...tryTokens(trial), ...tryStored(trial))
    return { connections: rows.length + 2, states: trial.states.size, refused }
  }
}

interface Trial extends Pick<Run, 'cluster' | 'now'>, Transition {
  /** By what the handshake is of. */
  readonly known: Map<string, Promise<Met>>
  /** The distinct ones of this step. */
  readonly states: Set<string>
}

/** What an end may have loaded; `has`, in words, what of it differs from before the step. */
interface Loaded<T> {
  readonly value: T
  readonly has: string
  /** From auth/backup. */
  readonly isKept?: boolean
}

/** Of a party without what it trusts. */
function idOf(value: Buffer | ClientParty): string {
  if (Buffer.isBuffer(value)) return sha256(value)
  return 'certificate' in value ? [sha256(value.certificate), sha256(value.key), value.dials].join() : ''
}

function generations<T extends Buffer | ClientParty>(
  first: T,
  next: T,
  what: string,
  kept: readonly T[] = [],
): Loaded<T>[] {
  const all: Loaded<T>[] = [
    { value: first, has: '' },
    { value: next, has: `its new ${what}` },
    ...kept.map((value) => ({ value, has: `an earlier ${what}`, isKept: true })),
  ]
  return all.filter(({ value }, i) => all.findIndex((each) => idOf(each.value) === idOf(value)) === i)
}

/** What it presents and what it trusts are loaded each on its own. */
function mixtures<T extends ClientParty>(pairs: readonly Loaded<T>[], cas: readonly Loaded<Buffer>[]): Loaded<T>[] {
  return pairs.flatMap((pair) =>
    cas.map((ca) => ({
      value: { ...pair.value, ca: ca.value },
      has: [pair.has, ca.has].filter(Boolean).join(' and '),
      isKept: pair.isKept === true || ca.isKept === true,
    })),
  )
}

async function tryConnection(trial: Trial, row: ConnectionRow): Promise<Refusal[]> {
  const next = await partiesOf({ ...trial, auth: trial.after }, row)
  if (!next) return []
  // What is new has no state before.
  const first = (await partiesOf({ ...trial, auth: trial.before }, row)) ?? next
  const { client, ca = caName, trusts = ca, keepsOld } = row
  const name = typeof client === 'object' ? client.name : row.id.slice(row.id.indexOf('/') + 1)
  const to = { connection: row.id, client: name, server: row.to }
  if (row.expected === 'refused' || client === 'of another CA' || client === 'expired')
    return refusalOf(to, await tryRefusal(trial, row, { first, next }))
  const pairs = keepsOld && typeof client === 'object' && !trial.isLast ? keptPairs(trial, name) : []
  const servers = mixtures(
    generations(first.server, next.server, 'certificate'),
    generations(first.server.ca, next.server.ca, 'CA'),
  )
  const what = typeof client === 'object' && client.in === 'kubeconfig' ? 'kubeconfig' : 'certificate'
  const earlier = pairs.map((pair) => ({ ...first.client, ...pair }))
  const clients = mixtures(
    generations<ClientParty>(first.client, next.client, what, earlier),
    generations(first.client.ca, next.client.ca, 'CA', keepsOld ? keptCas(trial, trusts) : []),
  )
  // Nobody connects by a new name to a server that has no certificate for it yet, but a kubeconfig that has it.
  const named = row.dialled.filter((each) => isServerFor(first.server, each))
  const dialledAt = (of: Party) => (of.certificate.equals(next.server.certificate) ? row.dialled : named)
  const problem = (client: ClientParty, server: Party) =>
    problemOf(trial, { ...row, dialled: dialledAt(server) }, { client, server })
  const until = (await problem(next.client, next.server)) ? 'permanently' : 'until both have loaded the new files'
  const refused: Refused[] = []
  for (const server of servers)
    for (const client of clients) {
      const why = await problem(client.value, server.value)
      // Whoever has kept what is refused already loses nothing.
      if (why === undefined || (client.isKept && (await problem(client.value, first.server)))) continue
      refused.push({
        client,
        server,
        why,
        until: client.isKept ? 'until the client is restarted or has the new files' : until,
      })
    }
  return refusalOf(to, refused)
}

interface Refused extends Pick<Refusal, 'why' | 'until'> {
  /** Which of these each has loaded. */
  readonly client: Pick<Loaded<unknown>, 'has'>
  readonly server: Pick<Loaded<unknown>, 'has'>
}

/** Its first state tells what is wrong. */
function refusalOf(to: Pick<Refusal, 'connection' | 'client' | 'server'>, refused: readonly Refused[]): Refusal[] {
  const [one] = refused
  if (!one) return []
  const { client, server, why, until } = one
  const has = [client.has && `the client with ${client.has}`, server.has && `the server with ${server.has}`]
  return [{ ...to, state: has.filter(Boolean).join(', ') || 'current files', why, until, states: refused.length }]
}

/** Why the connection is not as it has to be; undefined where it is. */
async function problemOf(trial: Trial, row: ConnectionRow, parties: Parties): Promise<string | undefined> {
  const met = await connectOnce(trial, row, parties)
  if (met && 'refused' in met) return met.refused
  return met && 'certificate' in parties.client && !met.seen ? `anonymous (${met.why})` : undefined
}

function connectOnce({ known, states }: Trial, row: ConnectionRow, parties: Parties): Promise<Met | undefined> {
  return connect(row, parties, (handshake) => {
    const { server, client, dialled, strict } = handshake
    const id = [idOf(client), idOf(client.ca), idOf(server), idOf(server.ca), dialled, strict].join()
    states.add(id)
    const met = known.get(id) ?? shakeHands(handshake)
    known.set(id, met)
    return met
  })
}

/**
 * What was refused before the step is refused after it; after the last one all that must be, also what the old CA
 * signs.
 */
async function tryRefusal(trial: Trial, row: ConnectionRow, { first, next }: Record<'first' | 'next', Parties>) {
  const { before, after, isLast = false } = trial
  const isRefused = async (parties: Parties) => {
    const met = await connectOnce(trial, row, parties)
    return met !== undefined && ('refused' in met || (row.expected === undefined && met.seen === undefined))
  }
  const refused: Refused[] = []
  const refuse = (has: string) =>
    refused.push({ client: { has }, server: { has: '' }, why: 'accepted, but must be rejected', until: 'permanently' })
  const isDue = isLast || (await isRefused(first))
  if (isDue && !(await isRefused(next))) refuse('its new files')
  const { ca = caName } = row
  const [old, present] = [before, after].map((auth) => auth.tryBytes(auth.files.key(ca)))
  if (isLast && row.client === 'of another CA' && old && present && !old.equals(present)) {
    const former = await stranger({ ...trial, auth: before }, 'ours', ca)
    if (!(await isRefused({ ...next, client: { ...next.client, ...former } }))) refuse('a certificate of the old CA')
  }
  return refused
}

/** CAs of that name that are still valid. */
function keptCas({ before, now }: Trial, name: string): Buffer[] {
  return backups(before, before.files.certificate(name)).filter((pem) => (certificateIn(pem)?.notAfter ?? 0) > now)
}

/** Certificates of that name that are still valid, over the key that is there. */
function keptPairs({ before, now }: Trial, name: string): Presented[] {
  const key = before.tryBytes(before.files.key(name)) ?? Buffer.of()
  const privateKey = keyIn(key)
  return backups(before, before.files.certificate(name)).flatMap((certificate) => {
    const read = certificateIn(certificate)
    return read && privateKey && read.notAfter > now && isKeyOf(read, privateKey) ? [{ certificate, key }] : []
  })
}

/** Each API server verifies the tokens of each; and those that were handed out, unless their key ends. */
function tryTokens(trial: Trial): Refusal[] {
  const { before, after, isLast } = trial
  const { certificate, key } = tokenFiles(after.files)
  const [signer, verifier] = [after.tryBytes(key), after.tryBytes(certificate)]
  if (!signer || !verifier) return []
  const [oldSigner = signer, oldVerifier = verifier] = [before.tryBytes(key), before.tryBytes(certificate)]
  const signed = Buffer.from('header.payload')
  const problem = (by: Buffer, of: Buffer) => {
    const privateKey = keyIn(by)
    const signature = privateKey && sign('sha256', signed, privateKey)
    const isVerified = signature && keysIn(of).some((each) => verify('sha256', signed, each, signature))
    return isVerified ? undefined : `no certificate in ${certificate} verifies that token`
  }
  const kept = isLast ? [] : backups(before, key).filter((each) => problem(each, oldVerifier) === undefined)
  const clients = generations(oldSigner, signer, 'signing key', kept)
  const to = { connection: 'keys/service-account-token', client: 'pods', server: 'kube-apiserver' }
  return tryPairs(trial, to, clients, generations(oldVerifier, verifier, certificate), problem)
}

/** Each API server decrypts what each encrypts. */
function tryStored(trial: Trial): Refusal[] {
  const { file } = encryptionConfig
  const next = trial.after.tryBytes(file)
  if (!next) return []
  const all = generations(trial.before.tryBytes(file) ?? next, next, file)
  const entriesIn = (bytes: Buffer) => readEncryptionConfig(bytes)?.entries ?? []
  const keysFor = (bytes: Buffer, resource: string) =>
    entriesIn(bytes).find(({ resources }) => resources.includes(resource))?.keys ?? []
  const problem = (by: Buffer, of: Buffer) => {
    const unread = entriesIn(by)
      .flatMap(({ resources }) => resources)
      .find((each) =>
        keysFor(by, each)
          .slice(0, 1)
          .some((key) => !keysFor(of, each).some((its) => isDeepStrictEqual(its, key))),
      )
    return unread && `${file} lacks the key of ${unread}`
  }
  const to = { connection: 'keys/encryption', client: 'kube-apiserver', server: 'another kube-apiserver' }
  return tryPairs(trial, to, all, all, problem)
}

function tryPairs(
  { states }: Trial,
  to: Pick<Refusal, 'connection' | 'client' | 'server'>,
  clients: readonly Loaded<Buffer>[],
  servers: readonly Loaded<Buffer>[],
  problem: (by: Buffer, of: Buffer) => string | undefined,
): Refusal[] {
  const refused = clients.flatMap((client) =>
    servers.flatMap((server): Refused[] => {
      states.add([to.connection, idOf(client.value), idOf(server.value)].join())
      const why = problem(client.value, server.value)
      return why ? [{ client, server, why, until: 'until each API server has loaded the new files' }] : []
    }),
  )
  return refusalOf(to, refused)
}
