/**
 * Who still uses a certificate that was replaced, and is valid: which certificates API servers are to count requests
 * by, and what they have counted, as their metrics say.
 */
import { isDeepStrictEqual } from 'node:util'
import { type AuthDir, caName, nextName } from '../files/auth-dir.ts'
import { isIssuedBy } from '../pki/certificate.ts'
import { tryCertificate } from '../pki/pair.ts'
import type { Use } from '../reason.ts'
import {
  authorizerName,
  type Counted,
  counterOf,
  isOverRevoked,
  markName,
  nobody,
  nodeUser,
  plainly,
  type RevokedList,
  usersOf,
} from './authorization.ts'
import { labelIn, samplesOf } from './metrics.ts'
import { type KnownCertificate, knownCertificates, listIn, timeOf } from './revocation.ts'

/** Authorizers that count, at most, and parts that one is split into: each costs every request some 20 µs. */
const [most, mostParts] = [32, 16] as const
/** Certificates that fit into one expression. */
const mostInOne = 1000

/** At a time. */
interface AuthAt {
  readonly auth: AuthDir
  readonly now: Date
}

/**
 * The list with what API servers are to count: each certificate that was replaced `seconds` ago, when whoever reads its
 * files again has the new one, in groups. Of those in `counting` some were used: they are split, until each is a single
 * certificate.
 */
export function withCounts(
  { auth, now }: AuthAt,
  list: RevokedList,
  { seconds, counting }: { readonly seconds: number; readonly counting: ReadonlySet<string> },
): RevokedList {
  const { counted = [], ...rest } = list
  const [replaced, others] = partReplaced({ auth, now }, list)
  const closed = new Set(others.map(({ fingerprint }) => fingerprint))
  const kept = counted.filter(({ certificates }) => certificates.some(({ fingerprint }) => !closed.has(fingerprint)))
  const parts = Math.min(mostParts, Math.floor((most - kept.length) / counting.size) + 1)
  const split = kept.flatMap((group) => (counting.has(counterOf(group)) ? partsOf(group, parts, now) : [group]))
  const listed = new Set(split.flatMap(({ certificates }) => certificates.map(({ fingerprint }) => fingerprint)))
  const due = replaced.filter(
    ({ end, folder, fingerprint }) =>
      end > now && now.getTime() - replacedAt(folder, now) >= seconds * 1000 && !listed.has(fingerprint),
  )
  const added = [...Map.groupBy(due, labelOf)].flatMap(([label, all]) => {
    // The fingerprint is what counts: the name is only told.
    const certificates = all.map(({ fingerprint, user, end }) => ({ fingerprint, user: plainly(user), end }))
    return deal(certificates, Math.ceil(all.length / mostInOne)).map((part) => ({
      ...{ label, since: now, certificates: part },
    }))
  })
  const next = [...split, ...added]
  if (isDeepStrictEqual(next, counted)) return list
  // An expired one is dropped with the next change: time alone changes no file.
  const valid = next.filter(({ certificates }) => certificates.some(({ end }) => end > now))
  return { ...rest, ...(valid.length > 0 && { counted: valid }) }
}

/** Those of auth/backup by which somebody may still be let in. */
export function replacedCertificates({ auth, now }: AuthAt): KnownCertificate[] {
  const [replaced] = partReplaced({ auth, now }, listIn(auth) ?? nobody)
  return replaced.filter(({ end }) => end > now)
}

