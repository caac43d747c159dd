/** A row for everything that was made, and one for each node: state, reason, expiry. And their totals. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { entryOf } from '../../lib/cluster/problem.ts'
import { tryTo } from '../../lib/failure.ts'
import { type AuthDir, caName, caNames } from '../../lib/files/auth-dir.ts'
import {
  checkOf,
  clausesIn,
  endsSoon,
  findingsIn,
  leftIn,
  nameInPhase,
  type Outcome,
  type Run,
  type Target,
} from '../../lib/graph/target.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { findEntry, readKubeconfigs } from '../../lib/kubernetes/kubeconfig-merge.ts'
import {
  attributesIn,
  type Certificate,
  endOf,
  fingerprintOf,
  isIssuedBy,
  readCertificate,
} from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { type CheckResult, formatFinding, formatReasons, ownReasons, type ReasonOf } from '../../lib/reason.ts'
import { beside, count, formatNames, joinClauses } from '../../lib/wording.ts'
import { nodeFiles, nodeUnits } from '../layouts/tables.ts'
import type { Observation } from './observe.ts'

type State = 'fresh' | 'stale' | 'failed'

export type Item = Readonly<ReturnType<typeof takeItems>[number]>

export type NodeItem = Readonly<ReturnType<typeof takeNodes>[number]>

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

/** "1 of 24 items differs from cluster.yaml; deployed on 6 of 7 nodes" */
export function formatTotals({ items, nodes }: Pick<Inventory, 'items' | 'nodes'>, now: Date): string {
  const { stale, failed, wrong } = fold(items, now)
  const all = count(items.length, 'item')
  const part = (number: number, one: string, more: string, what: string) =>
    number > 0 && `${number} of ${all} ${number === 1 ? one : more} ${what}`
  const soon = items.filter(
    (item) => (item.state === 'fresh' ? item.endsSoon : item.onlyEnds) && item.end && item.end > now,
  )
  const differing = stale.filter(({ onlyEnds }) => !onlyEnds)
  return joinClauses(
    wrong.length === 0 &&
      items.length > 0 &&
      `${items.length === 1 ? `${all} matches` : `All ${all} match`} cluster.yaml`,
    part(differing.length, 'differs', 'differ', 'from cluster.yaml'),
    part(soon.length, 'expires', 'expire', 'within renewBefore'),
    part(failed.length, 'was', 'were', 'not readable'),
    formatRollout(nodes),
  )
}

/** "deployed on 5 of 6 nodes, installed on 3 of 5, loaded on 3 of 5; 1 not looked at" */
function formatRollout(nodes: readonly NodeItem[]): string {
  const counts = (['deployed', 'installed', 'loaded'] as const).flatMap((state) => {
    const known = nodes.filter((node) => node[state] !== undefined)
    const of = state === 'deployed' ? count(nodes.length, 'node') : known.length
    return known.length > 0 ? [`${state} on ${known.filter((node) => node[state]).length} of ${of}`] : []
  })
  const unknown = nodes.filter(({ deployed }) => deployed === undefined).length
  return joinClauses(counts.join(', '), unknown > 0 && `${unknown} not looked at`)
}

/** The commands that show what would be done, and do it. Bootstrap does not renew a CA, and all that it issued expires with it. */
export function waysOut(
  { command }: Run,
  { items, nodes }: Pick<Inventory, 'items' | 'nodes'>,
): { plan: string; repair: string } {
  const isPruned = nodes.some(({ left }) => left.some(({ isKeptOff }) => isKeptOff))
  const [bootstrap, renewal] = [command(`bootstrap${isPruned ? ' --prune' : ''}`), command('ca --renew')]
  return items.some(({ phase, endsSoon }) => phase === 'ca' && endsSoon)
    ? { plan: command('ca --renew --dry-run'), repair: `${renewal}, then ${bootstrap}` }
    : { plan: command(`bootstrap${isPruned ? ' --prune' : ''} --dry-run`), repair: bootstrap }
}

export function takeInventory(seen: Observation): Inventory {
  return { ...seen, items: takeItems(seen), nodes: takeNodes(seen) }
}

