/** A row for everything that was made, and one for each node: its state, why, and until when. And what they come to. */
import type { Cluster, ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryTo } from '../../lib/failure.ts'
import { caName, parseFileName } from '../../lib/files/names.ts'
import type { Outcome } from '../../lib/graph/executor.ts'
import { nameInPhase, type Target, type TargetId, type Where } from '../../lib/graph/target.ts'
import { endsSoon, type Workspace } from '../../lib/graph/workspace.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { attributesIn, type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { formatReasons, ownReasons, type Reason, type Verdict } from '../../lib/reason.ts'
import { count, formatNames } from '../../lib/wording.ts'
import { nodeFiles } from '../tables/files.ts'
import { nodeUnits } from '../tables/places.ts'
import { readLocalPair } from './local-pair.ts'
import type { Seen } from './look.ts'

export type State = 'fresh' | 'stale' | 'failed'

/** What is right or not, and why. */
interface Row {
  readonly state: State
  /** Why it is not fresh, or what to know of it. */
  readonly why: string
}

export interface Item extends Row {
  readonly id: TargetId
  readonly phase: string
  readonly where: Where
  readonly node: string | undefined
  /** Without the ending of its file. */
  readonly name: string
  readonly files: readonly string[]
  readonly purpose: string
  /** The certificate, or the one in the kubeconfig. */
  readonly certificate: Certificate | undefined
  /** `ca` for the present one, `itself`, or `CN=` and the name of another. */
  readonly issuer: string | undefined
  /** The effective expiry: the earliest along the chain. */
  readonly end: Date | undefined
  /** Whether it expires within certificates.renewBefore. */
  readonly endsSoon: boolean
  /** Its state on each node that has it, by the node's name; empty if no node was inspected. */
  readonly onNodes: ReadonlyMap<string, OnNode>
}

type OnNode = 'same' | 'differs' | 'missing' | 'unknown'

/** What a report is made of. */
export interface ReportData extends Seen {
  readonly items: readonly Item[]
  /** Empty if no node was inspected. */
  readonly nodes: readonly NodeItem[]
}

/** Undefined where it was not looked at, as install is not unless cluster.yaml has it. */
export type Rollout = Readonly<Record<'deployed' | 'installed' | 'loaded', boolean | undefined>>

export interface NodeItem extends Row, Rollout {
  readonly node: string
}

/** The user's own kubeconfig is shown, and does not count. */
export function isOurs({ where }: { readonly where?: Where }): boolean {
  return where !== 'user'
}

export function isRight({ state, endsSoon = false }: Pick<Row, 'state'> & { readonly endsSoon?: boolean }): boolean {
  return state === 'fresh' && !endsSoon
}

/** What rows come to. The user's own kubeconfig is left out. */
export function fold<R extends Row & Partial<Pick<Item, 'where' | 'end' | 'endsSoon'>>>(rows: readonly R[], now: Date) {
  const ours = rows.filter(isOurs)
  const of = (state: State) => ours.filter((row) => row.state === state)
  const dated = ours.filter(({ end }) => end !== undefined)
  const expired = dated.filter(({ end }) => end && end <= now)
  const left = dated.filter((row) => !expired.includes(row))
  return {
    ours,
    fresh: of('fresh'),
    stale: of('stale'),
    failed: of('failed'),
    wrong: ours.filter((row) => !isRight(row)),
    endsSoon: ours.filter(({ endsSoon }) => endsSoon),
    expired,
    /** Of all, expired or not. */
    first: firstToEnd(dated),
    /** Of those that have not expired. */
    next: firstToEnd(left),
  }
}

function firstToEnd<R extends { readonly end?: Date | undefined }>(dated: readonly R[]) {
  const least = dated.reduce((least, { end }) => Math.min(least, Number(end)), Number.POSITIVE_INFINITY)
  if (dated.length === 0) return undefined
  return { end: new Date(least), rows: dated.filter(({ end }) => Number(end) === least) }
}

