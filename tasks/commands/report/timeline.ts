/** What ends when: a bar from beginning to end, for all that begin and end together. */
import { scaleUtc } from 'd3-scale'
import { html } from 'ghtml'
import type { Workspace } from '../../../lib/targets/workspace.ts'
import { formatDate, formatLeft, formatNames, groupAlike } from '../../../lib/wording.ts'
import { phaseTitles } from '../../phases.ts'
import type { Item } from '../inventory.ts'
import { type Bar, showBars } from './bars.ts'
import { certified } from './certificates.ts'

export function showTimeline(items: readonly Item[], { now, cluster }: Workspace): string {
  const dated = certified(items).map(({ phase, name, certificate: { notBefore, notAfter }, end = notAfter }) => ({
    phase,
    name,
    begin: notBefore,
    ownEnd: notAfter,
    end,
  }))
  if (dated.length === 0) return '<p>There is no certificate.</p>'
  const times = [now, ...dated.flatMap(({ begin, ownEnd }) => [begin, ownEnd])].map((date) => date.getTime())
  const earliest = times.reduce((a, b) => Math.min(a, b))
  const latest = times.reduce((a, b) => Math.max(a, b))
  const scale = scaleUtc().domain([earliest, latest]).range([0, 1])
  const alike = groupAlike(dated, ({ phase, begin, ownEnd, end }) =>
    [phase, formatDate(begin), formatDate(ownEnd), formatDate(end)].join(' '),
  )
  const bars = alike
    .map((group) => ({ ...group[0], names: group.map(({ name }) => name) }))
    .sort((a, b) => a.end.getTime() - b.end.getTime())
    .map(({ phase, names, begin, ownEnd, end }): Bar => {
      const renewal = new Date(Math.max(end.getTime() - cluster.certificates.renewBefore, begin.getTime()))
      const own = ownEnd > end ? `\n(its own is ${formatDate(ownEnd)})` : ''
      return {
        name: phaseTitles.get(phase) ?? phase,
        detail: formatNames(names),
        cells: [formatDate(end) + own, formatLeft(end.getTime() - now.getTime())],
        segments: [
          { from: scale(begin), to: scale(renewal), kind: 'valid' },
          { from: scale(renewal), to: scale(end), kind: 'renewal' },
          ...(own ? [{ from: scale(end), to: scale(ownEnd), kind: 'worthless' }] : []),
        ],
        isMarked: renewal <= now,
      }
    })
  const ticks = scale.ticks(4).map((date) => ({ at: scale(date), text: scale.tickFormat()(date) }))
  return html`<p>The line is today; the striped part of a bar is <code>renewBefore</code>.</p>!${showBars({ label: 'Ends of certificates', headings: ['Certificates', 'End that counts', 'Left'], bars, ticks, line: scale(now) })}`
}