function takeItems(seen: Observation) {
  const { run, graph, outcomes } = seen
  const ca = tryCertificate(run.auth, caName)
  const cas = ownCas(run.auth)
  const holders = findHolders(seen)
  return [...graph.values()]
    .filter(({ where, makes }) => where === 'kubeconfig' || (where === 'auth' && makes.length > 0))
    .map((target) => {
      const { id, phase, where, node, makes: files, purpose = '' } = target
      const [file = ''] = files
      /** Without the ending of its file. */
      const name = run.auth.files.parse(file)?.name ?? nameInPhase(target)
      const outcome = outcomes.get(id)
      const isFresh = outcome?.kind === 'fresh'
      /** The certificate, or the one in the kubeconfig. */
      const { certificate, ca: itsCa = ca } = readChain(run, target, isFresh)
      const issuer = certificate && nameIssuer(run.auth, certificate, { ca, isFresh })
      /** The effective expiry: the earliest along the chain. */
      const end = certificate && endOf(certificate, itsCa ? [itsCa, ...cas] : cas)
      const isEndingSoon = end !== undefined && endsSoon(run, end)
      const held = (holders.get(file) ?? []).map((on) => [on.node.name, compareFiles(files, on.deploy)] as const)
      return {
        ...{ id, phase, where, node, name, files, purpose, certificate, issuer, end },
        /** As `revoked` takes it; a kubeconfig's is listed with its certificate. */
        ...(certificate && phase !== 'kubeconfigs' && { fingerprint: entryOf(fingerprintOf(certificate)) }),
        /** Whether it expires within certificates.renewBefore. */
        endsSoon: isEndingSoon,
        /** Stale for nothing else. */
        onlyEnds: isEndingSoon && outcome?.kind === 'stale' && isOfTime(outcome),
        state: stateOf(outcome),
        /** Why it is not fresh, or a note about it. */
        why: explain(outcome) || (isEndingSoon ? 'expires within renewBefore' : ''),
        /** Its state on each node that has it, by the node's name; empty if no node was inspected. */
        onNodes: new Map(held),
      }
    })
}

