/** Members of one store, that agree by majority: when one may be restarted, and when none can be well. */
import { Failure } from '../../lib/failure.ts'
import type { Unit } from '../tables/places.ts'
import { repeat } from './repeat.ts'
import { type On, showsOurs, whyNotWell } from './restart.ts'

function membersOf({ workspace, node }: On) {
  const all = workspace.cluster.nodes.filter(({ role }) => role === node.role)
  return { others: all.filter(({ name }) => name !== node.name), majority: Math.floor(all.length / 2) + 1 }
}

export type Standing = 'well' | 'not well' | 'without a majority'

/** For one that is well, since it has something to lose: one etcd that is missing already, and another that is restarted, are no majority of three. */
export async function refuseWithoutOthers(on: On, unit: Unit): Promise<void> {
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
