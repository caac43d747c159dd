/** A row for everything that was made, and one for each node: state, reason, expiry. And their totals. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName, caNames } from '../../lib/files/auth-dir.ts'
import { isLost, nameInPhase } from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { readKubeconfigFile } from '../../lib/kubernetes/kubeconfig-merge.ts'
import { attributesIn, type Certificate, endOf, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { formatDiffs, hasVerb } from '../../lib/results.ts'
import { beside, count, formatNames, joinClauses } from '../../lib/wording.ts'
import type { UnitDifference } from '../day2/install/check-units.ts'
import { type InstallFound, needReload } from '../day2/install/install-node.ts'
import type { ListFound } from '../day2/revoked/on-node.ts'
import { noDifference } from '../deploy/check-folder.ts'
import type { DeployFound } from '../deploy/deploy-node.ts'
import { isKeptOff, nodeFiles, nodeUnits } from '../layouts/tables.ts'
import { type ClusterRow, type ClusterTarget, endsSoon, type Run } from '../target.ts'
import type { Observation } from './observe.ts'

type State = 'fresh' | 'stale' | 'failed'

export type Item = Readonly<ReturnType<typeof itemRow>>

export type NodeItem = Readonly<NonNullable<ReturnType<typeof nodeRow>>>

export interface Inventory extends Observation {
  readonly items: readonly Item[]
  /** Empty if no node was inspected. */
  readonly nodes: readonly NodeItem[]
}

export function isRight({ state, endsSoon = false }: { readonly state: State; readonly endsSoon?: boolean }): boolean {
  return state === 'fresh' && !endsSoon
}

/** The totals. */
export function fold(items: readonly Item[], now: Date) {
  const of = (state: State) => items.filter((item) => item.state === state)
  return {
    fresh: of('fresh'),
    stale: of('stale'),
    failed: of('failed'),
    wrong: items.filter((item) => !isRight(item)),
    endsSoon: items.filter(({ endsSoon }) => endsSoon),
    expired: items.filter(({ end }) => end && end <= now),
    /** Of all, expired or not. */
    first: firstToEnd(items),
    /** Of those that have not expired. */
    next: firstToEnd(items.filter(({ end }) => end && end > now)),
  }
}

function firstToEnd(items: readonly Item[]): { readonly end: Date; readonly names: readonly string[] } | undefined {
  const ends = items
    .flatMap(({ name, end }) => (end ? [{ name, end }] : []))
    .sort((a, b) => Number(a.end) - Number(b.end))
  const [first] = ends
  const names = ends.flatMap(({ name, end }) => (Number(end) === Number(first?.end) ? name : []))
  return first && { end: first.end, names: [...new Set(names)] }
}

/** "1 of 24 items is out of date; deployed on 6 of 7 nodes" */
export function formatTotals({ items, nodes }: Pick<Inventory, 'items' | 'nodes'>, now: Date): string {
  const { stale, failed, wrong } = fold(items, now)
  const all = count(items.length, 'item')
  const part = (number: number, one: string, more: string, what: string) =>
    number > 0 && `${number} of ${all} ${number === 1 ? one : more} ${what}`
  const soon = items.filter(
    (item) => (item.state === 'fresh' ? item.endsSoon : item.onlyEnds) && item.end && item.end > now,
  )
  const differing = stale.filter(({ onlyEnds }) => !onlyEnds)
  // Below, an item of which a node has another or none is marked as out of date.
  const here = nodes.some((node) => !isRight(node)) ? ' on this machine' : ''
  return joinClauses(
    wrong.length === 0 &&
      items.length > 0 &&
      `${items.length === 1 ? `${all} is` : `All ${all} are`} up to date${here}`,
    part(differing.length, 'is', 'are', 'out of date'),
    part(soon.length, 'expires', 'expire', 'within renewBefore'),
    part(failed.length, 'is', 'are', 'unreadable'),
    formatRollout(nodes),
  )
}

