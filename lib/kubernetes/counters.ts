/** What API servers count: for each user a counter of the requests that are denied, or that show a replaced certificate. */
import { hash } from 'node:crypto'
import { isKeyEntry } from '../cluster/problem.ts'
import { isOneOf, showsAnother, showsOneOf } from './conditions.ts'
import { type Counted, goodOf, kindOf, pinnedBy, type RevokedList, usersOf } from './revoked-list.ts'

/**
 * An authorizer that allows and denies nothing. Each request that meets its condition is an error of the condition,
 * which an API server counts under the authorizer's name: apiserver_authorization_match_condition_evaluation_errors_total
 */
export interface Counter {
  readonly name: string
  /** Of requests that are denied, or of requests with certificates that were replaced. */
  readonly counts: 'denied' | 'replaced'
  /** More than one only where there are more users than counters. */
  readonly users: readonly string[]
  readonly condition: string
  /** None of requests that are denied. */
  readonly certificates: readonly Counted[]
}

/** Each costs every request some 20 µs. */
const mostCounters = 32
/** Of these, for who is revoked. */
const mostOfDenied = 12

/**
 * One for each user, by the list alone. An API server keeps the count of a name until its process ends, so a name has
 * a digest of what it counts.
 */
export function countersOf(list: RevokedList): Counter[] {
  const denied = deal(denialsOf(list), mostOfDenied).map((part): Counter => {
    const condition = part.map((each) => each.condition).join(' || ')
    const users = part.flatMap((each) => each.users)
    const name = `denied-${labelOf(users, part.length)}-${digest(condition)}`
    return { name, counts: 'denied', users, condition, certificates: [] }
  })
  const users = [...Map.groupBy(list.counted ?? [], ({ user }) => user).values()]
  const { component = [], node = [], user = [] } = Object.groupBy(users, ([first]) => kindOf(first?.user ?? ''))
  const room = mostCounters - denied.length - component.length
  const ofNodes = deal(node, Math.max(1, room - user.length))
  const replaced = [...deal(component, component.length), ...deal(user, room - ofNodes.length), ...ofNodes]
  return [
    ...denied,
    ...replaced.map((part): Counter => {
      const certificates = part.flat()
      const users = [...new Set(certificates.map((each) => each.user))]
      const name = `old-${labelOf(users, users.length)}-${digest(certificates.map(({ fingerprint }) => fingerprint))}`
      return {
        name,
        counts: 'replaced',
        users,
        condition: showsOneOf(certificates),
        certificates,
      }
    }),
  ]
}

const digest = (counted: unknown) => hash('sha256', JSON.stringify(counted)).slice(0, 16)

/** For RFC 1123, as the name of an authorizer has to be: "user-jane", "nodes". */
function labelOf([user = '']: readonly string[], users: number): string {
  const kind = kindOf(user)
  if (users > 1) return `${kind}s`
  const own = user
    .replace(/^system:(?:node:)?/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
  return `${kind === 'component' ? '' : `${kind}-`}${own.slice(0, 40)}`.replaceAll(/-+$/g, '')
}

/** Into at most as many parts, of about the same size. */
function deal<Each>(all: readonly Each[], parts: number): Each[][] {
  return [...Map.groupBy(all.entries(), ([i]) => i % parts).values()].map((part) => part.map(([, each]) => each))
}

/** Who is denied, apart: a name with whatever certificate, the user of a revoked key with all but the good ones. */
function denialsOf(list: RevokedList): { readonly users: readonly string[]; readonly condition: string }[] {
  const names = list.entries.filter((entry) => !isKeyEntry(entry))
  return [
    ...names.map((name) => ({ users: [name], condition: isOneOf(usersOf(name)) })),
    ...pinnedBy(list).map((user) => ({
      users: [user],
      condition: `${isOneOf([user])} && ${showsAnother(goodOf(list, [user]))}`,
    })),
  ]
}
