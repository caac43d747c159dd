/** Restarts one unit of a node, and queries the node with our credentials until the unit is healthy. */
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain } from '../../lib/failure.ts'
import { readEmbedded } from '../../lib/kubernetes/kubeconfig.ts'
import { ask } from '../../lib/kubernetes/probe.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { excerpt, printable, withoutKeys } from '../../lib/wording.ts'
import type { Port, Unit } from '../layouts/layout.ts'
import { nodeUnits } from '../tables/places.ts'
import { healthQuestion, isApiServer, readHealth, readShown } from './component.ts'
import { drain, markDrained, undrain } from './drain.ts'
import { commandLimit, installOf, reloadTime, repeat } from './look.ts'
import type { NodeRun } from './replace.ts'

/**
 * Throws a Failure with the unit's last log lines if it does not become healthy within install.timeout. For a back-out, a node that
 * can't be drained is restarted all the same.
 */
export async function restart(on: NodeRun, unit: Unit, { isBackOut = false } = {}): Promise<void> {
  const work = async () => {
    on.tell({ doing: 'restarting', unit: unit.unit })
    await runAsRoot(on, unit.restart, unit)
    await waitUntilHealthy(on, unit)
  }
  await whileDrained(on, unit, work, isBackOut)
}

/** Does not wait: a store without a quorum does not finish its start. */
export async function restartUnproven(on: NodeRun, unit: Unit): Promise<void> {
  on.tell({ doing: 'restarting', unit: unit.unit })
  await whileDrained(on, unit, () => runAsRoot(on, `{ ${unit.restart}; } >/dev/null 2>&1 &`, unit))
}

/** Undrains even if the work fails. Then the error of the work is thrown, not that of the undrain. */
async function whileDrained(
  on: NodeRun,
  { isDrained }: Unit,
  work: () => Promise<void>,
  isBackOut = false,
): Promise<void> {
  const { run, node, tell } = on
  const isToUndrain = isDrained === true && installOf(run).drain !== '' && (await tryToDrain(on, isBackOut))
  try {
    await work()
  } catch (error) {
    if (isToUndrain) await undrain(run, node).catch(() => {})
    throw error
  }
  if (!isToUndrain) return
  tell({ doing: 'undraining', node: node.name })
  await undrain(run, node)
}

/** False if the node could not be drained, for a back-out; else throws that Failure. */
async function tryToDrain({ run, node, tell }: NodeRun, isBackOut: boolean): Promise<boolean> {
  try {
    await markDrained(run, node)
    tell({ doing: 'draining', node: node.name })
    await drain(run, node)
    return true
  } catch (error) {
    // Another run's mark means that it is drained for that one.
    if (!(error instanceof Failure && error.code === 'busy')) await undrain(run, node).catch(() => {})
    if (isBackOut && error instanceof Failure) return false
    throw error
  }
}

export async function waitUntilHealthy(on: NodeRun, unit: Unit): Promise<void> {
  if (unit.health) on.tell({ doing: 'waiting for', unit: unit.unit, path: unit.health.path })
  const why = await repeat(installOf(on.run).timeout, () => whyNotHealthy(on, on.node, unit), on.signal)
  if (why !== undefined) throw await notHealthy(on, unit, why)
}

/**
 * True if the unit's ports serve the certificate of auth/ in time. If not, the unit needs a restart. So does, before Kubernetes 1.36, a
 * kubelet: what it has reloaded it serves only to clients that name it (https://github.com/kubernetes/kubernetes/issues/133001). After a
 * restart that may be the old process, on its way out.
 */
export async function waitUntilServed(on: NodeRun, unit: Unit, after: 'reload' | 'restart'): Promise<boolean> {
  const mayStaySo = after === 'reload' && unit.serves.some(({ restartsBefore }) => restartsBefore !== undefined)
  let isServed = false
  const look = async () => {
    // These first: nobody gets a new certificate before them.
    const toNamers = mayStaySo ? await readAsking(on, on.node, unit, on.node.name) : []
    const toOthers = await readAsking(on, on.node, unit)
    isServed = toOthers.every((each) => each === 'ours')
    const staysSo = mayStaySo && toNamers.every((each) => each === 'ours') && toOthers.includes('another')
    return isServed || staysSo ? undefined : 'another certificate, or none'
  }
  await repeat(Math.min(reloadTime, installOf(on.run).timeout), look, on.signal)
  return isServed
}

