/** The files of auth/ that a node, or a folder, holds. Reads only. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { AuthDir } from '../../lib/files/auth-dir.ts'
import type { FileNames } from '../../lib/files/names.ts'
import { caName } from '../../lib/files/names.ts'
import type { Run } from '../../lib/graph/run.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { joinParts } from '../../lib/kubernetes/kubeconfig.ts'
import { realPath } from '../../lib/remote/answer.ts'
import { formatNames, quote } from '../../lib/wording.ts'
import { whyNotCompared } from '../nodes/guards.ts'
import { placesOf, readNode } from '../nodes/look.ts'
import { identityFiles, nodeFiles } from '../tables/files.ts'
import { nodeUnits } from '../tables/places.ts'

interface Holding {
  /** A node's name, or the folder. */
  readonly where: string
  readonly files: ReadonlyMap<string, Buffer>
  /** Files that were not read, each with the reason. */
  readonly unread: ReadonlyMap<string, string>
  /** Files that were read where units read them. */
  readonly placed: ReadonlySet<string>
}

/** Bytes; ours have some ten thousand. It bounds the time that the YAML parser spends on a node's kubeconfig. */
const largest = 32 * 1024

export interface Sources {
  /** The holding with all files that belong to no single node; without nodes, the only one. */
  readonly main: Holding
  readonly nodes?: ReadonlyMap<string, Holding>
  /** The node that `main` is from. */
  readonly node?: ClusterNode
}

/**
 * Reads every node that has a certificate. The connection to `node` stays open: its components are queried next. Throws a Failure
 * if that one can't be read; any other is left out with a note.
 */
export async function readNodes(
  run: Run,
  node: ClusterNode,
  limit: LimitFunction,
  signal: AbortSignal,
): Promise<Sources> {
  const nodes = run.cluster.nodes.filter(({ role }) => role !== 'gateway')
  const read = (each: ClusterNode) =>
    readHolding(run, each).finally(() => (each === node ? undefined : run.disconnect(each)))
  const results = await Promise.allSettled(nodes.map((each) => limit(() => read(each))))
  signal.throwIfAborted()
  const holdings = new Map<string, Holding>()
  for (const [i, result] of results.entries())
    if (result.status === 'fulfilled') holdings.set(result.value.where, result.value)
    else if (nodes[i] === node || !(result.reason instanceof Failure)) throw result.reason
    else run.note(result.reason.message)
  return { main: holdings.get(node.name) as Holding, nodes: holdings, node }
}

/** The files that its units read, which the cluster runs with; otherwise the deployed ones. */
async function readHolding(run: Run, node: ClusterNode): Promise<Holding> {
  const units = nodeUnits(run.cluster, node)
  const look = await readNode(run, node)
  // What was deployed may be older than what its units read.
  const places = placesOf(look)
  const placed = units.flatMap(({ files }) => files)
  const pathsOf = (isPair: boolean) =>
    new Map(placed.filter(({ part }) => (part === 'pair') === isPair).map(({ file, path }) => [file, path]))
  const [pathOf, pairPathOf] = [pathsOf(false), pathsOf(true)]
  const files = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  const inPlace = new Set<string>()
  for (const name of nodeFiles(run.cluster, node)) {
    const at = realPath(places, pathOf.get(name) ?? '')
    const place = places.files.get(at)
    const pair = places.contents.get(realPath(places, pairPathOf.get(name) ?? ''))
    const deployed = look.folder.contents.get(name)
    const bytes = place ? whole(places.contents.get(at), pair) : deployed
    if (place) inPlace.add(name)
    const there = place ?? look.folder.files.get(name)
    if (bytes && bytes.length <= largest) files.set(name, bytes)
    else if (there) unread.set(name, whyNotCompared(there))
  }
  return { where: node.name, files, unread, placed: inPlace }
}

/** A kubeconfig with its pair, which units read from a file of its own. */
function whole(text: Buffer | undefined, pair: Buffer | undefined): Buffer | undefined {
  const joined = text && pair && joinParts(text.toString(), pair)
  return joined === undefined ? text : Buffer.from(joined)
}

