/** Everything that was made, and what is on the nodes: what for, until when, and whether it is what cluster.yaml asks for. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { tryTo } from '../../lib/failure.ts'
import { caName, parseFileName } from '../../lib/files/names.ts'
import type { Outcome } from '../../lib/graph/executor.ts'
import { nameInPhase, type Target, type TargetId, type Where } from '../../lib/graph/target.ts'
import { endsSoon, type Workspace } from '../../lib/graph/workspace.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { attributesIn, type Certificate, isIssuedBy, readCertificate } from '../../lib/pki/certificate.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { formatReasons, ownReasons, type Reason } from '../../lib/reason.ts'
import { count, formatNames } from '../../lib/wording.ts'
import { nodeFiles } from '../tables/files.ts'
import { readLocalPair } from './local-pair.ts'
import type { Seen } from './look.ts'

export type State = 'fresh' | 'stale' | 'failed'

export interface Item {
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
  readonly state: State
  /** Why it is not fresh, or what to know of it. */
  readonly why: string
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

export interface NodeItem {
  readonly node: string
  readonly state: State
  /** What is there, or what is wrong. */
  readonly why: string
}

/** The user's own kubeconfig is shown, and does not count. */
export function isOurs({ where }: Item): boolean {
  return where !== 'user'
}

export function isRight({ state, endsSoon = false }: { readonly state: State; readonly endsSoon?: boolean }): boolean {
  return state === 'fresh' && !endsSoon
}

export function firstEnd(items: readonly Item[]): Date | undefined {
  const ends = items.flatMap(({ end }) => end?.getTime() ?? [])
  return ends.length > 0 ? new Date(ends.reduce((least, end) => Math.min(least, end))) : undefined
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
    const told = states.filter(({ state }) => !worst || state !== 'fresh')
    return { node: node.name, state: worst?.state ?? 'fresh', why: [...new Set(told.map(({ why }) => why))].join('; ') }
  })
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
