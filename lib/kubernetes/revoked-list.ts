/**
 * Who is revoked, and who shows a certificate that was replaced: the list that a run makes, that auth/ and each control
 * node have as a file (authorization.ts), and what follows from it. Pure.
 */
import { entryOf } from '../cluster/problem.ts'

/** A certificate that a user may or may not show. Fingerprint and key: SHA-256, as 64 hexadecimal digits. */
export interface Shown {
  readonly fingerprint: string
  readonly keyId: string
  readonly user: string
  readonly end: Date
}

/** A certificate that was replaced: API servers count the requests that show it, and deny none of them. */
export type Counted = Omit<Shown, 'keyId'>

/** Who is revoked, with the certificates concerned: the file has all of this, so a lost auth/ loses none of it. */
export interface RevokedList {
  /** Of `revoked`: names of users and nodes, and `sha256:…`. */
  readonly entries: readonly string[]
  /**
   * All certificates of the users of revoked keys, over these keys and over others; and those that a name had when it
   * was listed.
   */
  readonly certificates: readonly Shown[]
  readonly counted?: readonly Counted[]
}

export const nobody: RevokedList = { entries: [], certificates: [] }

/** The user that a kubelet of that name is: https://kubernetes.io/docs/reference/access-authn-authz/node/ */
export const nodeUser = (name: string): string => `system:node:${name}`

/** Whoever had the name: a user, or a node. */
export const usersOf = (name: string): string[] => [name, nodeUser(name)]

/** The keys that the entries revoke. */
export const keysOf = (entries: readonly string[], certificates: readonly Shown[]) =>
  new Set(certificates.filter((each) => entries.includes(entryOf(each.fingerprint))).map(({ keyId }) => keyId))

/** Whether a certificate is over a revoked key. */
export function isOverRevoked({ entries, certificates }: RevokedList): (certificate: Pick<Shown, 'keyId'>) => boolean {
  const keys = keysOf(entries, certificates)
  return ({ keyId }) => keys.has(keyId)
}

/** Whether a list denies a certificate, for its key or for its user's name. */
export function isDeniedBy(list: RevokedList): (certificate: Pick<Shown, 'keyId' | 'user'>) => boolean {
  const isOver = isOverRevoked(list)
  const users = new Set(list.entries.flatMap(usersOf))
  return (certificate) => isOver(certificate) || users.has(certificate.user)
}

/** The users of revoked keys. */
export function pinnedBy(list: RevokedList): string[] {
  return [...new Set(list.certificates.filter(isOverRevoked(list)).map(({ user }) => user))]
}

/** Those that pinned users may show. */
export function goodOf(list: RevokedList, pinned: readonly string[]): Shown[] {
  const isRevoked = isOverRevoked(list)
  return list.certificates.filter((each) => pinned.includes(each.user) && !isRevoked(each))
}

/** By which certificates stand in a list. */
export function byUser(a: Pick<Shown, 'user' | 'fingerprint'>, b: Pick<Shown, 'user' | 'fingerprint'>): number {
  const compare = (one: string, other: string) => Number(one > other) - Number(one < other)
  return compare(a.user, b.user) || compare(a.fingerprint, b.fingerprint)
}

export type UserKind = 'component' | 'node' | 'user'

/** What a user is, by the name: Kubernetes keeps those that begin with system: for itself. */
export function kindOf(user: string): UserKind {
  if (user.startsWith(nodeUser(''))) return 'node'
  return user.startsWith('system:') ? 'component' : 'user'
}
