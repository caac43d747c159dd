/**
 * Who may still use a certificate that was replaced, and who does: as API servers have counted, where their nodes were
 * looked at.
 */
import { kubeconfigFile } from '../../lib/files/auth-dir.ts'
import type { Rows } from '../../lib/graph/target.ts'
import { replacedCertificates } from '../../lib/kubernetes/counts.ts'
import { listIn } from '../../lib/kubernetes/revocation.ts'
import { asFindings, type Finding, type Use } from '../../lib/reason.ts'
import { count, formatDate, formatNames } from '../../lib/wording.ts'
import { certTable } from '../layouts/tables.ts'
import type { Given } from './holders.ts'
import { hasNewKubeconfig } from './notices.ts'

/** When the last earlier certificate of each user expires, by name. */
export function earlierUntil(run: Given, replaced = replacedCertificates(run)): Map<string, Date> {
  return new Map(
    run.cluster.users.flatMap(({ name }): [string, Date][] => {
      const ends = replaced.flatMap(({ user, end }) => (user === name ? Number(end) : []))
      return ends.length > 0 ? [[name, new Date(Math.max(...ends))]] : []
    }),
  )
}

export function notesOnUses(run: Given, rows: Rows): Finding[] {
  const { auth, cluster } = run
  // Once: a signature is verified for each.
  const replaced = replacedCertificates(run)
  const counted = cluster.nodes.flatMap(({ name: node }) => {
    const { uses, refused } = rows.get(`revoked/${node}`) ?? {}
    return uses ? [{ node, uses, refused }] : []
  })
  const all = counted.flatMap(({ node, uses }) => uses.map((use) => ({ ...use, node })))
  const used = [
    ...Map.groupBy(
      all.filter((use) => use.count > 0),
      ({ users, until }) => [...users, until.toISOString()].join(' '),
    ).values(),
  ]
  const silent = cluster.nodes.filter(
    ({ name }) => rows.has(`revoked/${name}`) && !counted.some(({ node }) => node === name),
  )
  const isUsed = (name: string) => used.some(([first]) => first?.users.includes(name))
  const lately = (name: string) => hasNewKubeconfig(rows, name)
  const holders = [...earlierUntil(run, replaced)].filter(([name]) => !isUsed(name) && !lately(name))
  return asFindings([
    ...used.map((its) => formatUse(run, its)),
    ...holders.map(([name, until]) => {
      const file = kubeconfigFile(name)
      const unused = all.filter(({ users }) => users.length === 1 && users[0] === name)
      const since = new Date(Math.max(...unused.map((use) => Number(use.since))))
      const isKnown = unused.length > 0 && silent.length === 0
      return `if not done yet, give ${name} the new ${file}; the earlier one is valid until ${formatDate(until)}${isKnown ? `, and not used since ${formatDate(since, since)}` : ''}`
    }),
    silent.length > 0 &&
      listIn(auth)?.counted &&
      `requests with earlier certificates are not counted on ${formatNames(silent.map(({ name }) => name))}, where no API server has loaded the list`,
    ...counted.flatMap(({ node, refused }) =>
      refused && refused.count > 0
        ? [
            `${node} denied ${count(refused.count, 'request')} of revoked users since ${formatDate(refused.since, refused.since)}`,
          ]
        : [],
    ),
    ...toCopy(run, replaced),
  ])
}

/** The requests of one group, on each node that has counted some. */
function formatUse({ cluster }: Given, its: readonly (Use & { readonly node: string })[]): string {
  const [{ users, until } = { users: [], until: new Date(0) }] = its
  const [user = '', ...others] = users
  const since = new Date(Math.min(...its.map((use) => Number(use.since))))
  const all = its.reduce((sum, use) => sum + use.count, 0)
  const found = `an earlier certificate of ${others.length > 0 ? `one of ${formatNames(users)}` : user}, valid until ${formatDate(until)}, was used ${count(all, 'time')} on ${formatNames(its.map(({ node }) => node))} since ${formatDate(since, since)}`
  if (others.length > 0) return `${found}; the next run finds out whose`
  const isUser = cluster.users.some(({ name }) => name === user)
  const way = isUser
    ? `give ${user} the new ${kubeconfigFile(user)}`
    : 'find what still has the old files, and give it the new ones'
  return `${found}; ${way}; if it was stolen, revoke it (docs/bad-day.md, "Revoke a stolen key")`
}

/** Without `install` no run knows whether its user has copied what was replaced. */
function toCopy({ auth, cluster }: Given, replaced: ReturnType<typeof replacedCertificates>): string[] {
  if (cluster.install) return []
  const onNodes = new Set(certTable(cluster).flatMap(({ on, name }) => (Object.keys(on).length > 0 ? name : [])))
  const open = replaced.filter(({ name }) => onNodes.has(name))
  if (open.length === 0) return []
  const files = new Set(open.map(({ name }) => auth.files.certificate(name)))
  const first = new Date(Math.min(...open.map(({ end }) => Number(end))))
  return [
    `if not done yet, copy ${formatNames([...files])} to where units read them; the first earlier certificate expires ${formatDate(first)}`,
  ]
}
