/** Checks every node for a running cluster, by its files and by what serves there, before a new identity is made. */
import { X509Certificate } from 'node:crypto'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, isUnanswered, refusal, runAgain, tryToAwait } from '../../lib/failure.ts'
import { backups, caName, frontProxyCaName } from '../../lib/files/auth-dir.ts'
import type { RunOptions } from '../../lib/graph/executor.ts'
import type { Graph, Run, Target } from '../../lib/graph/target.ts'
import { otherIdentity } from '../../lib/kubernetes/identity.ts'
import { ownCas } from '../../lib/pki/pair.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { type CaOnNodes, recoverCommand, waysOutOfLost } from '../auth/fetch-command.ts'
import type { Unit } from '../layouts/layout.ts'
import { identityFiles, layoutOf, nodeUnits } from '../layouts/tables.ts'
import { refuseContradicted } from '../looks/declared.ts'
import { digestOf, lookAtNode, readServedCertificates, withPlaces } from '../looks/look.ts'
import { heldOn } from './held.ts'

/**
 * Runs before the first build of a run that deploys. At the deploy it would be too late: the new CA would already be in
 * auth/, on other nodes and in the user's kubeconfig, and only the deploy would show that a new encryption key decrypts
 * no Secret. So a control node that can't be looked at, which may hold all of it, is refused too. Of any other node its
 * own deploy refuses another identity. `tell`: progress.
 */
export async function findOtherCluster(
  run: Run,
  graph: Graph,
  { signal, tell }: Pick<RunOptions, 'signal'> & { readonly tell: Run['note'] },
): Promise<[string, Failure][]> {
  const { cluster, auth, command, options, note } = run
  const targets = [...graph.values()]
  const parts = partsToMake(run, targets)
  const [first] = parts
  const deploys = targets.some(({ where }) => where === 'node')
  if (!first || !deploys || options.replaceIdentity) return []
  const isWhole = first.files.includes(auth.files.key(caName))
  const wanted = isWhole ? [...identityFiles(cluster).keys()] : parts.flatMap(({ files }) => files)
  // This may take as long as the timeout of a node that is down.
  tell(`looking for an existing ${first.label} on ${formatNames(cluster.nodes.map(({ name }) => name))}`)
  const traces = await run.limits.node.map(cluster.nodes, (node) => findTrace(run, node, wanted))
  const found = traces.flatMap((each) => (each === undefined || each instanceof Failure ? [] : [each]))
  if (found.length > 0) {
    // Others have no key of the CA.
    const source = found.find(({ node }) => node.role === 'control')?.node
    const isOfAnother = found.some((each) => each.isOfAnother)
    return [[first.maker, otherCluster(run, found, isWhole, waysOutOfLost(run, source, isOfAnother))]]
  }
  if (signal.aborted) return []
  const unseen = cluster.nodes.filter((_, i) => traces[i] instanceof Failure)
  const controls = unseen.filter(({ role }) => role === 'control')
  const [control] = controls
  const why = control && traces[cluster.nodes.indexOf(control)]
  if (why instanceof Failure) {
    const follows = `a cluster there would have the ${first.label}, but ${auth.path} has none; nothing was created`
    const ways = [
      `if a cluster exists, recover it: ${recoverCommand(run, control)}`,
      `if the cluster is new, create its files without the nodes: ${command('certs encryption-key')}, then ${runAgain}`,
    ]
    return [[first.maker, notLookedAt(controls, why, { follows, ways })]]
  }
  if (unseen.length > 0)
    note(
      `couldn't inspect ${formatNames(unseen.map(({ name }) => name))}; a node that already has the ${first.label} of a cluster won't get the new one`,
    )
  return []
}

/**
 * Completes the refusal of a kubeconfig that trusts another CA than auth/: the ways out depend on the CA that nodes
 * have.
 */
export async function adviseByNodes(
  run: Run,
  graph: Graph,
  { refusals, tell }: { readonly refusals: readonly [string, Failure][]; readonly tell: Run['note'] },
) {
  const advised = async ([id, failure]: [string, Failure]): Promise<[string, Failure]> => {
    const shared = graph.get(id)?.where === 'kubeconfig' ? failure.shared : undefined
    return [id, shared ? failure.with({ remedy: shared.remedyFor([await compareCa(run, tell)]) }) : failure]
  }
  return Promise.all(refusals.map(advised))
}

/** The first control node whose copies of the CA agree, and whether it is that of auth/; undefined if there is none. */
async function compareCa(run: Run, tell: Run['note']): Promise<CaOnNodes | undefined> {
  const { auth, cluster } = run
  const controls = cluster.nodes.filter(({ role }) => role === 'control')
  const ca = auth.files.certificate(caName)
  const seen = withPlaces(run)
  tell(`comparing the CA with that of ${formatNames(controls.map(({ name }) => name))}`)
  for (const node of controls) {
    const look = await tryToAwait(() => lookAtNode(seen, node))
    const held = look ? heldOn(seen, node, look).filter(({ file, state }) => file === ca && state.size > 0) : []
    const [isOurs, ...others] = new Set(
      held.map(({ state: { sha256 }, bytes }) => {
        if (sha256 !== undefined && sha256 === digestOf(run, ca)) return true
        return bytes && otherIdentity(ca, auth, bytes) === undefined
      }),
    )
    if (isOurs !== undefined && others.length === 0) return { node, isOurs }
  }
  return undefined
}

