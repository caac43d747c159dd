/** The components of a node that answer to our credentials, each queried at its own address. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import type { Reply } from '../../lib/kubernetes/client.ts'
import type { Credentials } from '../../lib/kubernetes/dial.ts'
import { ask } from '../../lib/kubernetes/probe.ts'
import type { Health, Unit } from '../layouts/layout.ts'
import { type Asking, healthQuestion, isApiServer } from '../nodes/component.ts'
import { checkUnitsOf, lookAtUnits, type UnitCheck } from '../nodes/units.ts'
import { nodeUnits } from '../tables/places.ts'

/** One that answers to a certificate. */
export interface Askable extends Unit {
  readonly health: Health & { readonly as: string }
}

function isAskable(unit: Unit): unit is Askable {
  return unit.health?.as !== undefined
}

/** The checks of those that are installed there, and run. */
export async function runningOn({ run }: Asking, node: ClusterNode): Promise<UnitCheck[]> {
  const checks = checkUnitsOf(run, await lookAtUnits(run, node))
  return checks.filter(({ isUp }) => isUp)
}

export async function askable(asking: Asking, node: ClusterNode): Promise<Askable[]> {
  if (!nodeUnits(asking.run.cluster, node).some(isAskable)) return []
  return (await runningOn(asking, node)).flatMap(({ unit }) => (isAskable(unit) ? [unit] : []))
}

/** Throws a Failure without an answer: the server's certificate is not of that CA, or the handshake refused ours. */
export async function askHealth(
  asking: Asking,
  node: ClusterNode,
  { health }: Askable,
  given: { readonly ca: Buffer; readonly as: Credentials },
): Promise<Reply> {
  return ask({ ...healthQuestion(asking, node, health), trust: given.ca, as: given.as })
}

/** What the answer says of the certificate: 403 is that to a known user without permission; anything else may have other reasons. */
export function answerTo({ status }: Reply): 'accepted' | 'refused' | 'unclear' {
  if (status === 200 || status === 403) return 'accepted'
  return status === 401 ? 'refused' : 'unclear'
}

/** The names of the units, of those that can be queried. */
export async function apiServersOn(asking: Asking, node: ClusterNode): Promise<string[]> {
  return (await askable(asking, node)).filter(isApiServer).map(({ unit }) => unit)
}

/** The control nodes whose API server runs. */
export async function apiServers(asking: Asking): Promise<ClusterNode[]> {
  const nodes = asking.run.cluster.nodes.filter(({ role }) => role === 'control')
  const runs = await Promise.all(nodes.map(async (node) => (await apiServersOn(asking, node)).length > 0))
  return nodes.filter((_, i) => runs[i])
}

/** Throws a Failure if none runs: what is stored is then not known, which is not the same as nothing. */
export async function someApiServer(asking: Asking): Promise<ClusterNode> {
  const [node] = await apiServers(asking)
  if (node) return node
  throw new Failure('no API server runs on any control node: what is stored can be neither read nor written', {
    remedy: `start them, then ${runAgain}; on each: systemctl start kube-apiserver`,
  })
}
