/** Members of one store, that agree by majority: when one may be restarted, and when none can be well. */
import { Failure } from '../../lib/failure.ts'
import type { Unit } from '../tables/places.ts'
import { type On, showsOurs, whyNotWell } from './restart.ts'

function membersOf({ at, node }: On) {
  const all = at.cluster.nodes.filter(({ role }) => role === node.role)
  return { others: all.filter(({ name }) => name !== node.name), majority: Math.floor(all.length / 2) + 1 }
}

/** One etcd that is missing already, and another that is restarted, are no majority of three. */
export async function refuseWithoutOthers(on: On, unit: Unit): Promise<void> {
  const { at, node } = on
  const whys = await Promise.all(
    membersOf(on).others.map(async (other) => [other.name, await whyNotWell(on, other, unit)] as const),
  )
  const broken = whys.filter(([, why]) => why !== undefined)
  // One that is not well itself has nothing to lose.
  if (broken.length === 0 || (await whyNotWell(on, node, unit)) !== undefined) return
  const names = broken.map(([name]) => name)
  throw new Failure(
    `${node.name}: ${unit.unit} is not restarted while it is not well on ${broken.map(([name, why]) => `${name} (${why})`).join(', ')}`,
    {
      code: 'no-quorum',
      remedy: [
        'get it well there, then run the same command again; where these files are what it lacks:',
        at.command(`install ${names.map((name) => `--node ${name}`).join(' ')}`),
      ].join('\n'),
    },
  )
}

/**
 * Whether it can be well once it has what is in auth/. Where all certificates have expired, a member's first new one is
 * refused by the others, and refuses theirs, until a majority has new ones.
 */
export async function canHaveMajority(on: On, unit: Unit): Promise<boolean> {
  if ((await whyNotWell(on, on.node, unit)) === undefined) return true
  const { others, majority } = membersOf(on)
  const ready = await Promise.all(
    others.map(
      async (other) => (await showsOurs(on, other, unit)) || (await whyNotWell(on, other, unit)) === undefined,
    ),
  )
  return 1 + ready.filter(Boolean).length >= majority
}
