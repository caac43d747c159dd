/** Members of one store, that agree by majority: when one may be restarted, and when none can be well. */
import { hostname } from 'node:os'
import { Failure } from '../../lib/failure.ts'
import { giveBackStoreLock, takeStoreLock } from '../../lib/kubernetes/store-lock.ts'
import { printable } from '../../lib/wording.ts'
import { withStore } from '../components/client.ts'
import { nodeFailure } from '../nodes/node-failure.ts'
import { stagingOwner } from '../nodes/verdict.ts'
import type { Unit } from '../tables/places.ts'
import { repeat } from './repeat.ts'
import { type On, showsOurs, whyNotWell } from './restart.ts'

function membersOf({ workspace, node }: On) {
  const all = workspace.cluster.nodes.filter(({ role }) => role === node.role)
  return { others: all.filter(({ name }) => name !== node.name), majority: Math.floor(all.length / 2) + 1 }
}

export type Standing = 'well' | 'not well' | 'without a majority'

/**
 * For one that is well, since it has something to lose: one etcd that is missing already, and another that is restarted, are
 * no majority of three. Of all runs, on whichever machine, one at a time does so: each might have seen all others well.
 */
export async function whileOthersAreWell(on: On, unit: Unit, work: () => Promise<void>): Promise<void> {
  const lease = await takeTurn(on, unit)
  try {
    await refuseWithoutOthers(on, unit)
    await work()
  } finally {
    // One that can't be given back ends by itself.
    await withStore(on, on.node, (etcd) => giveBackStoreLock(etcd, lease)).catch(() => {})
  }
}

/** Kept in the store itself, which is well; of a run that was killed it lasts for install.timeout, for the same auth/ not at all. */
async function takeTurn(on: On, { unit }: Unit): Promise<string> {
  const { node, install, workspace, signal } = on
  const asked = {
    key: `harderway/restart/${unit}`,
    owner: stagingOwner(workspace).auth,
    host: hostname(),
    seconds: Math.ceil(install.timeout / 1000),
  }
  let lease = ''
  const look = async () => {
    const taken = await withStore(on, node, (etcd) => takeStoreLock(etcd, asked))
    if ('host' in taken) return taken.host
    lease = taken.lease
    return undefined
  }
  const host = await repeat(2 * install.timeout, look, signal)
  if (host === undefined) return lease
  throw nodeFailure(node, `a run on ${printable(host)} is restarting ${unit} on one node after the other`, {
    code: 'busy',
    remedy: 'run the same command again when that one has ended',
  })
}

async function refuseWithoutOthers(on: On, unit: Unit): Promise<void> {
  let broken: (readonly [string, string])[] = []
  // One that was restarted just now may not answer yet.
  const look = async () => {
    broken = await findBroken(on, unit)
    return broken.length > 0 ? 'not all are well' : undefined
  }
  const why = await repeat(on.install.timeout, look, on.signal)
  if (why === undefined) return
  const list = broken.map(([name, reason]) => `${name} (${reason})`).join(', ')
  throw new Failure(`${on.node.name}: ${unit.unit} is not restarted while it is not well on ${list}`, {
    code: 'no-quorum',
    remedy: [
      'get it well there, then run the same command again; where these files are what it lacks:',
      on.workspace.command(`install ${broken.map(([name]) => `--node ${name}`).join(' ')}`),
    ].join('\n'),
  })
}

async function findBroken(on: On, unit: Unit): Promise<(readonly [string, string])[]> {
  const asked = membersOf(on).others.map(async ({ name, ...other }) => {
    const why = await whyNotWell(on, { name, ...other }, unit)
    return why === undefined ? [] : [[name, why] as const]
  })
  return (await Promise.all(asked)).flat()
}

/**
 * How it stands before anything is changed: it is well; it can be, once it has what is in auth/; or it can't be yet. Where
 * all certificates have expired, a member's first new one is refused by the others, and refuses theirs, until a majority
 * has new ones.
 */
export async function standingOf(on: On, unit: Unit): Promise<Standing> {
  if ((await whyNotWell(on, on.node, unit)) === undefined) return 'well'
  const { others, majority } = membersOf(on)
  const ready = await Promise.all(
    others.map(
      async (other) => (await showsOurs(on, other, unit)) || (await whyNotWell(on, other, unit)) === undefined,
    ),
  )
  return 1 + ready.filter(Boolean).length >= majority ? 'not well' : 'without a majority'
}
