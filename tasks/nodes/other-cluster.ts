/** Checks the control nodes for an existing identity, in their folders and where units read, before a new one is made. */
import type { LimitFunction } from 'p-limit'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal } from '../../lib/failure.ts'
import { backups } from '../../lib/files/auth-dir.ts'
import { caName } from '../../lib/files/names.ts'
import type { Graph } from '../../lib/graph/graph.ts'
import type { Run } from '../../lib/graph/run.ts'
import type { Target } from '../../lib/graph/target.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { formatNames } from '../../lib/wording.ts'
import { identityFiles } from '../tables/files.ts'
import { waysOutOfLost } from './fetch-command.ts'
import { heldOn } from './guards.ts'
import { lookAtNode, withPlaces } from './look.ts'

/** A part of the identity, such as the CA. */
interface IdentityPart {
  readonly label: string
  readonly files: readonly string[]
  readonly maker: string
}

/**
 * Runs before the first build of a run that deploys. At the deploy it would be too late: the new CA would already be in auth/ and
 * in the user's kubeconfig, and only the deploy would show that a new encryption key decrypts no Secret. A node that can't be
 * looked at stops nothing yet: its own deploy refuses it.
 */
export async function findOtherCluster(run: Run, graph: Graph, limit: LimitFunction): Promise<[string, Failure][]> {
  const targets = [...graph.values()]
  const parts = partsToMake(run, targets)
  const [first] = parts
  const deploys = targets.some(({ where }) => where === 'node')
  if (!first || !deploys || run.options.replaceIdentity) return []
  const isWhole = first.files.includes(run.auth.files.key(caName))
  const wanted = isWhole ? [...identityFiles(run.cluster).keys()] : parts.flatMap(({ files }) => files)
  const controls = run.cluster.nodes.filter(({ role }) => role === 'control')
  // This may take as long as the timeout of a node that is down.
  run.note(`looking for an existing ${first.label} on ${formatNames(controls.map(({ name }) => name))}`)
  const held = await Promise.all(controls.map((node) => limit(() => filesHeld(run, node, wanted))))
  const holding = controls.filter((_, i) => (held[i]?.files.length ?? 0) > 0)
  if (holding[0]) {
    const found = held.flatMap((each) => each?.files ?? [])
    const what = isWhole ? "a cluster's identity" : formatNames([...new Set(found)])
    const ways = waysOutOfLost(run, holding[0], held[controls.indexOf(holding[0])]?.isOfAnother)
    return [[first.maker, otherCluster(run, holding, what, ways)]]
  }
  const unknown = controls.flatMap(({ name }, i) => (held[i] ? [] : [name]))
  if (unknown.length > 0)
    run.note(
      `${formatNames(unknown)} could not be looked at: if one is there already, the new ${first.label} will not be deployed to it, and ${run.command(`recover --node ${unknown[0]}`)} takes that one over`,
    )
  return []
}

/** The parts of which auth/ has nothing; the CA first. */
function partsToMake({ auth, cluster }: Run, targets: readonly Target[]): IdentityPart[] {
  const parts = Map.groupBy(identityFiles(cluster), ([, label]) => label)
  return [...parts].flatMap(([label, named]) => {
    const files = named.map(([file]) => file)
    const maker = targets.find(({ makes }) => files.some((file) => makes.includes(file)))
    return maker && files.every((file) => !auth.read(file)) ? [{ label, files, maker: maker.id }] : []
  })
}

/**
 * Where they are on the node, and whether it holds another identity than what is left in auth/. An unreadable file counts as held, an
 * empty one does not. Undefined if the node can't be looked at.
 */
async function filesHeld(
  run: Run,
  node: ClusterNode,
  names: readonly string[],
): Promise<{ readonly files: readonly string[]; readonly isOfAnother: boolean } | undefined> {
  const { auth } = run
  const seen = withPlaces(run, node)
  try {
    const look = await lookAtNode(seen, node)
    const all = heldOn(seen, node, look).filter(({ state }) => state.size > 0)
    const files = all.flatMap(({ file, at }) => (names.includes(file) ? [at] : []))
    const isOther = (file: string, theirs: Buffer) =>
      otherIdentity(file, auth, theirs, (name) => backups(auth, name)) !== undefined
    const isOfAnother = all.some(
      ({ file, bytes }) => identityFiles(run.cluster).has(file) && auth.read(file) && bytes && isOther(file, bytes),
    )
    if (files.length > 0) return { files, isOfAnother }
    return look.places instanceof Failure ? undefined : { files, isOfAnother }
  } catch (error) {
    if (error instanceof Failure) return undefined
    throw error
  }
}

function otherCluster({ auth }: Run, nodes: readonly ClusterNode[], what: string, ways: string[]): Failure {
  const names = formatNames(nodes.map(({ name }) => name))
  const found = `${names} ${nodes.length === 1 ? 'holds' : 'hold'} ${what}, and ${auth.path} has none`
  return refusal(`${found}: nothing was made`, ways)
}