/** "deployed on 7 of 7 nodes, installed on 3 of 7, loaded on 3 of 7; 1 could not be looked at" */
export function formatRollout(nodes: readonly NodeItem[]): string {
  const counts = (['deployed', 'installed', 'loaded'] as const).flatMap((state) => {
    const known = nodes.filter((node) => node[state] !== undefined)
    const number = known.filter((node) => node[state]).length
    return known.length > 0 ? [{ state, number, of: known.length }] : []
  })
  const unknown = nodes.filter(({ deployed }) => deployed === undefined).length
  return [
    counts.map(({ state, number, of }, i) => `${state} on ${number} of ${i === 0 ? count(of, 'node') : of}`).join(', '),
    unknown > 0 && `${count(unknown, 'node')} could not be looked at`,
  ]
    .filter(Boolean)
    .join('; ')
}

/** What shows what would be done, and what does it, to type. Bootstrap renews no CA, and all that it issued expires with it. */
export function waysOut({ command }: Workspace, inventory: readonly Item[]): { plan: string; run: string } {
  const [bootstrap, renewal] = [command('bootstrap'), command('ca --renew')]
  return inventory.some(({ phase, endsSoon }) => phase === 'ca' && endsSoon)
    ? { plan: command('ca --renew --dry-run'), run: `${renewal}, then ${bootstrap}` }
    : { plan: command('bootstrap --dry-run'), run: bootstrap }
}

export function takeInventory(seen: Seen): Item[] {
  const { workspace, graph, outcomes } = seen
  const ca = tryCertificate(workspace.auth, caName)
  const holders = findHolders(seen)
  return [...graph.values()]
    .filter(({ where }) => where !== 'node')
    .map((target) => {
      const outcome = outcomes.get(target.id)
      const isFresh = outcome?.kind === 'fresh'
      const { certificate, ca: itsCa = ca } = readChain(workspace, target, isFresh)
      const issuer = certificate && nameIssuer(certificate, ca, isFresh)
      const ends = [certificate, issuer === 'ca' ? itsCa : undefined].flatMap((link) => link?.notAfter.getTime() ?? [])
      const end = ends.length > 0 ? new Date(Math.min(...ends)) : undefined
      const isEndingSoon = end !== undefined && endsSoon(workspace, end)
      return {
        id: target.id,
        phase: target.phase,
        where: target.where,
        node: target.node,
        name: parseFileName(target.makes[0] ?? '')?.name ?? nameInPhase(target),
        files: target.makes,
        purpose: target.purpose ?? '',
        certificate,
        issuer,
        end,
        endsSoon: isEndingSoon,
        state: stateOf(outcome),
        why: explain(outcome) || (isEndingSoon ? 'expires within renewBefore' : ''),
        onNodes: new Map(
          (holders.get(target.makes[0] ?? '') ?? []).map(({ node, outcome }) => [
            node,
            compareFiles(target.makes, outcome),
          ]),
        ),
      }
    })
}

function readChain(workspace: Workspace, { where, makes: [file = ''] }: Target, isFresh: boolean) {
  const { auth } = workspace
  const { kind, name = '' } = parseFileName(file) ?? {}
  // A fresh kubeconfig holds the very files beside it, and need not be parsed.
  if (kind === 'certificate' || (kind === 'kubeconfig' && isFresh)) return { certificate: tryCertificate(auth, name) }
  const embedded =
    where === 'user' ? readLocalPair(workspace) : readEmbedded(String(tryTo(() => auth.tryBytes(file)) ?? ''))
  return {
    certificate: embedded && readCertificate(embedded.certificate),
    ca: embedded && readCertificate(embedded.ca),
  }
}

function nameIssuer(certificate: Certificate, ca: Certificate | undefined, isFresh: boolean): string {
  // What is fresh has just been found to be signed by it.
  if (ca && isFresh && !certificate.isCa) return 'ca'
  if (certificate.subject.equals(certificate.issuer) && certificate.x509.verify(certificate.publicKey)) return 'itself'
  return ca && isIssuedBy(certificate, ca)
    ? 'ca'
    : (attributesIn(certificate.x509.issuer).find((each) => each.startsWith('CN=')) ?? 'nobody')
}

function stateOf(outcome: Outcome | undefined): State {
  if (outcome?.kind === 'fresh') return 'fresh'
  return outcome?.kind === 'failed' && outcome.failure.kind !== 'refused' ? 'failed' : 'stale'
}

function explain(outcome: Outcome | undefined): string {
  switch (outcome?.kind) {
    case 'stale':
      return explainReasons(outcome.reasons)
    case 'failed':
      return outcome.failure.message
    case 'cancelled':
      return outcome.because.length === 0 ? 'not inspected' : `depends on ${formatNames(outcome.because)}`
    default:
      return ''
  }
}

