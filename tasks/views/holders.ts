/** What every view says of who may still be let in. */
import { type Notice, notices } from '../../lib/show/reporter.ts'
import { formatDate, formatNames } from '../../lib/wording.ts'
import { type Holder, type HolderInput, holdersOf, revokedLine } from '../auth/accepted.ts'

/** A note with all of them, and the line of cluster.yaml that ends the access of those who are gone. */
export function notesOnHolders(run: HolderInput): Notice[] {
  const holders = holdersOf(run)
  if (holders.length === 0) return []
  const gone = holders.filter(({ why, isBeyondList }) => why === 'removed' && !isBeyondList).map(({ name }) => name)
  const list = formatNames(holders.map((each) => `${each.name} (until ${formatDate(each.until)}; ${reasonOf(each)})`))
  const line = `; to revoke who is gone, write in cluster.yaml:\n    ${revokedLine(run, gone)}`
  const isOver = gone.length > 0 && run.cluster.install
  return notices('note', `may still be let in: ${list} (docs/bad-day.md, "Revoke a stolen key")${isOver ? line : ''}`)
}

function reasonOf({ why, groups, isBeyondList }: Holder): string {
  const reason = why === 'group removed' ? `no longer in ${formatNames(groups)}` : why
  return isBeyondList ? `${reason}, and only another CA ends that` : reason
}

/** When the last certificate by which each of these is let in expires, by name. */
export function untilOf(run: HolderInput, isMeant: (why: Holder['why']) => boolean): ReadonlyMap<string, Date> {
  const ends = new Map<string, Date>()
  for (const { name, why, until } of holdersOf(run))
    if (isMeant(why) && until > (ends.get(name) ?? 0)) ends.set(name, until)
  return ends
}