function readChain(run: Run, { where, makes: [file = ''] }: Target, isFresh: boolean) {
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

function stateOf(outcome: Outcome | undefined): State {
  if (outcome?.kind === 'fresh') return 'fresh'
  return outcome?.kind === 'failed' && outcome.failure.kind !== 'refused' ? 'failed' : 'stale'
}

/** A kubeconfig follows its certificate. */
function isOfTime({ reasons }: CheckResult): boolean {
  return ownReasons(reasons).every(({ kind }) => kind === 'expires')
}

function explain(outcome: Outcome | undefined): string {
  if (outcome?.kind === 'failed') return outcome.failure.message
  if (outcome?.kind === 'cancelled') return outcome.because.length === 0 ? 'not inspected' : dependsOn(outcome.because)
  if (outcome?.kind !== 'stale') return ''
  // Nothing is built here, so a dry run's "will be made" is shown as "depends on".
  const needs = outcome.reasons.flatMap((each) => (each.kind === 'need-rebuilt' ? dependsOn(each.ids) : []))
  return joinClauses(formatReasons(ownReasons(outcome.reasons)), ...needs)
}

function dependsOn(ids: readonly string[]): string {
  return `depends on ${formatNames(ids)}`
}

/** The nodes that were inspected, by the file that belongs on them. */
function findHolders(seen: Observation) {
  const held = inspectedNodes(seen).flatMap((each) =>
    nodeFiles(seen.run.cluster, each.node).map((file) => ({ ...each, file })),
  )
  return Map.groupBy(held, ({ file }) => file)
}

function compareFiles(files: readonly string[], outcome: Outcome) {
  if (outcome.kind !== 'fresh' && outcome.kind !== 'stale') return 'unknown'
  const found = outcome.reasons.find((reason) => reason.kind === 'on-node')
  if (!found) return 'same'
  if (files.some((file) => found.missing.includes(file))) return 'missing'
  const wrong = [...found.differ, ...found.wrongMode, ...found.wrongOwner]
  return files.some((file) => wrong.includes(file)) ? 'differs' : 'same'
}

/** With the outcomes of their targets: deploy, and install if cluster.yaml has it. */
function inspectedNodes({ run, outcomes }: Observation) {
  return run.cluster.nodes.flatMap((node) => {
    const [deploy, install, list] = ['deploy', 'install', 'revoked'].map((kind) => outcomes.get(`${kind}/${node.name}`))
    return deploy ? [{ node, deploy, install, list }] : []
  })
}

/** What was not looked at is undefined, as without install in cluster.yaml. */
function takeNodes(seen: Observation) {
  const { cluster } = seen.run
  return inspectedNodes(seen).map(({ node, deploy, install, list }) => {
    const states = [deploy, install, list].flatMap((outcome) => (outcome ? nodeState(cluster, node, outcome) : []))
    const worst = states.find(({ state }) => state === 'failed') ?? states.find(({ state }) => state === 'stale')
    const shown = states.filter(({ state }) => !worst || state !== 'fresh')
    // Where no unit is due, nothing is there to be installed or loaded.
    const isDue = cluster.install !== false && nodeUnits(cluster, node).length > 0
    const isInstalled = (isWrong: (reason: ReasonOf<'unit'>) => boolean) =>
      answerOf(
        isDue ? install : undefined,
        ({ reasons, units = [] }) => units.length > 0 && !reasons.some((each) => each.kind === 'unit' && isWrong(each)),
      )
    const state: State = worst?.state ?? 'fresh'
    const [ofInstall, ofList] = [checkOf(install), checkOf(list)]
    const unreached = [install, list].flatMap((outcome) => clausesIn(outcome, 'unreached'))
    return {
      node: node.name,
      state,
      why: [...new Set(shown.map(({ why }) => why))].join('; '),
      deployed: answerOf(deploy, ({ reasons }) => ownReasons(reasons).length === 0),
      installed: isInstalled(({ places }) => places.length > 0),
      // What is not installed yet is loaded by nobody.
      loaded: ofInstall.units?.length === 0 ? undefined : isInstalled(() => true) && unreached.length === 0,
      /** How many entries of `revoked` its API server denies. */
      revokedInForce: ofList.revokedInForce,
      /** What it has counted. */
      uses: ofList.uses,
      refused: ofList.refused,
      /** When the certificate that its API server made itself expires. */
      until: ofInstall.until ?? checkOf(deploy).until,
      /** The names of our files that are there; undefined if it could not be looked at. */
      holds: filesHeld(cluster, node, { deploy, install }),
      left: [deploy, install].flatMap(leftIn),
    }
  })
}

/** What its folder lacks, units may still have where they read it. */
function filesHeld(
  cluster: Cluster,
  node: ClusterNode,
  { deploy, install }: { readonly deploy: Outcome; readonly install: Outcome | undefined },
): string[] | undefined {
  if (deploy.kind !== 'fresh' && deploy.kind !== 'stale') return undefined
  const isInstalled = install && checkOf(install).units?.length !== 0
  const missing = isInstalled ? [] : (deploy.reasons.find((reason) => reason.kind === 'on-node')?.missing ?? [])
  const belongs = nodeFiles(cluster, node).filter((file) => !missing.includes(file))
  return [...belongs, ...[deploy, install].flatMap(leftIn).map(({ file }) => file)]
}

/** A refusal is an answer: the files there are not ours. So is that they are newer. */
function answerOf(outcome: Outcome | undefined, isSo: (found: CheckResult) => boolean): boolean | undefined {
  if (outcome?.kind === 'fresh' || outcome?.kind === 'stale') return isSo(outcome)
  if (outcome?.kind !== 'failed') return undefined
  return outcome.failure.kind === 'refused' || outcome.failure.code === 'newer-on-node' ? false : undefined
}

/** By what is on the node only: stale files of auth/ have their own rows. */
function nodeState(cluster: Cluster, node: ClusterNode, outcome: Outcome): { state: State; why: string } {
  if (outcome.kind === 'cancelled') return { state: 'stale', why: 'not inspected' }
  if (outcome.kind === 'failed') return { state: stateOf(outcome), why: beside(`/${node.name}`, outcome.failure.what) }
  const reasons = ownReasons(outcome.reasons)
  const left = findingsIn(outcome).filter((each) => each.left?.isKeptOff)
  const clauses = [...left.map(formatFinding), ...clausesIn(outcome, 'unreached')]
  if (reasons.length + clauses.length > 0)
    return { state: 'stale', why: joinClauses(formatReasons(reasons), ...clauses) }
  return { state: 'fresh', why: outcome.note ?? `${count(nodeFiles(cluster, node).length, 'file')}, as in auth/` }
}

/** What kubectl would use as our user against our cluster; undefined unless all of it is there. */
export function readLocalPair({ cluster, kubeconfigs }: Pick<Run, 'cluster' | 'kubeconfigs'>) {
  if (!cluster.localKubeconfig) return undefined
  const files = kubeconfigs().flatMap((path) => tryTo(() => readKubeconfigs([path])) ?? [])
  const find = (list: 'clusters' | 'users', name: string, field: string) => {
    const data = findEntry(files, list, name)?.[field]
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
