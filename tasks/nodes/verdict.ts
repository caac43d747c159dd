/** The verdict on a node: what is wrong with its files, and what may not be replaced. */

import { randomBytes } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, sharedRefusal } from '../../lib/failure.ts'
import { backups } from '../../lib/files/backup.ts'
import { fileMode, keyFile, parseFileName } from '../../lib/files/names.ts'
import { otherIdentity } from '../../lib/identity/identity.ts'
import { ownCas } from '../../lib/identity/rotation.ts'
import { readClientCertificate } from '../../lib/kubeconfig/kubeconfig.ts'
import { type Certificate, isIssuedBy, readCertificates } from '../../lib/pki/certificate.ts'
import type { Reason } from '../../lib/reason.ts'
import { type Inspection, largestFile, type NodeFile } from '../../lib/remote/look.ts'
import { judgeStaging, longestUse, type StagingOwner } from '../../lib/remote/staging.ts'
import type { Workspace } from '../../lib/targets/workspace.ts'
import { formatNames } from '../../lib/wording.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { fetchCommand, waysOutOfLost } from './fetch-command.ts'
import { digestOf, sha256 } from './look.ts'

export type NodeReason = Reason & { kind: 'on-node' }

export interface NodeVerdict {
  /** Undefined where all is right. */
  readonly wrong: NodeReason | undefined
  readonly warning: string | undefined
}

/** What may stand in a node's folder. */
export interface Names {
  /** Files of ours, wherever they belong. */
  readonly known: ReadonlySet<string>
  /** Nodes that are in the same folder of the same machine; the node is one of them. */
  readonly together: readonly ClusterNode[]
}

/** Throws a Failure where the node may not be written to. */
export function checkNode(
  workspace: Workspace,
  node: ClusterNode,
  inspection: Inspection,
  names: Names,
  isForced: boolean,
): NodeVerdict {
  const others = otherIdentities(workspace, node, inspection)
  if (others.length > 0 && !workspace.options.replaceIdentity) throw otherIdentityRefused(workspace, node, others)
  if (!isForced) refuseNewer(workspace, node, inspection)
  const foreign = foreignFiles(node, inspection, names)
  const neighbours = neighboursIn(workspace, inspection, names)
  const prunes = workspace.options.prune && neighbours.length === 0
  const stagings = Map.groupBy(inspection.leftovers, (each) =>
    judgeStaging(each, stagingOwner(workspace), inspection.uptime),
  )
  const wrong = {
    ...compare(workspace, node, inspection),
    pruned: prunes ? foreign : [],
    leftovers: (stagings.get('left') ?? []).map(({ name }) => name),
  }
  const warnings = [
    others.length > 0 &&
      `${node.name} holds another ${formatOthers(others)}: it is overwritten, and lost if it is nowhere else`,
    !prunes && foreign.length > 0 && formatForeign(node, foreign, neighbours),
    ...(stagings.get('may be in use') ?? []).map(
      ({ name, age }) =>
        `${node.name} has ${name}, made ${age} s ago: another run is using it, or was killed; it is removed when it is ${longestUse / 60} minutes old`,
    ),
  ].filter(Boolean)
  return { wrong: isRight(wrong) ? undefined : wrong, warning: warnings.length > 0 ? warnings.join('; ') : undefined }
}

export function isRight({ kind, ...lists }: NodeReason): boolean {
  return Object.values(lists).every((list) => list.length === 0)
}

/** What belongs there, with what is there. */
export function compare(workspace: Workspace, node: ClusterNode, inspection: Inspection): NodeReason {
  const files = nodeFiles(node).map((name) => ({ name, there: inspection.files.get(name) }))
  const names = (wrong: (file: (typeof files)[number]) => boolean) => files.filter(wrong).map(({ name }) => name)
  return {
    kind: 'on-node',
    missing: names(({ there }) => !there),
    // A file that is not in auth/ yet is compared once it is.
    differ: names(
      ({ name, there }) =>
        there !== undefined &&
        (workspace.pending?.has(name) === true || there.digest !== (digestOf(workspace, name) ?? there.digest)),
    ),
    wrongOwner: names(({ there }) => there !== undefined && there.uid !== inspection.uid),
    wrongMode: names(({ name, there }) => there?.kind === 'file' && there.mode !== fileMode(name)),
    pruned: [],
    leftovers: [],
  }
}

interface Other {
  readonly name: string
  readonly label: string | undefined
  readonly why: readonly string[]
}

/** Components that run with another CA or key would break with ours. */
function otherIdentities(workspace: Workspace, node: ClusterNode, { files, contents }: Inspection): Other[] {
  const { auth } = workspace
  // With --prune, what does not belong there would be removed.
  const names = workspace.options.prune
    ? [...identityFiles.keys()]
    : nodeFiles(node).filter((name) => identityFiles.has(name))
  return names.flatMap((name) => {
    const there = files.get(name)
    if (!there || there.digest === digestOf(workspace, name)) return []
    const theirs = contents.get(name)
    // Unreadable, or behind a symbolic link: it counts as another.
    const other = theirs
      ? otherIdentity(
          name,
          (file) => auth.tryBytes(file),
          theirs,
          (file) => backups(auth, file),
        )
      : { besides: [] }
    const why = theirs ? [] : [whyNotCompared(there)]
    return other ? [{ name, label: identityFiles.get(name), why: [...why, ...other.besides] }] : []
  })
}

/** "CA (ca.pem, ca-key.pem), encryption key (encryption-config.yaml)" */
function formatOthers(others: readonly Other[]): string {
  const named = [...Map.groupBy(others, ({ label }) => label)]
  return named.map(([label, some]) => `${label} (${some.map(formatOther).join(', ')})`).join(', ')
}