/** "deployed on 5 of 6 nodes, installed on 3 of 5, loaded on 3 of 5; 1 not inspected" */
function formatRollout(nodes: readonly NodeItem[]): string {
  const counts = (['deployed', 'installed', 'loaded'] as const).flatMap((state) => {
    const known = nodes.filter((node) => node[state] !== undefined)
    const of = state === 'deployed' ? count(nodes.length, 'node') : known.length
    return known.length > 0 ? [`${state} on ${known.filter((node) => node[state]).length} of ${of}`] : []
  })
  const unknown = nodes.filter(({ deployed }) => deployed === undefined).length
  return joinClauses(counts.join(', '), unknown > 0 && `${unknown} not inspected`)
}

/**
 * The commands that show what would be done, and do it. Bootstrap does not renew a CA, and all that it issued expires
 * with it.
 */
export function waysOut(
  { cluster, command }: Run,
  { items, rows }: Pick<Inventory, 'items' | 'rows'>,
): { plan: string; repair: string } {
  const isPruned = [...rows.values()].some((row) => leftOn(row).some((file) => isKeptOff(cluster, file)))
  const [bootstrap, renewal] = [command(`bootstrap${isPruned ? ' --prune' : ''}`), command('ca --renew')]
  return items.some(({ phase, endsSoon }) => phase === 'ca' && endsSoon)
    ? { plan: command('ca --renew --dry-run'), repair: `${renewal}, then ${bootstrap}` }
    : { plan: command(`bootstrap${isPruned ? ' --prune' : ''} --dry-run`), repair: bootstrap }
}

export function takeInventory(seen: Observation): Inventory {
  const { run } = seen
  const nodes = run.cluster.nodes.flatMap((node) => nodeRow(seen, node) ?? [])
  const [ca, cas] = [tryCertificate(run.auth, caName), ownCas(run.auth)]
  const made = [...seen.rows.values()].filter(
    ({ target: { where, makes } }) => where === 'kubeconfig' || (where === 'auth' && makes.length > 0),
  )
  const holders = Map.groupBy(
    run.cluster.nodes.flatMap((node) => {
      const deploy = seen.rows.get(`deploy/${node.name}`)
      return deploy ? nodeFiles(run.cluster, node).map((file) => ({ file, node: node.name, deploy })) : []
    }),
    ({ file }) => file,
  )
  const items = made.map((row) =>
    itemRow(seen, row, { ca, cas, holders: holders.get(row.target.makes[0] ?? '') ?? [] }),
  )
  return { ...seen, items, nodes }
}

/** A row with the certificate of its file, or the one in the kubeconfig. */
function itemRow(
  { run }: Observation,
  row: ClusterRow,
  {
    ca,
    cas,
    holders,
  }: {
    readonly ca: Certificate | undefined
    readonly cas: readonly Certificate[]
    readonly holders: readonly { readonly node: string; readonly deploy: ClusterRow }[]
  },
) {
  const { auth } = run
  const { id, state, target } = row
  const { where, node, phase, makes: files, purpose = '' } = target
  const isFresh = state === 'fresh'
  const { certificate, ca: itsCa = ca } = readChain(run, target, isFresh)
  const issuer = certificate && nameIssuer(auth, certificate, { ca, isFresh })
  /** The effective expiry: the earliest along the chain. */
  const end = certificate && endOf(certificate, itsCa ? [itsCa, ...cas] : cas)
  const isEndingSoon = end !== undefined && endsSoon(run, end)
  return {
    /** `name`: without the ending of its file. */
    ...{ id, phase, where, node, name: auth.files.parse(files[0] ?? '')?.name ?? nameInPhase(target), files, purpose },
    ...{ certificate, issuer, end },
    /** Whether it expires within certificates.renewBefore. */
    endsSoon: isEndingSoon,
    /** Stale for nothing else; a kubeconfig follows its certificate. */
    onlyEnds: isEndingSoon && state === 'stale' && row.diffs.every(({ verb }) => verb === 'renew'),
    state: stateOf(row),
    /** Why it is not fresh, or a note about it. */
    why: explain(row, end && end <= run.now ? 'expired' : endingSoon) || (isEndingSoon ? endingSoon : ''),
    /** Its state on each node that has it, by the node's name; empty if no node was inspected. */
    onNodes: new Map(holders.map(({ node, deploy }) => [node, compareFiles(files, deploy)] as const)),
  }
}

