/** Restarts one unit of a node, and queries the node with our credentials until the unit is healthy. */

import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { asFailure, Failure, runAgain } from '../../lib/failure.ts'
import { drainMark, marksFolder } from '../../lib/node/place.ts'
import { tryCertificate } from '../../lib/pki/pair.ts'
import { excerpt, printable, quote, withoutKeys } from '../../lib/wording.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import { addressOf, type NodeRun, readHealth, readServedCertificate } from '../inspect/component.ts'
import { installOf, limitBeside, reloadTime, repeat } from '../inspect/look.ts'
import type { Port, Unit } from '../layouts/layout.ts'
import type { Run } from '../target.ts'

/**
 * Drains the node meanwhile, for a unit that gateways send requests to. Throws a Failure with the unit's last log lines if
 * it does not become healthy within install.timeout.
 */
export async function restart(on: NodeRun, unit: UnitOnNode): Promise<void> {
  const { run, node, tell } = on
  if (!unit.isDrained) return restartUndrained(on, unit)
  try {
    await mark(run, node, `mkdir -p -m 700 -- ${marksFolder} && : >${drainMark}`)
    tell(`draining ${node.name}`)
    for (const gateway of gatewaysOf(run)) await change(run, gateway, node, 'drain')
    await restartUndrained(on, unit)
  } catch (error) {
    await undrain(run, node).catch((second) =>
      run.note(`${node.name} may still be drained; the next run undrains it (${asFailure(second).message})`),
    )
    throw error
  }
  tell(`undraining ${node.name}`)
  await undrain(run, node)
}

export async function restartUndrained(on: NodeRun, unit: Unit): Promise<void> {
  on.tell(`restarting ${unit.unit}`)
  await runAsRoot(on, unit.restart, unit)
  await waitUntilHealthy(on, unit)
}

/** Does not wait: a store without a quorum does not finish its start. */
export async function startAgain(on: NodeRun, unit: Unit): Promise<void> {
  on.tell(`restarting ${unit.unit}`)
  await runAsRoot(on, `{ ${unit.restart}; } >/dev/null 2>&1 &`, unit)
}

export async function waitUntilHealthy(on: NodeRun, unit: Unit): Promise<void> {
  if (unit.health) on.tell(`waiting for ${unit.health.path} of ${unit.unit}`)
  const why = await repeat(installOf(on.run).timeout, () => whyNotHealthy(on, on.node, unit), on.signal)
  if (why !== undefined) throw await notHealthy(on, unit, why)
}

/** Undefined if the unit is healthy. */
export async function whyNotHealthy(on: NodeRun, node: ClusterNode, { health }: Unit): Promise<string | undefined> {
  return health && (await readHealth(on, node, health)).why
}

/**
 * True if the unit's ports serve the certificate of auth/ in time, to clients that dial its address. If not, the unit needs
 * a restart. So does, before Kubernetes 1.36, a kubelet: what it has reloaded it serves only to clients that name it
 * (https://github.com/kubernetes/kubernetes/issues/133001). After a restart that may be the old process, on its way out.
 * `some`: a store without a quorum serves only other members, and starts slowly.
 */
export async function waitUntilServed(on: NodeRun, unit: Unit, ports: 'every' | 'some' = 'every'): Promise<boolean> {
  const { run, node, signal } = on
  const isServed = async (port: Port) => {
    const served = await readServedCertificate(on, node, port)
    return served !== 'nothing' && tryCertificate(run.auth, port.name)?.der.equals(served) === true
  }
  const look = async () => {
    const all = await Promise.all(unit.serves.map(isServed))
    return all[ports](Boolean) ? undefined : 'another certificate, or none'
  }
  const { timeout } = installOf(run)
  return (await repeat(ports === 'some' ? timeout : Math.min(reloadTime, timeout), look, signal)) === undefined
}

/** Milliseconds for a restart or a drain: install.timeout, but at least two minutes. */
const commandLimit = (run: Run) => Math.max(installOf(run).timeout, 120_000)

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
