/** Expiries as a calendar (RFC 5545): one event for all of a phase that expire on a day, with an alarm when renewal is due. */
import { createHash } from 'node:crypto'
import ical, { ICalAlarmType } from 'ical-generator'
import { caName } from '../../../lib/files/names.ts'
import { formatDate, formatNames, groupAlike } from '../../../lib/wording.ts'
import { isOurs, type ReportData } from '../../looks/inventory.ts'

const dayOf = ({ phase, end }: { phase: string; end: Date }) => `${phase} ${formatDate(end)}`

export function formatCalendar({ workspace, items }: ReportData): string {
  const { cluster, command, now } = workspace
  const calendar = ical({
    name: `${cluster.name}: certificates`,
    prodId: { company: 'harderway', product: 'harderway' },
  })
  const caEnd = items.find(({ name, phase }) => phase === 'ca' && name === caName)?.end
  const renewal = (end: Date) =>
    caEnd && end >= caEnd ? `${command('ca --renew')}, then ${command('bootstrap')}` : command('bootstrap')
  const dated = items.filter(isOurs).flatMap(({ phase, name, end }) => (end ? [{ phase, name, end }] : []))
  for (const group of groupAlike(dated, dayOf)) {
    const [first] = group
    const names = formatNames(group.map(({ name }) => name))
    const event = calendar.createEvent({
      // The same id for the same expiry: importing the file again adds no duplicates.
      id: `${createHash('sha256')
        .update(`${cluster.name} ${dayOf(first)}`)
        .digest('hex')
        .slice(0, 32)}@harderway`,
      start: first.end,
      allDay: true,
      stamp: now,
      summary: `${cluster.name}: ${first.phase} ${group.length === 1 ? 'expires' : 'expire'} (${names})`,
      description: `${names}: before that day, ${renewal(first.end)}`,
    })
    event.createAlarm({
      type: ICalAlarmType.display,
      trigger: cluster.certificates.renewBefore / 1000,
      description: `${names}: time to renew`,
    })
  }
  return calendar.toString()
}
