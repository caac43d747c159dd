/** Restarts one unit of a node, and queries the node with our credentials until the unit is healthy. */

import type { ClusterNode } from '../../../lib/cluster/cluster.ts'
import { asFailure, Failure, runAgain } from '../../../lib/failure.ts'
import { drainMark, marksFolder } from '../../../lib/node/place.ts'
import { tryCertificate } from '../../../lib/pki/pair.ts'
import { excerpt, printable, quote, withoutKeys } from '../../../lib/wording.ts'
import { addressOf, type NodeRun, readHealth, readServedCertificate } from '../../inspect/component.ts'
import { commandLimit, installOf, isDrainedFor, limitBeside, reloadTime, repeat } from '../../inspect/look.ts'
import type { Port, Unit } from '../../layouts/layout.ts'
import type { Run } from '../../target.ts'

/**
 * Throws a Failure with the unit's last log lines if it does not become healthy within install.timeout. For a back-out,
 * a node that can't be drained is restarted all the same.
 */
export async function restart(on: NodeRun, unit: Unit, { isBackOut = false } = {}): Promise<void> {
  const work = async () => {
    on.tell(`restarting ${unit.unit}`)
    await runAsRoot(on, unit.restart, unit)
    await waitUntilHealthy(on, unit)
  }
  await whileDrained(on, unit, work, isBackOut)
}

/** Does not wait: a store without a quorum does not finish its start. */
export async function restartUnproven(on: NodeRun, unit: Unit): Promise<void> {
  on.tell(`restarting ${unit.unit}`)
  await whileDrained(on, unit, () => runAsRoot(on, `{ ${unit.restart}; } >/dev/null 2>&1 &`, unit))
}

/** Undrains even if the work fails. Then the error of the work is thrown, not that of the undrain. */
async function whileDrained(on: NodeRun, unit: Unit, work: () => Promise<void>, isBackOut = false): Promise<void> {
  const { run, node, tell } = on
  const isToUndrain = isDrainedFor(run, unit) && (await tryToDrain(on, isBackOut))
  try {
    await work()
  } catch (error) {
    if (isToUndrain) await tryToUndrain(on)
    throw error
  }
  if (!isToUndrain) return
  tell(`undraining ${node.name}`)
  await undrain(run, node)
}

/** False if the node could not be drained, for a back-out; else throws that Failure. */
async function tryToDrain(on: NodeRun, isBackOut: boolean): Promise<boolean> {
  const { run, node, tell } = on
  try {
    await mark(run, node, `mkdir -p -m 700 -- ${marksFolder} && : >${drainMark}`)
    tell(`draining ${node.name}`)
    await drain(run, node)
    return true
  } catch (error) {
    await tryToUndrain(on)
    if (isBackOut && error instanceof Failure) return false
    throw error
  }
}

/** After a failure, which is not hidden by another. */
async function tryToUndrain({ run, node }: NodeRun): Promise<void> {
  await undrain(run, node).catch((error) =>
    run.note(`${node.name} may still be drained; the next run undrains it (${asFailure(error).message})`),
  )
}

export async function waitUntilHealthy(on: NodeRun, unit: Unit): Promise<void> {
  if (unit.health) on.tell(`waiting for ${unit.health.path} of ${unit.unit}`)
  const why = await repeat(installOf(on.run).timeout, () => whyNotHealthy(on, on.node, unit), on.signal)
  if (why !== undefined) throw await notHealthy(on, unit, why)
}

/**
 * True if the unit's ports serve the certificate of auth/ in time. If not, the unit needs a restart. So does, before
 * Kubernetes 1.36, a kubelet: what it has reloaded it serves only to clients that name it
 * (https://github.com/kubernetes/kubernetes/issues/133001). After a restart that may be the old process, on its way
 * out.
 */
export async function waitUntilServed(on: NodeRun, unit: Unit): Promise<boolean> {
  const look = async () => {
    const areOurs = await readOurs(on, unit)
    return areOurs.every(Boolean) ? undefined : 'another certificate, or none'
  }
  return (await repeat(Math.min(reloadTime, installOf(on.run).timeout), look, on.signal)) === undefined
}

/** One of the ports is enough: a store without a quorum serves only other members. */
export async function waitUntilOneServes(on: NodeRun, unit: Unit): Promise<boolean> {
  const look = async () => ((await readOurs(on, unit)).includes(true) ? undefined : 'none')
  return (await repeat(installOf(on.run).timeout, look, on.signal)) === undefined
}

