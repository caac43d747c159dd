/** What every view says of who may still be let in. */
import { kubeconfigFile } from '../../lib/files/auth-dir.ts'
import { type Notice, notices } from '../../lib/show/reporter.ts'
import { formatDate, formatNames, joinClauses } from '../../lib/wording.ts'
import { type Given, type Holder, holdersOf, revokedLine } from '../auth/accepted.ts'

/** A note for each group of them, with what ends their access. */
export function notesOnHolders(run: Given): Notice[] {
  const { install } = run.cluster
  const holders = holdersOf(run)
  const beyond = holders.filter(({ isBeyondList }) => isBeyondList)
  const of = (reason: Holder['why']) => holders.filter(({ why, isBeyondList }) => why === reason && !isBeyondList)
  const [removed, regrouped, replaced] = [of('removed'), of('group removed'), of('replaced')]
  return notices(
    'note',
    beyond.length > 0 &&
      `${formatHolders(beyond)} may still be let in, and no list keeps them out: only ${install ? 'rotate ca' : 'another CA'} ends that (docs/bad-day.md, "A control node, auth/, or a backup of it")`,
    removed.length > 0 &&
      joinClauses(
        `certificates of ${formatHolders(removed)} are still accepted, although cluster.yaml no longer has ${removed.length > 1 ? 'these names' : 'that name'}`,
        install &&
          `to revoke them now, write in cluster.yaml:\n    ${revokedLine(
            run,
            removed.map(({ name }) => name),
          )}`,
      ),
    ...regrouped.map(
      ({ name, groups, until }) =>
        `${name}'s certificate in ${formatNames(groups)} is accepted until ${formatDate(until)}; to end that now, give ${name} a new name and revoke this one (docs/bad-day.md, "Revoke a stolen key")`,
    ),
    replaced.length > 0 &&
      `earlier certificates of ${formatHolders(replaced)} are still accepted: give each the new kubeconfig (${formatNames(replaced.map(({ name }) => kubeconfigFile(name)))}); after a theft, see docs/bad-day.md, "Revoke a stolen key"`,
  )
}

/** "jane (until 2036-11-24), bob (until 2027-01-05)" */
function formatHolders(holders: readonly Holder[]): string {
  return formatNames(holders.map(({ name, until }) => `${name} (until ${formatDate(until)})`))
}

/** When the last certificate by which each of these is let in expires, by name. */
export function untilOf(run: Given, isMeant: (why: Holder['why']) => boolean): ReadonlyMap<string, Date> {
  const holders = holdersOf(run).filter(({ why }) => isMeant(why))
  return new Map([...Map.groupBy(holders, ({ name }) => name)].map(([name, all]) => [name, lastOf(all)]))
}

const lastOf = (holders: readonly Holder[]) => new Date(Math.max(...holders.map(({ until }) => Number(until))))