/** Those that were replaced and are accepted until they expire, and all others. */
function partReplaced(
  { auth, now }: AuthAt,
  list: RevokedList,
): [replaced: KnownCertificate[], others: KnownCertificate[]] {
  const known = knownCertificates(auth)
  const present = new Set(known.flatMap(({ folder, fingerprint }) => (folder === '.' ? fingerprint : [])))
  const names = new Set(list.entries.flatMap(usersOf))
  const isRevoked = isOverRevoked(list)
  const cas = [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
  const isReplaced = (each: KnownCertificate) =>
    !(present.has(each.fingerprint) || names.has(each.user) || isRevoked(each)) &&
    isCountable(each) &&
    cas.some((ca) => isIssuedBy(each.certificate, ca))
  const later = (one: KnownCertificate, other: KnownCertificate) =>
    replacedAt(other.folder, now) < replacedAt(one.folder, now) ? one : other
  // A copy of each: the last.
  const copies = Map.groupBy(known, ({ fingerprint }) => fingerprint).values()
  const all = [...copies].map((each) => each.reduce(later))
  const { yes = [], no = [] } = Object.groupBy(all, (each) => (isReplaced(each) ? 'yes' : 'no'))
  return [yes, no]
}

/** When it was put there. A folder whose name has no time, or one that is still to come, is taken for an old one. */
export function replacedAt(folder: string, now: Date): number {
  const time = timeOf(folder)
  return time <= now.getTime() ? time : 0
}

/** id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280, 4.2.1.12), either of which Go takes for a client. */
const forClients = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']

/** It is for a client whom an API server asks its authorizers about: it lets in system:masters before. */
function isCountable({ certificate: { isCa, attributes, x509 } }: KnownCertificate): boolean {
  const isClient = x509.keyUsage === undefined || x509.keyUsage.some((each) => forClients.includes(each))
  return isClient && !isCa && !attributes.includes('O=system:masters')
}

/** A group of each component, of all nodes, and of all others. */
function labelOf({ user }: KnownCertificate): string {
  const [, component] = /^system:(kube-[a-z-]+)$/.exec(user) ?? []
  return component ?? (user.startsWith(nodeUser('')) ? 'nodes' : 'users')
}

/** By user, then by certificate; the same group if it can't be split, so that it counts on. */
function partsOf(group: Counted, most: number, since: Date): Counted[] {
  const byUser = [...Map.groupBy(group.certificates, ({ user }) => user).values()]
  const all = byUser.length > 1 ? byUser : group.certificates.map((each) => [each])
  const parts = Math.min(all.length, most)
  if (parts < 2) return [group]
  return deal(all, parts).map((part) => ({ label: group.label, since, certificates: part.flat() }))
}

/** Into as many parts, of about the same size. */
function deal<Each>(all: readonly Each[], parts: number): Each[][] {
  return [...Map.groupBy(all.entries(), ([i]) => i % parts).values()].map((part) => part.map(([, each]) => each))
}

/** Of one process; times by the node's clock. */
export interface Counts {
  readonly started: Date
  /** When it last loaded the list; its start, if not since. */
  readonly loaded: Date
  /** By the name of an authorizer; of one without a request there is none. */
  readonly errors: ReadonlyMap<string, number>
  /** Requests whose credentials it did not accept. */
  readonly unauthenticated: number
}

/** Undefined if they can't be read. https://kubernetes.io/docs/reference/instrumenting/metrics/ */
export function parseCounts(metrics: string): Counts | undefined {
  const [{ value: start } = { value: Number.NaN }] = samplesOf(metrics, 'process_start_time_seconds')
  const loads = samplesOf(
    metrics,
    'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
  ).filter((each) => labelIn(each, 'status') === 'success')
  const errors = samplesOf(metrics, 'apiserver_authorization_match_condition_evaluation_errors_total')
  const failed = samplesOf(metrics, 'authentication_attempts').filter((each) => labelIn(each, 'result') === 'error')
  const started = new Date(start * 1000)
  const loaded = new Date(Math.max(start, ...loads.map(({ value }) => value)) * 1000)
  const isKnown = [...errors, ...failed].every(({ value }) => Number.isFinite(value))
  if (!isKnown || [started, loaded].some((time) => Number.isNaN(time.getTime()))) return undefined
  return {
    ...{ started, loaded },
    errors: new Map(errors.map((each) => [labelIn(each, 'name') ?? '', each.value])),
    unauthenticated: failed.reduce((sum, { value }) => sum + value, 0),
  }
}

/** Whether it counts at all: our own review, which it denies, is counted as well. */
export function isCounting({ errors }: Counts): boolean {
  return (errors.get(markName) ?? 0) > 0
}

export function countOf({ errors }: Counts, group: Counted): number {
  return errors.get(counterOf(group)) ?? 0
}

export function refusedBy({ errors }: Counts): number {
  return errors.get(authorizerName) ?? 0
}

/** Names of groups that have counted. */
export function countingIn({ counted = [] }: RevokedList, counts: readonly Counts[]): Set<string> {
  return new Set(counted.filter((group) => counts.some((each) => countOf(each, group) > 0)).map(counterOf))
}

export function namesOf(certificates: readonly Pick<KnownCertificate, 'user'>[]): string[] {
  return [...new Set(certificates.map(({ user }) => user))]
}

/** One for each group, with its requests since it was listed, or since the API server was started. */
export function usesIn({ counted = [] }: RevokedList, counts: Counts): Use[] {
  return counted.map((group) => ({
    users: namesOf(group.certificates),
    until: new Date(Math.max(...group.certificates.map(({ end }) => Number(end)))),
    count: countOf(counts, group),
    since: new Date(Math.max(Number(group.since), Number(counts.started))),
  }))
}