export function readFolder(path: string, files: FileNames, names: readonly string[]): Holding {
  const folder = new AuthDir(path, files)
  const bytes = new Map<string, Buffer>()
  const unread = new Map<string, string>()
  for (const name of names) {
    const file = folder.read(name)
    if (file?.kind === 'file') bytes.set(name, file.bytes)
    else if (file) unread.set(name, 'not a plain file')
  }
  return { where: path, files: bytes, unread, placed: new Set() }
}

const again = `then ${runAgain}`

export function refuseNothing(run: Run, main: Holding): void {
  if (main.files.size + main.unread.size > 0) return
  throw new Failure(`${main.where} holds no file of this cluster's auth/`, {
    remedy: [
      ...(run.cluster.install ? [] : [`if the cluster runs: set install: true in cluster.yaml, ${again}`]),
      ...elsewhere(run, main),
    ].join('\n'),
  })
}

/** Throws a refusal if something is wrong: a clause for each. */
export function refuseWrong(
  run: Run,
  main: Holding,
  wrong: readonly string[],
  ways = [
    `if cluster.yaml is wrong: change cluster.yaml to what is there, ${again}`,
    ...elsewhere(run, main),
    `or correct what is wrong there, or move it away, ${again}: files other than those of the CA, the service accounts and the encryption key are made again`,
  ],
): void {
  if (wrong.length > 0) throw refusal(`nothing was taken from ${main.where}: ${wrong.join('; ')}`, ways)
}

/** Nodes with different identities can't belong to one cluster; only the user knows which is right. */
export function refuseDisagreement(found: Run, main: Holding, others: readonly Holding[]): void {
  const identity = identityFiles(found.cluster)
  const labelsOf = ({ files, unread }: Holding) => {
    const differ = [...files].filter(([name, bytes]) => identity.has(name) && otherIdentity(name, found.auth, bytes))
    const names = [...differ.map(([name]) => name), ...unread.keys()]
    return [...new Set(names.flatMap((name) => identity.get(name) ?? []))]
  }
  const disagreeing = others.filter((other) => labelsOf(other).length > 0)
  const wrong = disagreeing.map((other) => `${other.where} holds another ${labelsOf(other).join(', ')}`)
  refuseWrong(found, main, wrong, [
    ...disagreeing.map(({ where }) => `if that of ${where} is right: ${found.command(`recover --node ${where}`)}`),
    `if that of ${main.where} is right: take ${disagreeing.map(({ where }) => where).join(', ')} out of cluster.yaml until this command has run`,
  ])
}

/** After a run that was killed, the same command finds its own files there. */
export function refusePresent(run: Run, main: Holding, files: ReadonlyMap<string, Buffer>): void {
  const { auth } = run
  const others = [...files].filter(([name, bytes]) => auth.read(name) && !auth.tryBytes(name)?.equals(bytes))
  const path = quote(auth.path)
  const names = formatNames(others.map(([name]) => name))
  const wrong = others.length > 0 ? [`${auth.path} holds another ${names}, and nothing there is overwritten`] : []
  refuseWrong(run, main, wrong, [`if it is not needed, move it away: mv ${path} ${path}.old; ${again}`])
}

/** Before anything is compared with it: the files of two clusters never fit together. */
export function refuseOtherIdentity(run: Run, main: Holding): void {
  const { auth } = run
  const others = [...main.files].filter(
    ([name, bytes]) => identityFiles(run.cluster).has(name) && auth.read(name) && otherIdentity(name, auth, bytes),
  )
  refusePresent(run, main, new Map(others))
}

function elsewhere({ auth, cluster, command }: Run, { where }: Holding): string[] {
  const others = cluster.nodes.filter(({ name, role }) => role === 'control' && name !== where)
  return [
    ...others.slice(0, 1).map(({ name }) => `take it from a control node: ${command(`recover --node ${name}`)}`),
    `take it from a backup, the folder that ${auth.files.certificate(caName)} is in: ${command('recover --from DIR')}`,
  ]
}
