/** Members of one store: when one may be restarted, and when none can be healthy yet. */
import { hostname } from 'node:os'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
import { Failure, runAgain, tryToAwait } from '../../lib/failure.ts'
import { certificateFile } from '../../lib/files/names.ts'
import { ownCas } from '../../lib/identity/rotation.ts'
import { giveBackStoreLock, takeStoreLock } from '../../lib/kubernetes/store-lock.ts'
import { isIssuedBy, readCertificates } from '../../lib/pki/certificate.ts'
import { formatNames, printable } from '../../lib/wording.ts'
import type { Unit } from '../tables/places.ts'
import { withStore } from './component.ts'
import { stagingOwner } from './folder.ts'
import { heldOn } from './guards.ts'
import { lookAtNode } from './look.ts'
import { nodeFailure } from './node-failure.ts'
import { repeat } from './repeat.ts'
import { type On, showsOurs, whyNotHealthy } from './restart.ts'

function membersOf({ workspace, node }: On) {
  const all = workspace.cluster.nodes.filter(({ role }) => role === node.role)
  return { others: all.filter(({ name }) => name !== node.name), majority: Math.floor(all.length / 2) + 1 }
}

export type Standing = 'healthy' | 'not healthy' | 'without a quorum'

/** Seconds: from the look at the others until the one that is restarted can be seen to be down. */
const leaseTime = 60

/** A member that was healthy waits for its turn; any other unit, and one that has nothing to lose, does not. */
export async function guarded(on: On, unit: Unit, isHealthy: boolean, work: () => Promise<void>): Promise<void> {
  await (unit.isQuorum && isHealthy ? whileOthersAreHealthy(on, unit, work) : work())
}

/**
 * For one that is healthy, since it has something to lose: one etcd that is missing already, and another that is restarted, are
 * no quorum of three. Of all runs, on whichever machine, one at a time does so: each might have seen all others healthy.
 */
async function whileOthersAreHealthy(on: On, unit: Unit, work: () => Promise<void>): Promise<void> {
  let turn: Turn | undefined
  const look = async () => {
    turn = await takeTurn(on, unit)
    return turn instanceof Failure ? turn.message : undefined
  }
  await repeat(on.install.timeout, look, on.signal)
  if (turn instanceof Failure) throw turn
  try {
    await work()
  } finally {
    // One that can't be given back ends by itself.
    if (turn) await giveBack(on, turn).catch(() => {})
  }
}

/** Ours, while all others are healthy; or why not. */
type Turn = { readonly lease: string } | Failure

/** Kept in the store itself, which is healthy. */
async function takeTurn(on: On, { unit, ...row }: Unit): Promise<Turn> {
  const owner = { owner: stagingOwner(on.workspace).auth, host: hostname(), seconds: leaseTime }
  const taken = await withStore(on, on.node, (etcd) =>
    takeStoreLock(etcd, { key: `harderway/restart/${unit}`, ...owner }),
  ).catch((error) => {
    throw error instanceof Failure && error.code === 'http-404' ? withoutGateway(on.node, unit) : error
  })
  if ('host' in taken)
    return nodeFailure(on.node, `a run on ${printable(taken.host)} is restarting ${unit}, one after the other`, {
      code: 'busy',
      remedy: `${runAgain} when that one has ended`,
    })
  // One that was restarted just now may not answer yet.
  const broken = await findBroken(on, { unit, ...row })
  if (broken.length === 0) return taken
  await giveBack(on, taken)
  const list = broken.map(([name, reason]) => `${name} (${reason})`).join(', ')
  return new Failure(`${unit} is not restarted while it is not healthy on ${list}`, {
    node: on.node.name,
    code: 'no-quorum',
    remedy: [
      `repair it there, then ${runAgain}; where these files are what it lacks:`,
      on.workspace.command(`install ${broken.map(([name]) => `--node ${name}`).join(' ')}`),
    ].join('\n'),
  })
}

function withoutGateway(node: ClusterNode, unit: string): Failure {
  return nodeFailure(node, `${unit} has no JSON gateway, by which one run at a time restarts a member`, {
    code: 'no-gateway',
    remedy: 'take --enable-grpc-gateway=false out of its command line, and restart it',
  })
}

function giveBack(on: On, { lease }: { readonly lease: string }): Promise<void> {
  return withStore(on, on.node, (etcd) => giveBackStoreLock(etcd, lease))
}

async function findBroken(on: On, unit: Unit): Promise<(readonly [string, string])[]> {
  const asked = membersOf(on).others.map(async (other) => {
    const why = await whyNotHealthy(on, other, unit)
    return why === undefined ? [] : [[other.name, why] as const]
  })
  return (await Promise.all(asked)).flat()
}

/**
 * How it stands before anything is changed: it is healthy; it can be, once it has what is in auth/; or it can't be yet. Where
 * all certificates have expired, a member's first new one is refused by the others, and refuses theirs, until a quorum
 * has new ones. That they have expired is read where they are installed: that nobody accepts our credentials is no proof.
 * Throws a Failure where the quorum is missing for another reason.
 */
export async function standingOf(on: On, unit: Unit): Promise<Standing> {
  if ((await whyNotHealthy(on, on.node, unit)) === undefined) return 'healthy'
  const { others, majority } = membersOf(on)
  const standings = await Promise.all(others.map((other) => standingOfOther(on, other, unit)))
  const ready = 1 + standings.filter((each) => each === 'ready').length
  if (ready >= majority) return 'not healthy'
  const expired = standings.filter((each) => each === 'expired').length
  if (ready + expired >= majority) return 'without a quorum'
  const lost = others.flatMap(({ name }, i) => (standings[i] === 'unknown' ? [name] : []))
  throw nodeFailure(on.node, `${unit.unit} has no quorum: it is not healthy here, nor on ${formatNames(lost)}`, {
    code: 'no-quorum',
    remedy: `start it there, then ${runAgain}: systemctl status ${unit.unit}`,
  })
}

async function standingOfOther(on: On, other: ClusterNode, unit: Unit): Promise<'ready' | 'expired' | 'unknown'> {
  if (await showsOurs(on, other, unit)) return 'ready'
  if ((await whyNotHealthy(on, other, unit)) === undefined) return 'ready'
  const look = await tryToAwait(() => lookAtNode(on.workspace, other))
  const { auth, now } = on.workspace
  const cas = ownCas(auth)
  const held = look ? heldOn(on.workspace, other, look) : []
  const [leaf] = held
    .filter(({ file, isPlace }) => isPlace && unit.serves.some(({ name }) => file === certificateFile(name)))
    .flatMap(({ bytes }) => (bytes ? readCertificates(bytes).slice(0, 1) : []))
  const hasExpired = leaf !== undefined && leaf.notAfter < now && cas.some((ca) => isIssuedBy(leaf, ca))
  return hasExpired ? 'expired' : 'unknown'
}
