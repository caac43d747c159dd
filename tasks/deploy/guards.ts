/**
 * Guards before anything is copied to a node: the machine is the node, its clock is right, and neither its folder nor the
 * places where its units read have files of another cluster or a stranger (--replace-identity overwrites them), or
 * certificates of ours that are newer than in auth/ (--force does).
 */
import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { caName, caNames, keepFound } from '../../lib/files/auth-dir.ts'
import { formatNames } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/fetch-command.ts'
import { hasAddress, type NodeLook } from '../inspect/look.ts'
import { identityFiles } from '../layouts/tables.ts'
import type { Run } from '../target.ts'
import { type FileOnNode, filesOn, type Owner, ownerOf, whyNotCompared } from './owner.ts'

export interface Other {
  readonly there: FileOnNode
  readonly label: string
  readonly why: string | undefined
}

/**
 * Before anything is replaced on the node: what it has in its folder and its places. Returns what is to be kept before it
 * is overwritten. Throws a refusal or a Failure.
 */
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

const privateKey = 'private key'

function describe({ auth, cluster }: Run, there: FileOnNode, owner: Owner): Other {
  const { file, state, bytes } = there
  const kind = auth.files.parse(file)?.kind
  const unread = !bytes && state.sha256 === undefined ? whyNotCompared(state) : undefined
  const labels = identityFiles(cluster)
  if (kind === 'kubeconfig' && owner === 'otherCluster') {
    const label = labels.get(auth.files.certificate(caName)) ?? kind
    return { there, label, why: unread ?? 'it trusts another CA' }
  }
  return { there, label: labels.get(file) ?? (kind === 'key' ? privateKey : (kind ?? 'file')), why: unread }
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
  keepFound(auth, node.name, new Map(files), now)
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
  const isStrangers = ({ label }: Other) => ['certificate', privateKey, 'kubeconfig'].includes(label)
  const isLost = (other: Other) =>
    !isStrangers(other) &&
    [...identityFiles(cluster)].every(([name, label]) => label !== other.label || !auth.read(name))
  const source = node.role === 'control' ? node : undefined
  const command = run.command(`${cluster.install ? 'install' : 'deploy'} --node ${node.name} --replace-identity`)
  const overwrite = `if auth/ is right, overwrite the node (auth/backup keeps its files):\n    ${command}`
  const right = [
    'to tell which is right, see docs/bad-day.md, "A node of another cluster"',
    source
      ? `if ${node.name} is right, recover the cluster:\n    ${recoverCommand(run, source)}`
      : 'if the node is right, this auth/ belongs to another cluster; use the auth/ that the node was deployed from',
    overwrite,
  ]
  const ways = others.every(isStrangers) ? [`move them aside on ${node.name}, then ${runAgain}`, overwrite] : right
  return refusal(
    `another ${formatOthers(others)} than in ${auth.path}`,
    others.some(isLost) ? waysOutOfLost(run, source) : ways,
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
      `${auth.path} is older than the nodes; use the auth/ that they were deployed from`,
      `if that auth/ is lost, issue newer certificates:${waysOutOfOlder(run, newer)}`,
      `or overwrite them with the older ones${restarts}:\n    ${command(`${phases} --node ${node.name} --force`)}`,
      `if a clock is wrong (compare date -u on both machines), set it, then ${runAgain}`,
    ].join('\n'),
  })
}

/**
 * Throws a refusal if the machine has the address of another node, and not its own. A host name is no proof: it may be
 * of the image, or of the provider.
 */
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
