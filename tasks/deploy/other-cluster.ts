/** Checks control nodes for a running cluster, by files and by what listens there, before a new identity is made. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, isUnanswered, refusal, runAgain } from '../../lib/failure.ts'
import { caName, frontProxyCaName } from '../../lib/files/auth-dir.ts'
import type { RunOptions } from '../../lib/graph/executor.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/fetch-command.ts'
import { refuseDisagreement } from '../inspect/agreement.ts'
import { lookAtMachine, lookAtNode, withPlaces } from '../inspect/look.ts'
import { identityFiles, layoutOf } from '../layouts/tables.ts'
import type { ClusterGraph, ClusterTarget, Run } from '../target.ts'
import { heldOn } from './held.ts'

/**
 * Runs before the first build of a run that deploys. At the deploy it would be too late: the new CA would already be in
 * auth/, on other nodes and in the user's kubeconfig, and only the deploy would show that a new encryption key decrypts
 * no Secret. So a control node that can't be looked at, which may hold all of it, is refused too. Of any other node its
 * own deploy refuses another identity. `tell`: progress.
 */
export async function findOtherCluster(
  run: Run,
  graph: ClusterGraph,
  { signal, tell }: Pick<RunOptions, 'signal'> & { readonly tell: Run['note'] },
): Promise<[string, Failure][]> {
  const { cluster, auth, command, options } = run
  const targets = [...graph.values()]
  const parts = partsToMake(run, targets)
  const [first] = parts
  const deploys = targets.some(({ where }) => where === 'node')
  if (!first || !deploys || options.replaceIdentity) return []
  const isWhole = first.files.includes(auth.files.key(caName))
  const wanted = isWhole ? [...identityFiles(cluster).keys()] : parts.flatMap(({ files }) => files)
  // This may take as long as the timeout of a node that is down.
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  tell(`looking for an existing ${first.label} on ${formatNames(controls.map(({ name }) => name))}`)
  const traces = await run.limits.node.map(controls, (node) => findTrace(run, node, wanted))
  const found = traces.flatMap((each) => (each === undefined || each instanceof Failure ? [] : [each]))
  const [source] = found
  if (source) return [[first.maker, otherCluster(run, found, isWhole, waysOutOfLost(run, source.node))]]
  const unseen = controls.filter((_, i) => traces[i] instanceof Failure)
  const [control] = unseen
  const why = traces.find((each) => each instanceof Failure)
  if (signal.aborted || !control || !why) return []
  const names = formatNames(unseen.map(({ name }) => name))
  const what = `nothing was created: ${names} may hold the ${first.label} of this cluster, but couldn't be inspected; ${why.what}`
  const ways = [
    `if a cluster exists, recover it:\n    ${recoverCommand(run, control)}`,
    `if the cluster is new, create its files without the nodes:\n    ${command('certs encryption-key')}\nthen ${runAgain}`,
  ]
  return [[first.maker, notLookedAt(why, what, ways)]]
}

/**
 * A refusal because of nodes that could not be looked at: `why` not, of the first, and the ways out beside repairing
 * that.
 */
export function notLookedAt(why: Failure, found: string, ways: readonly string[]): Failure {
  return refusal(found, [...(why.remedy ?? `fix that, then ${runAgain}`).replace(/^- /, '').split('\n- '), ...ways])
}

/**
 * The parts of the identity, such as the CA, of which auth/ has nothing; the CA first. A cluster that runs gets its
 * front proxy later: the deploy refuses to replace one.
 */
function partsToMake({ auth, cluster }: Run, targets: readonly ClusterTarget[]) {
  const ofFrontProxy: string[] = auth.files.pair(frontProxyCaName)
  const identity = [...identityFiles(cluster)].filter(([file]) => !ofFrontProxy.includes(file))
  const parts = Map.groupBy(identity, ([, label]) => label)
  return [...parts].flatMap(([label, named]) => {
    const files = named.map(([file]) => file)
    const maker = targets.find(({ makes }) => files.some((file) => makes.includes(file)))
    return maker && files.every((file) => !auth.read(file)) ? [{ label, files, maker: maker.id }] : []
  })
}

/** What shows that a node is one of a cluster that runs, or did. */
interface Trace {
  readonly node: ClusterNode
  /** Where they are on the node. */
  readonly files: readonly string[]
  /** Ports of components of its role where something listens: as any user sees it, whatever it serves. */
  readonly ports: readonly number[]
}

/**
 * An unreadable file counts as held, an empty one does not. A Failure where nothing was found, and not everything was
 * looked at.
 */
async function findTrace(run: Run, node: ClusterNode, names: readonly string[]): Promise<Trace | Failure | undefined> {
  const seen = withPlaces(run)
  try {
    const look = await lookAtNode(seen, node)
    const files = heldOn(seen, node, look).flatMap(({ file, at, state }) =>
      state.size > 0 && names.includes(file) ? [at] : [],
    )
    // What install.units leaves out is of a cluster too.
    const units = layoutOf(run.cluster).units.filter(({ on }) => on.includes(node.role))
    const served = units.flatMap(({ serves }) => serves.map(({ port }) => port))
    const ports = [...(await lookAtMachine(run, node, served)).ports]
    if (files.length + ports.length > 0) return { node, files, ports }
    // What units read elsewhere was not looked at.
    refuseDisagreement(look.units)
    return look.places instanceof Failure ? look.places : undefined
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (isUnanswered(error)) run.unreached?.set(node.name, error)
    return error
  }
}

/** "control0, control1 hold a cluster identity; worker0 listens on 10250; but auth/ has none" */
function otherCluster({ auth }: Run, traces: readonly Trace[], isWhole: boolean, ways: string[]): Failure {
  const textOf = (verb: (one: string, many: string) => string, { files, ports }: Trace) =>
    [
      files.length > 0 && `${verb('holds', 'hold')} ${isWhole ? 'a cluster identity' : formatNames(files)}`,
      ports.length > 0 && `${verb('listens', 'listen')} on ${formatNames(ports.map(String))}`,
    ]
      .filter(Boolean)
      .join(' and ')
  const found = groupAlike(traces, (trace) => textOf((one) => one, trace)).map(
    (group) =>
      `${formatNames(group.map(({ node }) => node.name))} ${textOf((one, many) => (group.length === 1 ? one : many), group[0])}`,
  )
  return refusal(`${found.join('; ')}, but ${auth.path} has none; nothing was created`, ways)
}
