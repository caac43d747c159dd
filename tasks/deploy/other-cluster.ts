/** Looks for a running cluster on the control nodes, before a new identity is made. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, refusal, runAgain } from '../../lib/failure.ts'
import { frontProxyCaName } from '../../lib/files/auth-dir.ts'
import { formatNames, groupAlike } from '../../lib/wording.ts'
import { recoverCommand, waysOutOfLost } from '../auth/fetch-command.ts'
import { lookAtNode, readServedCertificates, withPlaces } from '../inspect/look.ts'
import { apiServer } from '../layouts/layout.ts'
import { identityFiles, layoutOf } from '../layouts/tables.ts'
import type { ClusterGraph, Run } from '../target.ts'
import { filesOn } from './owner.ts'

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
  const controls = run.cluster.nodes.filter(({ role }) => role === 'control')
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
  return unseen && [maker, refuseUnseen(run, unseen.node, label, unseen.why)]
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

function refuseUnseen(run: Run, node: ClusterNode, label: string, why: Failure): Failure {
  return refusal(
    `nothing was created: ${node.name} may hold the ${label} of this cluster, but couldn't be inspected; ${why.what}`,
    [
      ...(why.remedy ?? `fix that, then ${runAgain}`).replace(/^- /, '').split('\n- '),
      `if a cluster exists, recover it:\n    ${recoverCommand(run, node)}`,
      `if the cluster is new, create its files without the nodes:\n    ${run.command('certs encryption-key')}\nthen ${runAgain}`,
    ],
  )
}
