/**
 * Who gets a key by what a plan would do, and who no longer has one: by what nodes, users and your kubeconfig have now.
 */
import type { Cluster } from '../../lib/cluster/cluster.ts'
import { isKeyEntry } from '../../lib/cluster/problem.ts'
import { caName, kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { isDone } from '../../lib/graph/target.ts'
import { coveredBy, knownCertificates } from '../../lib/kubernetes/revocation.ts'
import { worksOf } from '../../lib/results.ts'
import type { Access } from '../../lib/show/reporter.ts'
import { foldAlike } from '../../lib/wording.ts'
import { keysIn, localHolder, nodeFiles } from '../layouts/tables.ts'
import type { ClusterGraph } from '../target.ts'
import { type NodeItem, nodeRow } from './inventory.ts'
import { enforcedOn, isCaNew } from './notices.ts'
import type { Observation } from './observe.ts'

/** Of one holder. */
type Handed = Omit<Exclude<Access, { readonly mark: '?' }>, 'holders'> & { readonly who: string }
type Observed = Pick<Observation, 'run' | 'rows'>

/** `whole`: all that a run would reach, looked at or not. Empty where no cluster is there yet. */
export async function accessIn(seen: Observed, whole: ClusterGraph): Promise<Access[]> {
  const { auth, cluster } = seen.run
  const nodes = cluster.nodes.flatMap((node) => nodeRow(seen, node) ?? [])
  const isBare = ({ holds }: NodeItem) => holds?.includes(auth.files.certificate(caName)) === false
  const isNew = nodes.length === cluster.nodes.length && nodes.every(isBare)
  if (isNew || isCaNew(seen.rows)) return []
  const all = [...ofNodes(seen, nodes), ...ofUsers(seen), ...(await ofKubeconfig(seen)), ...ofRevoked(seen)]
  const textOf = ({ who, ...rest }: Handed) => JSON.stringify(rest)
  const known = foldAlike(all, ({ who }) => who, textOf).map(({ group, shared }): Access => {
    const [{ who, key, ...rest }] = group
    return { ...rest, holders: group.map((each) => each.who), ...(key !== undefined && { key: shared(key) }) }
  })
  const isUnknown = (id: string) => whole.has(id) && !isDone(seen.rows.get(id))
  const unknown = cluster.nodes.flatMap(({ name }) => (isUnknown(`deploy/${name}`) ? name : []))
  return unknown.length > 0 ? [...known, { mark: '?', holders: unknown }] : known
}

function ofNodes({ run: { cluster }, rows }: Observed, nodes: readonly NodeItem[]): Handed[] {
  return nodes.flatMap(({ node: who, holds }) => {
    const node = cluster.nodes.find(({ name }) => name === who)
    if (!node || !holds) return []
    const deploy = rows.get(`deploy/${who}`)
    const removed = deploy ? worksOf(deploy).remove : []
    const held = new Set(keysIn(cluster, holds).map(({ name }) => name))
    const given = (mark: Handed['mark'], files: readonly string[]) =>
      keysIn(cluster, files)
        .filter(({ name }) => !held.has(name))
        .map(({ file: key, power }): Handed => ({ mark, who, key, power }))
    return [...given('+', nodeFiles(cluster, node)), ...given('-', removed)]
  })
}

/** Groups that are taken away stay in certificates that are valid: `notesOnHolders` has these. */
function ofUsers({ run: { cluster }, rows }: Observed): Handed[] {
  return cluster.users.flatMap(({ name: who }): Handed[] => {
    const { change, reasons = [] } = rows.get(`user-certs/${who}`) ?? {}
    const isMore = reasons.some((each) => each.kind === 'subject-changed' && /\bO=/.test(each.added.join()))
    const isNew = change?.kind === 'made' && change.isNew
    return isNew || isMore ? byKubeconfig(cluster, '+', who, who) : []
  })
}

function byKubeconfig(cluster: Cluster, mark: Handed['mark'], who: string, name: string): Handed[] {
  return keysIn(cluster, [kubeconfigFile(name)]).map(({ file: key, power }) => ({ mark, who, key, power }))
}

async function ofKubeconfig({ run, rows }: Observed): Promise<Handed[]> {
  const holder = localHolder(run.cluster)?.name
  if (rows.get('local-kubeconfig')?.kind !== 'stale' || holder === undefined) return []
  const held = (await import('../phases/local-kubeconfig-entry.ts')).namesOfOwnKeys(run)
  const isKept = (name: string) => name === holder || held.some((each) => each.name === name && !each.isMade)
  const given = (mark: Handed['mark'], name: string) => byKubeconfig(run.cluster, mark, 'your kubeconfig', name)
  const lost = held.flatMap(({ name }) => (isKept(name) ? [] : given('-', name)))
  return held.some(({ name }) => name === holder) ? lost : [...given('+', holder), ...lost]
}

/**
 * A list of API servers ends neither etcd nor tokens: `adviseRevoked` has these. A key of nobody known is said to be so
 * elsewhere.
 */
function ofRevoked({ run: { auth, cluster }, rows }: Observed): Handed[] {
  const reasons = [...rows.values()].flatMap((row) => row.reasons.filter((each) => each.kind === 'revoked-changed'))
  const known = knownCertificates(auth)
  const { isComplete: isEnforced } = enforcedOn({ cluster }, rows)
  const power = `every request to the API${isEnforced ? '' : ', once all API servers have loaded the list'}`
  const given = (mark: Handed['mark'], entries: readonly string[]) =>
    [...new Set(entries)].flatMap((entry): Handed[] => {
      const [holder] = isKeyEntry(entry) ? coveredBy(entry, known) : [{ name: entry }]
      const key = isKeyEntry(entry) ? { key: entry } : {}
      return holder ? [{ mark, who: holder.name, ...key, power }] : []
    })
  return [
    ...given(
      '-',
      reasons.flatMap(({ added }) => added),
    ),
    ...given(
      '+',
      reasons.flatMap(({ removed }) => removed),
    ),
  ]
}
