/**
 * Guards before anything is copied to a node: the machine is the node, its clock is right, and it has no files of another
 * cluster or a stranger (--replace-identity overwrites them), and no certificates of ours that are newer than in auth/
 * (--force does). Before a new identity is made, no control node may have one.
 */

import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { caName, caNames, frontProxyCaName, keepOverwritten } from '../../lib/files/auth-dir.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/states.ts'
import type { ClusterGraph, Run } from '../cluster-target.ts'
import { hasAddress, lookAtNode, type NodeLook, readServedCertificates, withPlaces } from '../inspect/look.ts'
import { apiServer } from '../layouts/layout.ts'
import { controlsOf, identityFiles, layoutOf } from '../layouts/tables.ts'
import { type FileOnNode, filesOn, type Owner, ownerOf, whyNotCompared } from './owner.ts'

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
 * Runs before the first build of a run that deploys: at the deploy the new CA would already be in auth/, on other nodes
 * and in the user's kubeconfig. So each control node must answer. Of any other node its own deploy refuses another
 * identity. Returns the target that would make the identity, with the refusal.
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
  const unseen = looks.flatMap(({ node, trace }) => (trace instanceof Failure ? [{ node, why: trace }] : []))
  return unseen[0] && [maker, unseenRefusal(run, label, unseen)]
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

function unseenRefusal(run: Run, label: string, unseen: readonly { node: ClusterNode; why: Failure }[]): Failure {
  const found = unseen.map(({ node, why }) => `${node.name}: ${why.what}`).join(', ')
  const remedies = new Set(unseen.map(({ why }) => why.remedy ?? `fix that, then ${runAgain}`))
  return refusal(
    `nothing was created: nodes that may hold the ${label} of this cluster couldn't be inspected (${found})`,
    [
      ...[...remedies].flatMap((remedy) => remedy.replace(/^- /, '').split('\n- ')),
      `if a cluster exists, recover it:\n    ${recoverCommand(run, unseen[0]?.node)}`,
      `if the cluster is new, create its files without the nodes:\n    ${run.command('certs encryption-key')}\nthen ${runAgain}`,
    ],
  )
}