/** True if one of the ports does: a store without a quorum serves only other members. */
export async function showsOurs(on: NodeRun, node: ClusterNode, unit: Unit): Promise<boolean> {
  return (await readAsking(on, node, unit)).includes('ours')
}

export async function waitUntilShown(on: NodeRun, unit: Unit): Promise<boolean> {
  const look = async () => ((await showsOurs(on, on.node, unit)) ? undefined : 'none')
  return (await repeat(installOf(on.run).timeout, look, on.signal)) === undefined
}

/** Whose certificate each port of the unit serves, to clients that name the server so, or that dial its address. */
function readAsking(
  on: NodeRun,
  node: ClusterNode,
  unit: Unit,
  name?: string,
): Promise<('ours' | 'another' | 'nothing')[]> {
  const look = async (port: Port) => {
    const shown = await readShown(on, node, port, name)
    if (shown === 'nothing') return shown
    return tryCertificate(on.run.auth, port.name)?.der.equals(shown) ? 'ours' : 'another'
  }
  return Promise.all(unit.serves.map(look))
}

/** Undefined if the unit is healthy. */
export async function whyNotHealthy(on: NodeRun, node: ClusterNode, { health }: Unit): Promise<string | undefined> {
  return health && (await readHealth(on, node, health)).why
}

/**
 * The unit may begin to use a new pair minutes from now, so an API server has to accept it while the old one is still kept. Throws
 * a Failure if none does.
 */
export async function proveClient(on: NodeRun, kubeconfig: string): Promise<void> {
  const { run, node, signal } = on
  const as = readEmbedded(run.auth.bytes(kubeconfig).toString())
  const whys: string[] = []
  for (const each of run.cluster.nodes) {
    const health = nodeUnits({ ...run.cluster, install: false }, each).find(isApiServer)?.health
    if (!health) continue
    try {
      const { status } = await ask({ ...healthQuestion(on, each, health), as })
      // Any other may come before it looks at the certificate, as while it shuts down, or be of one that is cut off.
      if (status === 200) return
      whys.push(`${each.name} answers ${status}`)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof Failure)) throw error
      whys.push(`${each.name}: ${error.what}`)
    }
  }
  throw new Failure(`no API server accepts the client certificate in ${kubeconfig}: ${whys.join('; ')}`, {
    node: node.name,
    code: 'not-accepted',
    remedy: runAgain,
  })
}

async function runAsRoot(on: NodeRun, command: string, unit: Unit): Promise<void> {
  const { run, node } = on
  const limit = commandLimit(run)
  const asked = { sudo: installOf(run).sudo, command, limit }
  const { status, said } = await (await run.connect(node)).run(asked).catch(async (error) => {
    if (!(error instanceof Failure) || error.code !== 'timed-out') throw error
    throw await notHealthy(on, unit, `${command} has not ended in ${limit / 1000} s`)
  })
  on.signal.throwIfAborted()
  if (status !== 0) throw await notHealthy(on, unit, `${command}: ${excerpt(said)}`)
}

export async function notHealthy(on: NodeRun, { unit, service, bundle }: Unit, why: string): Promise<Failure> {
  const { run, node } = on
  const journal = `journalctl -u ${service} -n 8 --no-pager -o cat`
  const said =
    bundle === undefined
      ? await (await run.connect(node)).run({ sudo: installOf(run).sudo, command: journal }).catch(() => undefined)
      : undefined
  const lines = withoutKeys(printable(said?.said ?? ''))
  return new Failure(`${unit} is not healthy: ${why}`, {
    node: node.name,
    code: 'not-healthy',
    remedy: [...lines.split('\n').filter(Boolean), `on ${node.name}, this shows more: journalctl -u ${service}`].join(
      '\n',
    ),
  })
}