function readChain(run: Run, { where, makes: [file = ''] }: ClusterTarget, isFresh: boolean) {
  const { auth } = run
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  // A fresh kubeconfig holds the files beside it, and need not be parsed.
  if (kind === 'certificate' || (kind === 'kubeconfig' && isFresh)) return { certificate: tryCertificate(auth, name) }
  const embedded =
    where === 'kubeconfig' ? readLocalPair(run) : readEmbedded(String(tryTo(() => auth.tryBytes(file)) ?? ''))
  return {
    certificate: embedded && readCertificate(embedded.certificate),
    ca: embedded && readCertificate(embedded.ca),
  }
}

/** Of a CA of auth/ its name there, such as `ca`; `itself`, or `CN=` and the name of another. */
function nameIssuer(
  auth: AuthDir,
  certificate: Certificate,
  { ca, isFresh }: { readonly ca: Certificate | undefined; readonly isFresh: boolean },
): string {
  // What is fresh has just been found to be signed by it.
  if (ca && isFresh && !certificate.isCa && certificate.issuer.equals(ca.subject)) return caName
  if (certificate.subject.equals(certificate.issuer) && certificate.x509.verify(certificate.publicKey)) return 'itself'
  const isIts = (name: string) => {
    const its = tryCertificate(auth, name)
    return its !== undefined && isIssuedBy(certificate, its)
  }
  const commonName = attributesIn(certificate.x509.issuer).find((each) => each.startsWith('CN='))
  return caNames.find(isIts) ?? commonName ?? 'nobody'
}

function stateOf({ state, failure }: ClusterRow): State {
  if (state === 'fresh') return 'fresh'
  return failure && failure.kind !== 'refused' ? 'failed' : 'stale'
}

/** The date of an expiry is beside it. */
function explain({ state, diffs, failure, because = [] }: ClusterRow, expiry: string): string {
  if (failure) return failure.message
  if (state === 'skipped') return because.length === 0 ? 'not inspected' : dependsOn(because)
  const others = diffs.filter(({ verb }) => verb !== 'renew')
  return joinClauses(formatDiffs(others), hasVerb(diffs, 'renew') && expiry)
}

const endingSoon = 'less than renewBefore left'

function dependsOn(ids: readonly string[]): string {
  return `depends on ${formatNames(ids)}`
}

/** What the check of a node's deploy has found, if it was looked at. */
const inFolder = (deploy: ClusterRow) => deploy.found as DeployFound | undefined

/** The names of files that do not belong on the node, and that runs leave there. */
const leftOn = (row: ClusterRow) => (row.target.phase === 'deploy' ? (inFolder(row)?.checked.left ?? []) : [])

function compareFiles(files: readonly string[], deploy: ClusterRow) {
  const found = inFolder(deploy)
  if (!found) return 'unknown'
  const { missing, differ, wrongMode, wrongOwner } = found.checked.wrong ?? noDifference
  if (files.some((file) => missing.includes(file))) return 'missing'
  return files.some((file) => [...differ, ...wrongMode, ...wrongOwner].includes(file)) ? 'differs' : 'same'
}

/**
 * The rows of a node as one; undefined if it was not inspected. What was not looked at is undefined, as without install
 * in cluster.yaml.
 */