/**
 * A refusal because of nodes that could not be looked at: the reason of the first, what follows, and the ways out
 * beside repairing that.
 */
export function notLookedAt(
  nodes: readonly ClusterNode[],
  why: Failure,
  { follows, ways }: { readonly follows: string; readonly ways: readonly string[] },
): Failure {
  return refusal(`${formatNames(nodes.map(({ name }) => name))}: ${why.what}; ${follows}`, [
    ...(why.remedy ?? `fix that, then ${runAgain}`).replace(/^- /, '').split('\n- '),
    ...ways,
  ])
}

/**
 * The parts of the identity, such as the CA, of which auth/ has nothing; the CA first. A cluster that runs gets its
 * front proxy later: the deploy refuses to replace one.
 */
function partsToMake({ auth, cluster }: Run, targets: readonly Target[]) {
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
  /** Ports where it serves a certificate. */
  readonly ports: readonly number[]
  /** Ports of its own units where something listens, and showed none. */
  readonly silent: readonly number[]
  /** It is of another identity than what is left in auth/. */
  readonly isOfAnother: boolean
}

/** Where root can't look: as the login user, and then without systemd, which answers that one by D-Bus alone. */
const otherLooks = [{ sudo: '' }, { sudo: '', units: [], alsoIfPresent: ['/'] }]

/**
 * An unreadable file counts as held, an empty one does not. A Failure where nothing was found, and not everything was
 * looked at.
 */
async function findTrace(run: Run, node: ClusterNode, names: readonly string[]): Promise<Trace | Failure | undefined> {
  const { auth, cluster } = run
  const seen = withPlaces(run)
  try {
    const whole = await lookAtNode(seen, node)
    let look = whole
    for (const as of otherLooks) if (look.places instanceof Failure) look = await lookAtNode(seen, node, as)
    const all = heldOn(seen, node, look).filter(({ state }) => state.size > 0)
    const files = all.flatMap(({ file, at }) => (names.includes(file) ? [at] : []))
    const { served, silent } = await readAllServed(run, node)
    if (files.length + served.length + silent.length === 0) {
      // What units read elsewhere was not looked at.
      refuseContradicted(seen.cluster, node, look.units)
      return whole.places instanceof Failure ? whole.places : undefined
    }
    const isOther = (file: string, theirs: Buffer) =>
      otherIdentity(file, auth, theirs, (name) => backups(auth, name)) !== undefined
    const cas = ownCas(auth)
    const isOfAnother =
      all.some(
        ({ file, bytes }) => identityFiles(cluster).has(file) && auth.read(file) && bytes && isOther(file, bytes),
      ) ||
      (cas.length > 0 && served.some(({ der }) => !cas.some((ca) => new X509Certificate(der).verify(ca.publicKey))))
    return { node, files, ports: served.map(({ port }) => port), silent, isOfAnother }
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (isUnanswered(error)) run.unreached?.set(node.name, error)
    return error
  }
}

/**
 * Needs no root: a node's folder may be tidied, and what its units read closed to the login user. sshd may forward no
 * port, a server may hang, or show a certificate to its own clients alone: that it listens where a unit of the node
 * does is enough.
 */
async function readAllServed(run: Run, node: ClusterNode) {
  const portsOf = (units: readonly Pick<Unit, 'serves'>[]) => units.flatMap(({ serves }) => serves)
  const open = await readServedCertificates(run, node, portsOf(layoutOf(run.cluster).units))
  const own = portsOf(nodeUnits(run.cluster, node)).map(({ port }) => port)
  return {
    served: open.flatMap(({ port, served }) => (served === 'nothing' ? [] : [{ port, der: served }])),
    silent: open.flatMap(({ port, served }) => (served === 'nothing' && own.includes(port) ? [port] : [])),
  }
}

/** "control0, control1 hold a cluster identity; worker0 serves a certificate on 10250; but auth/ has none" */
function otherCluster({ auth }: Run, traces: readonly Trace[], isWhole: boolean, ways: string[]): Failure {
  const textOf = (verb: (one: string, many: string) => string, { files, ports, silent }: Trace) =>
    [
      files.length > 0 && `${verb('holds', 'hold')} ${isWhole ? 'a cluster identity' : formatNames(files)}`,
      ports.length > 0 && `${verb('serves', 'serve')} a certificate on ${formatNames(ports.map(String))}`,
      silent.length > 0 && `${verb('listens', 'listen')} on ${formatNames(silent.map(String))}`,
    ]
      .filter(Boolean)
      .join(' and ')
  const found = groupAlike(traces, (trace) => textOf((one) => one, trace)).map(
    (group) =>
      `${formatNames(group.map(({ node }) => node.name))} ${textOf((one, many) => (group.length === 1 ? one : many), group[0])}`,
  )
  return refusal(`${found.join('; ')}, but ${auth.path} has none; nothing was created`, ways)
}
