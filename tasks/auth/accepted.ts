/**
 * Who may still be let in: every client certificate that the cluster's CA has signed and that has not expired, and why
 * cluster.yaml would not issue it now. A function of auth/, its backup and cluster.yaml alone, so that every view says
 * the same, and a plan the same tomorrow.
 */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { withCounted } from '../../lib/kubernetes/authorization.ts'
import {
  isAccepted,
  type KnownCertificate,
  knownCertificates,
  listIn,
  timeOf,
  wantedList,
} from '../../lib/kubernetes/revocation.ts'
import {
  type Counted,
  isDeniedBy,
  isOverRevoked,
  nobody,
  type RevokedList,
  type Shown,
} from '../../lib/kubernetes/revoked-list.ts'
import { endOf } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { type CertRow, certTable } from '../layouts/tables.ts'
import type { Run } from '../target.ts'

export type Given = Pick<Run, 'auth' | 'cluster' | 'now'>

export interface AcceptedCertificate extends Shown {
  /** Its file; undefined where only the list of the revoked knows the certificate, as another auth/ made it. */
  readonly file: KnownCertificate | undefined
  /** The row of cluster.yaml that has its user; undefined if none has. */
  readonly row: CertRow | undefined
  /** Groups that it has, and that cluster.yaml would not give its user now. */
  readonly lostGroups: readonly string[]
  /** Why cluster.yaml would not issue it now; undefined for the one in use. */
  readonly why: 'name removed' | 'group removed' | 'key revoked' | 'replaced' | undefined
  /** By `revoked` in cluster.yaml, for its name or its key. */
  readonly isDenied: boolean
  /** API servers let in system:masters before they ask who is revoked. */
  readonly isMaster: boolean
}

/** For each, the most recent copy. */
export function acceptedCertificates(run: Given): AcceptedCertificate[] {
  const { auth, cluster, now } = run
  const known = latestCopies(knownCertificates(auth).filter(isClient))
  const files = known.filter((each) => isAccepted(run, each))
  const fingerprints = new Set(known.map(({ fingerprint }) => fingerprint))
  const { certificates, counted = [] } = listIn(auth) ?? nobody
  // Of a counted one the key is not known: no other certificate is taken to be over it.
  const listed = [...certificates, ...counted.map((each) => ({ ...each, keyId: each.fingerprint }))]
  const others = new Map(
    listed.flatMap((each) =>
      each.end > now && !fingerprints.has(each.fingerprint) ? [[each.fingerprint, each] as const] : [],
    ),
  )
  const rows = new Map(certTable(cluster).map((row) => [row.profile.subject.CN, row] as const))
  // Without the key API servers go on with the list that is there.
  const list = cluster.revoked ? wantedList(run) : (listIn(auth) ?? nobody)
  const isOver = isOverRevoked(list)
  const isDenied = isDeniedBy(list)
  const cas = ownCas(auth)
  const describe = (shown: Shown, file?: KnownCertificate): AcceptedCertificate => {
    const row = rows.get(shown.user)
    const lostGroups = row && file ? groupsBeyond(row, file) : []
    const isPresent = row !== undefined && file?.folder === '.' && file.name === row.name
    const why = (() => {
      if (!row) return 'name removed'
      if (lostGroups.length > 0) return 'group removed'
      if (isOver(shown)) return 'key revoked'
      return isPresent ? undefined : 'replaced'
    })()
    return {
      ...{ fingerprint: shown.fingerprint, keyId: shown.keyId, user: shown.user, end: shown.end },
      ...{ file, row, lostGroups, why },
      isDenied: isDenied(shown),
      isMaster: file?.certificate.attributes.includes('O=system:masters') ?? false,
    }
  }
  return [
    ...files.map((file) => describe({ ...file, end: endOf(file.certificate, cas) }, file)),
    ...[...others.values()].map((each) => describe(each)),
  ]
}

/** In auth/ itself before any in its backup, there the last. */
function latestCopies(known: readonly KnownCertificate[]): KnownCertificate[] {
  const later = (one: KnownCertificate, other: KnownCertificate) =>
    timeOf(other.folder) > timeOf(one.folder) ? other : one
  return [...Map.groupBy(known, ({ fingerprint }) => fingerprint).values()].map((each) => each.reduce(later))
}

/** id-kp-clientAuth and anyExtendedKeyUsage (RFC 5280, 4.2.1.12), either of which Go takes for a client. */
const forClients = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']

function isClient({ certificate: { isCa, x509 } }: KnownCertificate): boolean {
  return !isCa && (x509.keyUsage === undefined || x509.keyUsage.some((each) => forClients.includes(each)))
}

function groupsBeyond({ profile }: CertRow, { certificate }: KnownCertificate): string[] {
  const wanted = [profile.subject.O ?? []].flat().map((group) => `O=${group}`)
  const groups = certificate.attributes.filter((attribute) => attribute.startsWith('O='))
  return groups.flatMap((each) => (wanted.includes(each) ? [] : [each.slice('O='.length)]))
}

/** Whether its key left auth/ with it, as of a node that was removed: a name that comes back has another key. */
export function isMovedAway({ auth }: Pick<Run, 'auth'>, { file }: Pick<AcceptedCertificate, 'file'>): boolean {
  return (
    file !== undefined && file.folder !== '.' && auth.read(join(file.folder, auth.files.key(file.name))) !== undefined
  )
}

/** Whether API servers can count the requests with it: it was replaced, and they ask their authorizers about its user. */
export function isCountable({ why, row, isMaster }: AcceptedCertificate): boolean {
  return why !== undefined && (!row || row.isClient === true) && !isMaster
}

/**
 * The list with the certificates that API servers are to count requests by: what auth/ knows, and what the list in auth/
 * counts already. Time alone changes nothing: an expired one goes with the next change.
 */
export function withReplaced(run: Given, list: RevokedList): RevokedList {
  const { auth, now } = run
  const accepted = acceptedCertificates(run)
  const isDenied = isDeniedBy(list)
  const isOpen = (each: AcceptedCertificate) => isCountable(each) && !isDenied(each)
  const counted = accepted.filter(isOpen).map(({ fingerprint, user, end }): Counted => ({ fingerprint, user, end }))
  const before = (listIn(auth) ?? nobody).counted
  const next = withCounted(list, counted, before)
  const validOf = (all: readonly Counted[] = []) =>
    new Set(all.flatMap((each) => (each.end > now ? each.fingerprint : [])))
  const isSame = isDeepStrictEqual(validOf(before), validOf(next.counted))
  return isSame ? { ...list, ...(before && { counted: before }) } : next
}
