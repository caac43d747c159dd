/**
 * Guards before anything is copied to a node: the machine is the node, its clock is right, and neither its folder nor the
 * places where its units read have files of another cluster or a stranger (--replace-identity overwrites them), or
 * certificates of ours that are newer than in auth/ (--force does). And before a new identity is made, no control node
 * has one.
 */

import type { KeyObject } from 'node:crypto'
import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import {
  type AuthDir,
  backups,
  caName,
  caNames,
  frontProxyCaName,
  hasDigest,
  keepOverwritten,
} from '../../lib/files/auth-dir.ts'
import { secretMode, sha256 } from '../../lib/files/plain-file.ts'
import { isForeignAuthorization } from '../../lib/kubernetes/authorization.ts'
import { isOtherIdentity, isPreviousCa } from '../../lib/kubernetes/identity.ts'
import { type Part, readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { type FileState, type FilesSeen, folderOf, largestFile } from '../../lib/node/place.ts'
import { realPath } from '../../lib/node/state.ts'
import { type Certificate, isIssuedBy, readCertificates } from '../../lib/pki/certificate.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/states.ts'
import { digestAt, hasAddress, lookAtNode, type NodeLook, readServedCertificates, withPlaces } from '../inspect/look.ts'
import { apiServer } from '../layouts/layout.ts'
import { controlsOf, identityFiles, layoutOf, nodeFiles } from '../layouts/tables.ts'
import type { ClusterGraph, Run } from '../target.ts'

export interface Other {
  readonly there: FileOnNode
  readonly label: string
  readonly why: string | undefined
}

/** Before anything is replaced there. Returns what is to be kept first. Throws a refusal or a Failure. */
export function guard(run: Run, node: ClusterNode, seen: NodeLook, isForced: boolean): Other[] {
  const all = filesOn(run, node, seen)
  const owned = all.map((there) => ({ there, owner: ownerOf(run, there, all) }))
  const others = owned.flatMap(({ there, owner }) =>
    owner === 'otherCluster' || owner === 'stranger' ? [describe(run, there, owner)] : [],
  )
  const folder = others.find(({ there }) => there.state.kind === 'folder')?.there.at
  if (folder !== undefined)
    throw new Failure(`${folder} is a directory, which no file can replace`, {
      node: node.name,
      code: 'not-a-file',
      remedy: `move it aside on ${node.name}, then ${runAgain}`,
    })
  if (others.length > 0 && !run.options.replaceIdentity) throw otherIdentityRefused(run, node, others)
  const newer = owned.flatMap(({ there, owner }) => (owner === 'newer' ? [there] : []))
  if (newer.length > 0 && !isForced) throw newerThere(run, node, newer)
  return others
}

function describe({ auth, cluster }: Run, there: FileOnNode, owner: Owner): Other {
  const { file, state, bytes } = there
  const kind = auth.files.parse(file)?.kind
  const unread = !bytes && state.sha256 === undefined ? whyNotCompared(state) : undefined
  const labels = identityFiles(cluster)
  if (kind === 'kubeconfig' && owner === 'otherCluster') {
    const label = labels.get(auth.files.certificate(caName)) ?? kind
    return { there, label, why: unread ?? 'it trusts another CA' }
  }
  return { there, label: labels.get(file) ?? (kind === 'key' ? 'private key' : (kind ?? 'file')), why: unread }
}

/** Copies what is about to be overwritten to auth/backup. Throws a Failure if a file could not be read. */
export function keepOthers({ auth, now }: Run, node: ClusterNode, others: readonly Other[]): void {
  const unread = others.filter(({ there: { bytes, state } }) => !bytes && state.kind === 'file' && state.size > 0)
  if (unread.length > 0)
    throw new Failure(`couldn't back up ${formatNames(unread.map(({ there }) => there.at))} to auth/backup`, {
      node: node.name,
      code: 'not-kept',
      remedy: `move it aside on ${node.name}, then ${runAgain}`,
    })
  const files = others.flatMap(({ there: { at, bytes } }): [string, Buffer][] => (bytes ? [[at, bytes]] : []))
  keepOverwritten(auth, node.name, new Map(files), now)
}

/** "CA in ca.pem, ca-key.pem (not readable) and encryption key in /var/lib/kubernetes/encryption-config.yaml" */
export function formatOthers(others: readonly Other[]): string {
  const named = [...Map.groupBy(others, ({ label }) => label)]
  return named.map(([label, some]) => `${label} in ${some.map(formatOther).join(', ')}`).join(' and ')
}

function formatOther({ there: { at }, why }: Other): string {
  return why === undefined ? at : `${at} (${why})`
}

/** A control node has all of the identity, and no other node has a key. */
function otherIdentityRefused(run: Run, node: ClusterNode, others: readonly Other[]): Failure {
  const { auth, cluster } = run
  const isLost = others.some(({ label }) => {
    const own = [...identityFiles(cluster)].filter(([, each]) => each === label)
    return own.length > 0 && own.every(([name]) => !auth.read(name))
  })
  const source = node.role === 'control' ? node : undefined
  const command = run.command(`${cluster.install ? 'install' : 'deploy'} --node ${node.name} --replace-identity`)
  const ways = [
    source
      ? `if ${node.name} is right, recover the cluster:\n    ${recoverCommand(run, source)}`
      : 'if the node is right, use the auth/ that it was deployed from; or move these files aside',
    `if auth/ is right (docs/bad-day.md, "A node of another cluster"), overwrite the node (auth/backup keeps its files):\n    ${command}`,
  ]
  return refusal(
    `another ${formatOthers(others)} than in ${auth.path}`,
    isLost ? waysOutOfLost(run, source) : ways,
  ).with({ node: node.name })
}

/** What makes all certificates of auth/ newer than those on nodes, and deploys them. A CA is renewed by name. */
export function waysOutOfOlder(
  { auth, command }: Pick<Run, 'auth' | 'command'>,
  newer: readonly FileOnNode[] = [],
): string {
  const isCaNewer = newer.some(({ file }) => caNames.some((name) => file === auth.files.certificate(name)))
  return [...(isCaNewer ? ['ca --renew'] : []), 'certs --force', 'bootstrap']
    .map((task) => `\n    ${command(task)}`)
    .join('')
}

/** An out-of-date copy of auth/ would undo a renewal made elsewhere. */
function newerThere(run: Run, node: ClusterNode, newer: readonly FileOnNode[]): Failure {
  const { auth, cluster, command } = run
  const verb = newer.length === 1 ? 'is' : 'are'
  const phases = cluster.install ? 'deploy install' : 'deploy'
  const restarts = cluster.install ? ', which restarts the units that read them at start' : ''
  return new Failure(`${formatNames(newer.map(({ at }) => at))} ${verb} newer than in ${auth.path}`, {
    node: node.name,
    code: 'newer-on-node',
    remedy: [
      `use the auth/ that the nodes were deployed from; if that auth/ is lost, issue newer certificates:${waysOutOfOlder(run, newer)}`,
      `or overwrite them with the older ones${restarts}:\n    ${command(`${phases} --node ${node.name} --force`)}`,
      `if a clock is wrong (compare date -u on both machines), set it, then ${runAgain}`,
    ].join('\n'),
  })
}

/** Throws a refusal if the machine has only another node's address. A host name is no proof: images have one. */
export function refuseOtherMachine({ cluster }: Run, node: ClusterNode, look: NodeLook): void {
  if (node.ips.some((address) => hasAddress(look, address))) return
  // Any control node may have the virtual address.
  const isProof = (address: string) => specialUse(address) !== 'loopback' && address !== cluster.api.virtualIP
  const isThere = (address: string) => isProof(address) && look.addresses.has(address)
  const reached = cluster.nodes.find(({ ips }) => ips.some(isThere))
  if (!reached) return
  const found = `ssh ${node.host} reaches ${reached.name} (${formatNames(reached.ips.filter(isThere))}), not ${node.name} (${formatNames(node.ips)})`
  throw refusal(found, [
    `correct host (or ip) of ${node.name} and ${reached.name} in cluster.yaml`,
    `or correct ${node.host} in your ssh configuration or DNS`,
  ]).with({ node: node.name, code: 'other-node' })
}

/** Seconds; certificates are dated back by five minutes. */
const mostApart = 240

/** Throws a Failure if the node's clock is not this machine's. `theirs`: in seconds since 1970, in a look begun at `asked`. */
export function refuseWrongClock(run: Run, { name }: ClusterNode, theirs: number, asked: Date): void {
  const now = run.clock()
  // The answer was on its way for some time.
  const [earliest, latest] = [asked.getTime() / 1000 - 1, now.getTime() / 1000]
  const ahead = theirs > latest ? theirs - latest : Math.min(theirs - earliest, 0)
  if (Math.abs(ahead) <= mostApart) return
  const timeOf = (seconds: number) => new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
  throw new Failure(`clocks differ (${timeOf(latest)} here, ${timeOf(latest + ahead)} on ${name})`, {
    node: name,
    code: 'clock',
    remedy: `set the wrong clock (timedatectl; date -u shows the time), then ${runAgain}`,
  })
}

/**
 * Runs before the first build of a run that deploys. At the deploy it would be too late: the new CA would already be in
 * auth/, on other nodes and in the user's kubeconfig, and only the deploy would show that a new encryption key decrypts
 * no Secret. So each control node must answer. Of any other node its own deploy refuses another identity. `tell`:
 * progress. Returns the target that would make the identity, with the refusal.
 */
export async function findOtherCluster(
  run: Run,
  graph: ClusterGraph,
  tell: Run['note'],
): Promise<[string, Failure] | undefined> {
  const missing = missingIdentity(run, graph)
  if (!missing || run.options.replaceIdentity) return undefined
  const { maker, label, files } = missing
  const controls = controlsOf(run.cluster)
  // This may take as long as the timeout of a node that is down.
  tell(`looking for an existing ${label} on ${formatNames(controls.map(({ name }) => name))}`)
  const looks = await run.limits.node.map(controls, async (node) => ({
    node,
    trace: await findTrace(run, node, files),
  }))
  const found = looks.flatMap(({ node, trace }) => (typeof trace === 'string' ? [{ node, trace }] : []))
  if (found[0]) {
    const all = groupAlike(found, ({ trace }) => trace).map(
      (group) => `${group[0].trace} on ${formatNames(group.map(({ node }) => node.name))}`,
    )
    const what = `${all.join('; ')}, but ${run.auth.path} has no ${label}; nothing was created`
    return [maker, refusal(what, waysOutOfLost(run, found[0].node))]
  }
  const [unseen] = looks.flatMap(({ node, trace }) => (trace instanceof Failure ? [{ node, why: trace }] : []))
  return unseen && [maker, unseenRefusal(run, unseen.node, label, unseen.why)]
}

function missingIdentity({ auth, cluster }: Run, graph: ClusterGraph) {
  // A cluster that runs gets its front proxy later: the deploy refuses to replace one.
  const ofFrontProxy: string[] = auth.files.pair(frontProxyCaName)
  const identity = [...identityFiles(cluster)].filter(([file]) => !ofFrontProxy.includes(file))
  const parts = [...Map.groupBy(identity, ([, label]) => label)].flatMap(([label, named]) => {
    const files = named.map(([file]) => file)
    const maker = [...graph.values()].find(({ makes }) => files.some((file) => makes.includes(file)))
    return maker && files.every((file) => !auth.read(file)) ? [{ label, files, maker: maker.id }] : []
  })
  return parts[0] && { ...parts[0], files: parts.flatMap(({ files }) => files) }
}

/** What shows that the node is one of a cluster: these files, not empty, or something on the API's port. */
async function findTrace(run: Run, node: ClusterNode, names: readonly string[]): Promise<string | Failure | undefined> {
  const seen = withPlaces(run)
  try {
    const look = await lookAtNode(seen, node)
    const identity = filesOn(seen, node, look).filter(({ file, state }) => state.size > 0 && names.includes(file))
    if (identity.length > 0) return formatNames(identity.map(({ at }) => at))
    const api = layoutOf(run.cluster).units.find(({ unit }) => unit === apiServer)
    const served = await readServedCertificates(run, { node, look, ports: api?.serves ?? [] })
    if (served.length > 0) return `port ${served.map(({ port }) => port).join(', ')} serves a certificate`
    return look.places instanceof Failure ? look.places : undefined
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}

function unseenRefusal(run: Run, node: ClusterNode, label: string, why: Failure): Failure {
  return refusal(
    `nothing was created: ${node.name} may hold the ${label} of this cluster, but couldn't be inspected; ${why.what}`,
    [
      ...(why.remedy ?? `fix that, then ${runAgain}`).replace(/^- /, '').split('\n- '),
      `if a cluster exists, recover it:\n    ${recoverCommand(run, node)}`,
      `if the cluster is new, create its files without the nodes:\n    ${run.command('certs encryption-key')}\nthen ${runAgain}`,
    ],
  )
}

export interface FileOnNode {
  readonly file: string
  readonly at: string
  readonly state: FileState
  /** Undefined if it is the same as in auth/, or could not be read. */
  readonly bytes: Buffer | undefined
  readonly isPlace: boolean
  readonly part?: Part | undefined
}

/** In the folder, and where units read. The check of `install` reports places that could not be looked at. */
export function filesOn(run: Run, node: ClusterNode, seen: NodeLook): FileOnNode[] {
  const { cluster, options } = run
  const { places, units } = seen
  // --prune would remove identity files that do not belong there.
  const names = [...nodeFiles(cluster, node), ...(options.prune ? identityFiles(cluster).keys() : [])]
  const inFolder = names.flatMap((name) => fileOn(seen, name, name))
  if (!places || places instanceof Failure) return inFolder
  const atPlaces = new Map(units.flatMap(({ files }) => files.map((place) => [realPath(places, place.path), place])))
  return [...inFolder, ...[...atPlaces].flatMap(([at, { file, part }]) => fileOn(places, at, file, part))]
}

export function fileOn({ files, contents }: FilesSeen, at: string, file: string, part?: Part): FileOnNode[] {
  const state = files.get(at)
  return state ? [{ file, at, state, bytes: contents.get(at), isPlace: at.startsWith('/'), part }] : []
}

export function whyNotCompared({ kind, size, sha256 }: FileState): string {
  if (kind !== 'file') return 'not a regular file'
  return size > largestFile || sha256 ? 'too large to compare' : 'not readable'
}

/** `earlier`: ours, of another time or stage. */
export type Owner = 'same' | 'earlier' | 'newer' | 'otherCluster' | 'stranger'

/**
 * Whose a file on a node is. Deploy, install, prune and the views ask this table, and nothing else:
 *
 *   what is there           is ours if
 *   ----------------------  ----------------------------------------------------------------------------------------
 *   a leaf                  a CA of auth/ or its backup issued it, directly or through a CA in its file; or the backup
 *                           has it. Newer, if it begins later than that of auth/
 *   its key                 auth/ or its backup has it, or such a leaf is beside it
 *   a CA, the tokens' pair  each key in it is of auth/, or of a CA that is cross-signed with it: identity.ts
 *   the encryption config   as a list of keys: identity.ts
 *   a kubeconfig            it trusts such a CA, or one of the backup; where units read, it may name that by a file
 *   the list of revoked     it has our form
 *
 * A secret that can't be made again is compared by its digest alone: what equals a file of auth/backup is judged by that
 * copy, and anything else is of another cluster. So no such key leaves a node.
 */
export function ownerOf(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { file, state } = there
  if (state.sha256 !== undefined && state.sha256 === digestAt(run, there)) return 'same'
  const isIdentity = identityFiles(run.cluster).has(file)
  if (state.size === 0 || (state.kind === 'link' && !isIdentity)) return 'earlier'
  const owner = isIdentity ? ownerOfIdentity(run, there) : ownerByKind(run, there, all)
  return owner === 'earlier' && isNewer(run, there) ? 'newer' : owner
}

function ownerOfIdentity({ auth }: Run, { file, state, bytes }: FileOnNode): Owner {
  const isSecret = auth.files.mode(file) === secretMode
  const content = isSecret ? backups(auth, file).find((copy) => sha256(copy) === state.sha256) : bytes
  const isOurs = content && !isOtherIdentity(file, auth, content, (name) => backups(auth, name))
  return isOurs ? 'earlier' : 'otherCluster'
}

function ownerByKind(run: Run, there: FileOnNode, all: readonly FileOnNode[]): Owner {
  const { auth } = run
  const { file, state, bytes, part, isPlace } = there
  const { kind, name = '' } = auth.files.parse(file) ?? {}
  const ours = (isOurs: boolean): Owner => (isOurs || hasDigest(auth, file, state.sha256) ? 'earlier' : 'stranger')
  // The login can't read it.
  if (!bytes && state.sha256 === undefined && state.size <= largestFile && kind !== 'key') return 'stranger'
  if (kind === 'authorization') return ours(!bytes || !isForeignAuthorization(bytes.toString()))
  if (kind === 'kubeconfig') {
    if (!bytes) return state.size > largestFile ? 'otherCluster' : 'earlier'
    const trusted = readCertificates(part === 'ca' ? bytes : (readEmbedded(bytes.toString()).ca ?? ''))
    // Where units read, it may name its CA by a file.
    if (trusted.length === 0) return isPlace ? 'earlier' : 'stranger'
    return isTrustOurs(auth, trusted) ? 'earlier' : 'otherCluster'
  }
  if (kind === 'certificate') return ours(isIssuedByUs(auth, certificatesIn(auth, there)))
  const certificate = auth.files.certificate(name)
  const leaves = all.filter((each) => each.file === certificate && each.isPlace === isPlace)
  const beside = leaves.filter((each) => folderOf(each.at) === folderOf(there.at))
  return ours((beside.length > 0 ? beside : leaves).some((leaf) => ownerOf(run, leaf, all) !== 'stranger'))
}

/** By a CA of auth/ or its backup, directly or through a CA in the same file that one of these has signed. */
function isIssuedByUs(auth: AuthDir, [certificate, ...links]: readonly Certificate[]): boolean {
  if (!certificate) return false
  const isIssuer = (ca: Certificate) =>
    isIssuedBy(certificate, ca) || links.some((link) => isIssuedBy(link, ca) && isIssuedBy(certificate, link))
  const replaced = () =>
    caNames.flatMap((name) => backups(auth, auth.files.certificate(name)).flatMap(readCertificates))
  return ownCas(auth).some(isIssuer) || replaced().some(isIssuer)
}

/** True for one of our CAs, or one that preceded ours; and where auth/ has none. */
function isTrustOurs(auth: AuthDir, trusted: readonly Certificate[]): boolean {
  const ours = [...ownCas(auth), ...backups(auth, auth.files.certificate(caName)).flatMap(readCertificates)]
  const isKnown = (key: KeyObject) => ours.some(({ publicKey }) => publicKey.equals(key)) || isPreviousCa(key, auth)
  return ours.length === 0 || trusted.some(({ publicKey }) => isKnown(publicKey))
}

/** Signed later by our CA, or by one that ours has signed. What is not valid yet was issued with a wrong clock. */
function isNewer({ auth, now }: Run, there: FileOnNode): boolean {
  const { file, part } = there
  const [theirs, ...links] = part === 'ca' ? [] : certificatesIn(auth, there)
  const [ours] = certificatesIn(auth, { file, bytes: auth.tryBytes(file) })
  if (!theirs || !ours || theirs.notBefore <= ours.notBefore || theirs.notBefore > now) return false
  const cas = ownCas(auth)
  const issuers = [...cas, ...links.filter((link) => link.isCa && cas.some((ca) => isIssuedBy(link, ca)))]
  return issuers.some((ca) => isIssuedBy(theirs, ca))
}

/** Of a kubeconfig, or the pair of one, the client's. */
function certificatesIn({ files }: AuthDir, { file, bytes }: Pick<FileOnNode, 'file' | 'bytes'>): Certificate[] {
  if (!bytes) return []
  const isKubeconfig = files.parse(file)?.kind === 'kubeconfig'
  return readCertificates((isKubeconfig && readEmbedded(bytes.toString()).certificate) || bytes)
}
