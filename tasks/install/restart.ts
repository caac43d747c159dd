/** Restarts one unit, and waits until it is healthy; a member of a store only while the others are. */
import { isIP } from 'node:net'
import * as v from 'valibot'
import { specialUse } from '../../lib/address.ts'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { asFailure, Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { drainMark, marksFolder } from '../../lib/node/place.ts'
import { type Certificate, isIssuedBy, readDerCertificate } from '../../lib/pki/certificate.ts'
import { ownCas, tryCertificate } from '../../lib/pki/pair.ts'
import { excerpt, formatNames, printable, quote, withoutKeys } from '../../lib/wording.ts'
import type { Run } from '../cluster-target.ts'
import type { UnitOnNode } from '../inspect/agreement.ts'
import {
  type Asking,
  addressOf,
  type NodeRun,
  readHealth,
  readServedCertificate,
  withEtcd,
} from '../inspect/component.ts'
import { installOf, limitBeside, reloadTime, repeat } from '../inspect/look.ts'
import type { Port, Unit } from '../layouts/layout.ts'
import { controlsOf } from '../layouts/tables.ts'

/** Drains the node if gateways send it requests. Throws a Failure with the last log lines if it is not healthy. */
export async function restart(on: NodeRun, unit: UnitOnNode): Promise<void> {
  const { run, node, tell } = on
  if (!unit.isDrained) return restartWithoutDrain(on, unit)
  try {
    await mark(run, node, `mkdir -p -m 700 -- ${marksFolder} && : >${drainMark}`)
    tell(`draining ${node.name}`)
    for (const gateway of gatewaysOf(run)) await change(run, gateway, node, 'drain')
    await restartWithoutDrain(on, unit)
  } catch (error) {
    await undrain(run, node).catch((second) =>
      run.note(`${node.name} may still be drained; the next run undrains it (${asFailure(second).message})`),
    )
    throw error
  }
  tell(`undraining ${node.name}`)
  await undrain(run, node)
}

export async function restartWithoutDrain(on: NodeRun, unit: Unit): Promise<void> {
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
    // Harderway 0.5.0 had marks of its own there.
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
    if (what === 'undrain') await there.runLast(command)
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

const othersOf = ({ run, node }: NodeRun) => controlsOf(run.cluster).filter(({ name }) => name !== node.name)

const memberList = v.object({
  members: v.pipe(
    v.array(
      v.object({
        ID: v.pipe(v.string(), v.regex(/^\d{1,20}$/)),
        name: v.optional(v.string(), ''),
        peerURLs: v.optional(v.array(v.string()), []),
      }),
    ),
    v.minLength(1),
  ),
})
type Member = v.InferOutput<typeof memberList>['members'][number]

export function readMembers(asking: Asking, node: ClusterNode): Promise<Member[]> {
  return withEtcd(
    asking,
    node,
    async (etcd) => (await etcd.read(memberList, 'POST', '/v3/cluster/member/list', {})).members,
  )
}

/** Before a restart. Throws a Failure if the other members are not healthy within install.timeout. */
export async function waitForOthers(on: NodeRun, unit: Unit): Promise<void> {
  let broken: readonly string[] = []
  // A member that was just restarted may not answer yet.
  const why = await repeat(
    installOf(on.run).timeout,
    async () => {
      const [stranger] = foreignMembers(await readMembers(on, on.node), controlsOf(on.run.cluster))
      if (stranger !== undefined) throw notRestarted(on, unit, stranger, `then ${runAgain}`)
      const reasons = await limitBeside(on.run).map(othersOf(on), async (other) => {
        const reason = await whyNotHealthy(on, other, unit)
        return reason === undefined ? [] : [[other.name, `${other.name} (${reason})`] as const]
      })
      broken = reasons.flat().map(([name]) => name)
      return (
        reasons
          .flat()
          .map(([, reason]) => reason)
          .join(', ') || undefined
      )
    },
    on.signal,
  )
  if (why === undefined) return
  const install = on.run.command(`install ${broken.map((name) => `--node ${name}`).join(' ')}`)
  const remedy = `repair it, then ${runAgain}; if it only lacks its new files:\n    ${install}`
  throw notRestarted(on, unit, `unhealthy on ${why}`, remedy)
}

function notRestarted({ node }: NodeRun, { unit }: Unit, why: string, remedy: string): Failure {
  return new Failure(`${unit} not restarted; ${why}`, { node: node.name, code: 'no-quorum', remedy })
}

/** Members that are on no control node, by their addresses. Names are often alike; a loopback address is its own. */
export function foreignMembers(
  members: readonly Member[],
  controls: readonly Pick<ClusterNode, 'name' | 'ips'>[],
): string[] {
  const isOurs = ({ name, peerURLs }: Member) => {
    const hosts = peerURLs.map((url) => URL.parse(url)?.hostname.replace(/^\[|\]$/g, '') ?? '')
    if (hosts.some((host) => host === 'localhost' || specialUse(host) === 'loopback')) return true
    const hasAddress = hosts.some((host) => isIP(host) !== 0)
    const isOf = (host: string, node: Pick<ClusterNode, 'name' | 'ips'>) =>
      host.startsWith(`${node.name}.`) || [node.name, ...node.ips].includes(host)
    return controls.some((node) => (!hasAddress && node.name === name) || hosts.some((host) => isOf(host, node)))
  }
  return members
    .filter((member) => !isOurs(member))
    .map(
      ({ ID, name, peerURLs }) =>
        `the etcd member ${printable(name || 'without a name')} (${printable(formatNames(peerURLs))}) matches no control node in cluster.yaml; add the node, or its address; or, if its API server is gone for good:\n    etcdctl member remove ${BigInt(ID).toString(16)}`,
    )
}

export type QuorumState = 'healthy' | 'not healthy' | 'without a quorum'

/** Before anything is changed: with expired certificates no quorum is healthy until a majority has new ones. */
export async function quorumStateOf(on: NodeRun, unit: Unit): Promise<QuorumState> {
  if ((await whyNotHealthy(on, on.node, unit)) === undefined) return 'healthy'
  const asked = othersOf(on).flatMap((node) => unit.serves.map((port) => ({ node, port })))
  const cas = ownCas(on.run.auth)
  const isOutOfTime = ({ notBefore, notAfter }: Certificate) => notAfter < on.run.now || notBefore > on.run.now
  const areOutOfTime = await limitBeside(on.run).map(asked, async ({ node, port }) => {
    const served = await tryToAwait(() => readServedCertificate(on, node, port))
    const leaf = served === undefined || served === 'nothing' ? undefined : readDerCertificate(served)
    return leaf !== undefined && isOutOfTime(leaf) && cas.some((ca) => isIssuedBy(leaf, ca))
  })
  return areOutOfTime.includes(true) ? 'without a quorum' : 'not healthy'
}