/** Whether each port of the unit serves the certificate of auth/ to clients that dial its address. */
function readOurs(on: NodeRun, unit: Unit): Promise<boolean[]> {
  const look = async (port: Port) => {
    const served = await readServedCertificate(on, on.node, port)
    return served !== 'nothing' && tryCertificate(on.run.auth, port.name)?.der.equals(served) === true
  }
  return Promise.all(unit.serves.map(look))
}

/** Undefined if the unit is healthy. */
export async function whyNotHealthy(on: NodeRun, node: ClusterNode, { health }: Unit): Promise<string | undefined> {
  return health && (await readHealth(on, node, health)).why
}

async function runAsRoot(on: NodeRun, command: string, unit: Unit): Promise<void> {
  const { run, node } = on
  const limit = commandLimit(run)
  const asked = { sudo: installOf(run).sudo, command, limit }
  const { status, said } = await (await run.connect(node)).run(asked).catch(async (error) => {
    if (!(error instanceof Failure) || error.code !== 'hung') throw error
    throw await notHealthy(on, unit, `${command} did not end within ${limit / 1000} s`)
  })
  on.signal.throwIfAborted()
  if (status !== 0) throw await notHealthy(on, unit, `${command} failed (${excerpt(said)})`)
}

export async function notHealthy(on: NodeRun, { unit, service, bundle }: Unit, why: string): Promise<Failure> {
  const { run, node } = on
  const journal = `journalctl -u ${service} -n 8 --no-pager -o cat`
  const said =
    bundle === undefined
      ? await (await run.connect(node)).run({ sudo: installOf(run).sudo, command: journal }).catch(() => undefined)
      : undefined
  const lines = withoutKeys(printable(said?.said ?? ''))
  return new Failure(`${unit} is not healthy; ${why}`, {
    node: node.name,
    code: 'not-healthy',
    remedy: [
      ...lines.split('\n').filter(Boolean),
      `if no unit there answers, let its sshd forward to ports (AllowTcpForwarding); more on ${node.name}:\n    journalctl -u ${service}`,
    ].join('\n'),
  })
}

async function drain(run: Run, node: ClusterNode): Promise<void> {
  for (const gateway of gatewaysOf(run)) await change(run, gateway, node, 'drain')
}

/** Undrains on all gateways even if one fails, then throws that Failure: its code is always not-undrained. */
export async function undrain(run: Run, node: ClusterNode): Promise<void> {
  const failures: unknown[] = []
  const failed = (error: unknown) => void failures.push(error)
  await limitBeside(run).map(gatewaysOf(run), (gateway) => change(run, gateway, node, 'undrain').catch(failed))
  try {
    if (failures.length > 0) throw failures[0]
    await mark(run, node, `rm -rf -- ${drainMark} ${marksFolder}/.harderway-*`)
  } catch (error) {
    throw error instanceof Failure ? error.with({ code: 'not-undrained' }) : error
  }
}

function gatewaysOf({ cluster }: Run): ClusterNode[] {
  return cluster.nodes.filter(({ role }) => role === 'gateway')
}

async function change(run: Run, gateway: ClusterNode, node: ClusterNode, what: 'drain' | 'undrain'): Promise<void> {
  const command = `NODE=${quote(node.name)} ADDRESS=${quote(addressOf(node))} sh -c ${quote(installOf(run)[what])}`
  const limit = commandLimit(run)
  const there = await run.connect(gateway)
  const outcome = await there.run({ sudo: '', command, limit }).catch(async (error) => {
    // The run was ended by a signal: tries to undrain all the same.
    if (what === 'undrain') await there.tidy(command)
    if (error instanceof Failure && error.code === 'hung') return undefined
    throw error
  })
  if (outcome?.status === 0) return
  const end = outcome
    ? `ended with status ${outcome.status} (${excerpt(outcome.said)})`
    : `did not end within ${limit / 1000} s`
  throw new Failure(`install.${what} for ${node.name} ${end}`, {
    node: gateway.name,
    code: `not-${what}ed`,
    remedy: `make this work on ${gateway.name}:\n    ${command}`,
  })
}

/** So that the next run knows if this one is killed before it undrains. */
async function mark(run: Run, node: ClusterNode, command: string): Promise<void> {
  const { status, said } = await (await run.connect(node)).run({ sudo: installOf(run).sudo, command })
  if (status === 0) return
  throw new Failure(`couldn't change its drain mark (${excerpt(said)})`, {
    node: node.name,
    code: 'not-marked',
    remedy: `check ${marksFolder} on ${node.name}; then ${runAgain}`,
  })
}