function nodeRow({ run: { cluster }, rows }: Pick<Observation, 'run' | 'rows'>, node: ClusterNode) {
  const [deploy, install, list] = ['deploy', 'install', 'revoked'].map((kind) => rows.get(`${kind}/${node.name}`))
  if (!deploy) return undefined
  const own = [deploy, install ?? [], list ?? []].flat()
  const states = own.map((row) => onNode(cluster, node, row))
  const worst = (['failed', 'stale'] as const).find((state) => states.some((each) => each.state === state))
  const shown = states.filter(({ state }) => !worst || state !== 'fresh')
  const left = leftOn(deploy)
  const units = install?.found as InstallFound | undefined
  // Where no unit is due, nothing is there to be installed or loaded.
  const due = cluster.install !== false && nodeUnits(cluster, node).length > 0 ? install : undefined
  const checks = units?.checks ?? []
  const isInstalled = (isWrong: (difference: UnitDifference) => boolean) =>
    answerOf(due, () => checks.length > 0 && !checks.some(({ reason }) => reason && isWrong(reason)))
  const isReached = (units === undefined || needReload(units).length === 0) && !list?.todo?.length
  const lacking = lackedBy(cluster, node, deploy, units)
  const belongs = nodeFiles(cluster, node).filter((file) => !lacking.includes(file))
  return {
    node: node.name,
    state: worst ?? ('fresh' as const),
    why: [...new Set(shown.map(({ why }) => why))].join('; '),
    deployed: answerOf(deploy, ({ diffs }) => diffs.length === 0),
    installed: isInstalled(({ places }) => places.length > 0),
    // What is not installed yet is loaded by nobody.
    loaded: units && checks.length === 0 ? undefined : isInstalled(() => true) && isReached,
    /** How many entries of `revoked` its API server denies. */
    revokedInForce: (list?.found as ListFound | undefined)?.revokedInForce,
    /** When the certificate that its API server made itself expires. */
    until: install?.until ?? deploy.until,
    /** The names of our files that are there; undefined if it could not be looked at. */
    holds: isLost(deploy) ? undefined : [...belongs, ...left],
    left,
  }
}

/** What its folder lacks, units may still have where they read it: all of it, where the folder alone is gone. */
function lackedBy(
  cluster: Cluster,
  node: ClusterNode,
  deploy: ClusterRow,
  units: InstallFound | undefined,
): readonly string[] {
  const missing = inFolder(deploy)?.checked.wrong?.missing ?? []
  if (!units || units.checks.length === 0) return missing
  const places = units.checks.flatMap(({ reason }) => reason?.places ?? [])
  const absent = new Set(places.flatMap(({ path, what }) => (what === 'missing' ? path : [])))
  const isGone = absent.size === 0 && missing.length === nodeFiles(cluster, node).length
  const reads = nodeUnits(cluster, node).flatMap((unit) => unit.reads)
  const isInstalled = (name: string) =>
    reads.some(({ file, usual, isOptional }) => file === name && !absent.has(usual) && (isGone || !isOptional))
  return missing.filter((file) => !isInstalled(file))
}

/** A refusal is an answer: the files there are not ours. So is that they are newer. */
function answerOf(row: ClusterRow | undefined, isSo: (row: ClusterRow) => boolean): boolean | undefined {
  if (row?.state === 'fresh' || row?.state === 'stale') return isSo(row)
  return row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node' ? false : undefined
}

/** By what is on the node only: stale files of auth/ have their own rows. */
function onNode(cluster: Cluster, node: ClusterNode, row: ClusterRow): { readonly state: State; readonly why: string } {
  if (row.failure) return { state: stateOf(row), why: beside(`/${node.name}`, row.failure.what) }
  if (row.state === 'skipped') return { state: 'stale', why: 'not inspected' }
  const { found, todo = [], target } = row
  // The commands are below the table, and so is what is left to do in its units.
  const left = target.id === `install/${node.name}` ? (found ? needReload(found as InstallFound) : []) : todo
  const why = joinClauses(formatDiffs(row.diffs), ...left.map((text) => text.replace(/:?\n.*/s, '')))
  if (why !== '') return { state: 'stale', why }
  return { state: 'fresh', why: row.note ?? `${count(nodeFiles(cluster, node).length, 'file')} up to date` }
}

/** What kubectl would use as our user against our cluster; undefined unless all of it is there. */
function readLocalPair({ cluster, kubeconfig }: Pick<Run, 'cluster' | 'kubeconfig'>) {
  if (!cluster.localKubeconfig) return undefined
  const content = tryTo(() => readKubeconfigFile(kubeconfig()))?.content
  const find = (list: 'clusters' | 'users', name: string, field: string) => {
    const data = content?.[list].get(name)?.[field]
    return typeof data === 'string' ? Buffer.from(data, 'base64') : undefined
  }
  const { user } = cluster.localKubeconfig
  const [ca, certificate, key] = [
    find('clusters', cluster.name, 'certificate-authority-data'),
    find('users', user, 'client-certificate-data'),
    find('users', user, 'client-key-data'),
  ]
  return ca && certificate && key && { ca, certificate, key }
}
