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
  nobody,
  nodeUser,
  plain,
  type RevokedList,
  usersOf,
} from './authorization.ts'
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
  const [replaced, others] = partReplaced(auth, list)
  const closed = new Set(others.map(({ fingerprint }) => fingerprint))
  const kept = counted.filter(({ certificates }) => certificates.some(({ fingerprint }) => !closed.has(fingerprint)))
  const parts = Math.min(mostParts, Math.floor((most - kept.length) / counting.size) + 1)
  const split = kept.flatMap((group) => (counting.has(counterOf(group)) ? partsOf(group, parts, now) : [group]))
  const listed = new Set(split.flatMap(({ certificates }) => certificates.map(({ fingerprint }) => fingerprint)))
  const due = replaced.filter(
    ({ end, folder, fingerprint }) =>
      end > now && now.getTime() - timeOf(folder) >= seconds * 1000 && !listed.has(fingerprint),
  )
  const added = [...Map.groupBy(due, labelOf)].flatMap(([label, all]) => {
    const certificates = all.map(({ fingerprint, user, end }) => ({ fingerprint, user, end }))
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
  const [replaced] = partReplaced(auth, listIn(auth) ?? nobody)
  return replaced.filter(({ end }) => end > now)
}

/** Those that were replaced and are accepted until they expire, and all others. */
function partReplaced(auth: AuthDir, list: RevokedList): [replaced: KnownCertificate[], others: KnownCertificate[]] {
  const known = knownCertificates(auth)
  const present = new Set(known.flatMap(({ folder, fingerprint }) => (folder === '.' ? fingerprint : [])))
  const names = new Set(list.entries.flatMap(usersOf))
  const isRevoked = isOverRevoked(list)
  const cas = [caName, nextName(caName)].flatMap((name) => tryCertificate(auth, name) ?? [])
  const isReplaced = (each: KnownCertificate) =>
    !(present.has(each.fingerprint) || names.has(each.user) || isRevoked(each)) &&
    isCountable(each) &&
    cas.some((ca) => isIssuedBy(each.certificate, ca))
  // A copy of each: the last.
  const all = [...new Map(known.map((each) => [each.fingerprint, each])).values()]
  const { yes = [], no = [] } = Object.groupBy(all, (each) => (isReplaced(each) ? 'yes' : 'no'))
  return [yes, no]
}

/** It is for a client whom an API server asks its authorizers about: it lets in system:masters before. */
function isCountable({ certificate, user }: KnownCertificate): boolean {
  const { isCa, attributes, x509 } = certificate
  const isClient = x509.keyUsage === undefined || x509.keyUsage.includes('1.3.6.1.5.5.7.3.2')
  return isClient && !isCa && !attributes.includes('O=system:masters') && new RegExp(`^${plain}$`).test(user)
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
  const rows = (name: string, label = '') =>
    [...metrics.matchAll(new RegExp(`^${name}(?:\\{([^}]*)\\})? (\\S+)$`, 'gm'))].flatMap(([, labels = '', value]) =>
      labels.includes(label) ? [[labels, Number(value)] as const] : [],
    )
  const starts = rows('process_start_time_seconds')
  const loads = rows(
    'apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds',
    'status="success"',
  )
  const errors = rows('apiserver_authorization_match_condition_evaluation_errors_total')
  const failed = rows('authentication_attempts', 'result="error"')
  const [[, started] = ['', Number.NaN]] = starts
  if (![...starts, ...loads, ...errors, ...failed].every(([, value]) => Number.isFinite(value))) return undefined
  if (Number.isNaN(started)) return undefined
  return {
    started: new Date(started * 1000),
    loaded: new Date(Math.max(started, ...loads.map(([, value]) => value)) * 1000),
    errors: new Map(errors.map(([labels, value]) => [/(?:^|,)name="([^"]*)"/.exec(labels)?.[1] ?? '', value])),
    unauthenticated: failed.reduce((sum, [, value]) => sum + value, 0),
  }
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
