/** The ends as a calendar (RFC 5545): a day for all of a phase that end on it, with an alarm when renewing is due. */
import { createHash } from 'node:crypto'
import ical, { ICalAlarmType } from 'ical-generator'
import { formatDate, formatNames } from '../../lib/reason.ts'
import { isOurs } from '../status-table.ts'
import type { ReportData } from './page.ts'

export function formatCalendar({ at, items }: ReportData): string {
  const { cluster, command, now } = at
  const calendar = ical({
    name: `${cluster.name}: certificates`,
    prodId: { company: 'harderway', product: 'harderway' },
  })
  const dated = items.filter(isOurs).flatMap(({ phase, name, end }) => (end ? [{ phase, name, end }] : []))
  const days = Map.groupBy(dated, ({ phase, end }) => `${phase} ${formatDate(end)}`)
  for (const [day, group] of days) {
    const [first] = group
    if (!first) continue
    const names = formatNames(group.map(({ name }) => name))
    const event = calendar.createEvent({
      // The same for the same end: a calendar that is read again is brought up to date.
      id: `${createHash('sha256').update(`${cluster.name} ${day}`).digest('hex').slice(0, 32)}@harderway`,
      start: first.end,
      allDay: true,
      stamp: now,
      summary: `${cluster.name}: ${first.phase} ${group.length === 1 ? 'ends' : 'end'} (${names})`,
      description: `${names}: before that day, ${command('bootstrap')}`,
    })
    event.createAlarm({
      type: ICalAlarmType.display,
      trigger: cluster.certificates.renewBefore / 1000,
      description: `${names}: time to renew`,
    })
  }
  return calendar.toString()
}