/** status builds nothing, so a dry run's "will be made" is shown as "depends on". */
function explainReasons(reasons: readonly Reason[]): string {
  const needs = reasons.flatMap((reason) => (reason.kind === 'need-rebuilt' ? reason.ids : []))
  return [formatReasons(ownReasons(reasons)), needs.length > 0 && `depends on ${formatNames(needs)}`]
    .filter(Boolean)
    .join('; ')
}

/** The nodes that were inspected, by the file that belongs on them. */
function findHolders(seen: Seen) {
  // deploy/<node> comes first: it inspects the node's folder.
  const held = inspectedNodes(seen).flatMap(([node, [outcome]]) =>
    nodeFiles(node).map((file) => ({ file, node: node.name, outcome })),
  )
  return Map.groupBy(held, ({ file }) => file)
}

function compareFiles(files: readonly string[], outcome: Outcome): OnNode {
  if (outcome.kind !== 'fresh' && outcome.kind !== 'stale') return 'unknown'
  const found = outcome.reasons.find((reason) => reason.kind === 'on-node')
  if (!found) return 'same'
  if (files.some((file) => found.missing.includes(file))) return 'missing'
  const wrong = [...found.differ, ...found.wrongMode, ...found.wrongOwner]
  return files.some((file) => wrong.includes(file)) ? 'differs' : 'same'
}

/** The nodes that were inspected. */
function inspectedNodes({ workspace, graph, outcomes }: Seen): [ClusterNode, [Outcome, ...Outcome[]]][] {
  const targets = [...graph.values()].filter(({ where }) => where === 'node')
  const byNode = Map.groupBy(targets, ({ node }) => node)
  return workspace.cluster.nodes.flatMap((node): [ClusterNode, [Outcome, ...Outcome[]]][] => {
    const [first, ...rest] = (byNode.get(node.name) ?? []).flatMap(({ id }) => outcomes.get(id) ?? [])
    return first ? [[node, [first, ...rest]]] : []
  })
}

export function takeNodeInventory(seen: Seen): NodeItem[] {
  return inspectedNodes(seen).map(([node, outcomes]) => {
    const states = outcomes.map((outcome) => nodeState(node, outcome))
    const worst = states.find(({ state }) => state === 'failed') ?? states.find(({ state }) => state === 'stale')
    const shown = states.filter(({ state }) => !worst || state !== 'fresh')
    return {
      node: node.name,
      state: worst?.state ?? 'fresh',
      why: [...new Set(shown.map(({ why }) => why))].join('; '),
      ...rolloutOf(node, outcomes, seen.workspace.cluster),
    }
  })
}

/** Without units that are due there, nothing is installed or loaded: undefined, not false. */
function rolloutOf(node: ClusterNode, [deploy, install]: readonly Outcome[], { install: settings }: Cluster): Rollout {
  const isLooked = (outcome?: Outcome): outcome is Outcome & Verdict =>
    outcome?.kind === 'fresh' || outcome?.kind === 'stale'
  const deployed = isLooked(deploy) ? ownReasons(deploy.reasons).length === 0 : undefined
  const isDue = settings !== false && nodeUnits(node, settings).length > 0
  if (!isDue || !isLooked(install)) return { deployed, installed: undefined, loaded: undefined }
  const wrong = install.reasons.filter((reason) => reason.kind === 'unit')
  const isThere = (install.units ?? []).length > 0
  return {
    deployed,
    installed: isThere && wrong.every(({ places }) => places.length === 0),
    loaded: isThere && wrong.length === 0,
  }
}

/** By what is on the node alone: stale files of auth/ have rows of their own. */
function nodeState(node: ClusterNode, outcome: Outcome): Pick<NodeItem, 'state' | 'why'> {
  if (outcome.kind === 'cancelled') return { state: 'stale', why: 'not inspected' }
  if (outcome.kind === 'failed') return { state: stateOf(outcome), why: outcome.failure.what }
  const reasons = ownReasons(outcome.reasons)
  if (reasons.length === 0 && outcome.note !== undefined) return { state: 'fresh', why: outcome.note }
  if (reasons.length > 0) return { state: 'stale', why: formatReasons(reasons) }
  return { state: 'fresh', why: `${count(nodeFiles(node).length, 'file')}, as in auth/` }
}