function otherIdentityRefused(workspace: Workspace, node: ClusterNode, others: readonly Other[]): Failure {
  const { auth } = workspace
  const labels = [...new Set(others.map(({ label }) => label))]
  return sharedRefusal(`${node.name} holds another ${formatOthers(others)} than ${auth.path}`, {
    what: `another ${labels.join(', ')} than ${auth.path}`,
    who: node.name,
    place: { node, labels },
    waysOut: (places) => waysOutOfOther(workspace, places),
  })
}

/** One node to fetch the identity from is enough for all: a control node has all of it, and no other has a key. */
function waysOutOfOther(
  workspace: Workspace,
  places: readonly { node: ClusterNode; labels: readonly unknown[] }[],
): string[] {
  const labels = new Set(places.flatMap((place) => place.labels))
  const from = places.find(({ node }) => node.role === 'control')?.node
  const names = [...identityFiles].flatMap(([name, label]) => (labels.has(label) ? [name] : []))
  const isLost = (label: unknown) =>
    names.every((name) => identityFiles.get(name) !== label || !workspace.auth.read(name))
  if ([...labels].some(isLost)) return waysOutOfLost(workspace, from)
  const over = workspace.command(`deploy ${nodeOptions(places.map(({ node }) => node))} --replace-identity`)
  return [
    from
      ? `if the node's is the right one, move ours away and fetch it: ${fetchCommand(workspace, names, from)}`
      : "if the node's is the right one, this auth/ is of another cluster: use the one that it was deployed from",
    `if ours is, overwrite the node's, and lose what only the node holds: ${over}`,
  ]
}

function nodeOptions(nodes: readonly ClusterNode[]): string {
  return nodes.map(({ name }) => `--node ${name}`).join(' ')
}

/** Of a file whose content was asked for, and not sent. */
export function whyNotCompared({ kind, size, digest }: NodeFile): string {
  if (kind !== 'file') return 'not a plain file'
  return size > largestFile || digest ? 'too large to be compared' : 'not readable'
}

function formatOther({ name, why }: Other): string {
  return why.length > 0 ? `${name}: ${formatNames(why)}` : name
}

/** An out-of-date copy of auth/ would undo a renewal made elsewhere. */
function refuseNewer(workspace: Workspace, node: ClusterNode, { contents }: Inspection): void {
  const cas = ownCas(workspace.auth)
  const newer = nodeFiles(node).filter((name) => {
    const [[theirs, ...links] = [], [ours] = []] = [contents.get(name), workspace.auth.tryBytes(name)].map((bytes) =>
      certificatesIn(name, bytes),
    )
    // In the middle of a rotation that was begun elsewhere, our CA's signature is on the CA that has signed.
    const issuers = [...cas, ...links.filter((link) => link.isCa && cas.some((ca) => isIssuedBy(link, ca)))]
    return theirs && ours && theirs.notBefore > ours.notBefore && issuers.some((by) => isIssuedBy(theirs, by))
  })
  if (newer.length === 0) return
  throw new Failure(
    `${node.name}: ${formatNames(newer)} there ${newer.length === 1 ? 'is' : 'are'} newer than in ${workspace.auth.path}`,
    {
      code: 'newer-on-node',
      shared: {
        what: `newer certificates than in ${workspace.auth.path}`,
        who: node.name,
        place: node,
        remedyFor: (nodes: readonly ClusterNode[]) =>
          [
            'this auth/ is out of date: use the one that they were deployed from',
            `or overwrite them with the older ones: ${workspace.command(`deploy ${nodeOptions(nodes)} --force`)}`,
          ].join('\n'),
      },
    },
  )
}

function certificatesIn(name: string, bytes: Buffer | undefined): Certificate[] {
  const pem = parseFileName(name)?.kind === 'kubeconfig' ? readClientCertificate(String(bytes ?? '')) : bytes
  return pem ? readCertificates(pem) : []
}

/** Files of ours that do not belong on this node; a folder under such a name is not ours. */
function foreignFiles(node: ClusterNode, { files }: Inspection, { known, together }: Names): string[] {
  const belongs = new Set([node, ...together].flatMap(nodeFiles))
  return [...files].flatMap(([name, { kind }]) =>
    known.has(name) && !belongs.has(name) && kind !== 'folder' ? [name] : [],
  )
}

/** Other nodes whose own pair is there as well: this machine may be theirs too, under another name. */
function neighboursIn({ cluster }: Workspace, { files }: Inspection, { together }: Names): string[] {
  const others = new Set(cluster.nodes.filter((other) => !together.includes(other)).map(({ name }) => name))
  return [...files.keys()].flatMap((file) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    return kind === 'certificate' && others.has(name) && files.has(keyFile(name)) ? [name] : []
  })
}

function formatForeign(node: ClusterNode, foreign: readonly string[], neighbours: readonly string[]): string {
  const holds = `${node.name} holds ${formatNames(foreign)}, which ${foreign.length === 1 ? 'does' : 'do'} not belong there`
  return neighbours.length === 0
    ? `${holds}: --prune removes it`
    : `${holds}: it may be the same machine as ${formatNames(neighbours)}, so --prune leaves all of it; where it is not, remove it there`
}

const thisRun = randomBytes(4).toString('hex')

/** Of this auth/ only one run can be at work on nodes: the one that holds its lock. */
export function stagingOwner({ auth }: Workspace): StagingOwner {
  return { auth: sha256(Buffer.from(auth.id())).slice(0, 12), run: thisRun }
}

/** For --force: every file, right or not. */
export function everything(node: ClusterNode, wrong: NodeReason | undefined): NodeReason {
  const none = { missing: [], wrongMode: [], wrongOwner: [], pruned: [], leftovers: [] }
  return { kind: 'on-node', ...none, ...wrong, differ: nodeFiles(node) }
}
