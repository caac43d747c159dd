/** The last run as a waterfall: what ran when, what waited for what, and the chain of targets that it could not end before. */
import { scaleLinear } from 'd3-scale'
import { html } from 'ghtml'
import { criticalPath, lastNeed, type RunRecord, type TargetRecord } from '../../../lib/views/run-record.ts'
import { printable } from '../../../lib/wording.ts'
import { type Bar, showBars } from './bars.ts'

/** With more targets than this, only the critical path and the slowest are shown. */
const mostRows = 60

export function showRun(record: RunRecord): string {
  const { targets, names, began, exit } = record
  const path = criticalPath(targets)
  const length = targets.reduce((latest, { ended }) => Math.max(latest, ended), 1)
  const scale = scaleLinear().domain([0, length]).range([0, 1])
  const byTime = targets.toSorted((a, b) => timeOf(b) - timeOf(a))
  const chosen =
    targets.length > mostRows
      ? new Set([...path, ...byTime.slice(0, Math.max(mostRows - path.size, 0))])
      : new Set(targets)
  const shown = targets
    .filter((target) => chosen.has(target))
    .toSorted((a, b) => (a.started ?? a.ended) - (b.started ?? b.ended))
  const byId = new Map(targets.map((target) => [target.id, target]))
  const bars = shown.map((target): Bar => {
    const { id, started, building, ended, message } = target
    const awaited = lastNeed(target, byId)
    const begin = started ?? ended
    return {
      name: printable(id),
      detail: printable(awaited ? `${message}; waited for ${awaited.id}` : message),
      cells: [path.has(target) ? 'yes' : '', `${Math.round(timeOf(target))} ms`],
      segments: [
        { from: scale(awaited?.ended ?? 0), to: scale(begin), kind: 'waiting' },
        { from: scale(begin), to: scale(building ?? ended), kind: 'looking' },
        ...(building === null
          ? []
          : [{ from: scale(building), to: scale(ended), kind: target.outcome === 'failed' ? 'failed' : 'building' }]),
      ],
      isMarked: path.has(target),
    }
  })
  const ticks = scale
    .ticks(4)
    .map((time) => ({ at: scale(time), text: length < 3000 ? `${time} ms` : `${time / 1000} s` }))
  const left = byTime.filter((target) => !chosen.has(target))
  return html`<p><code>${printable(names.join(' '))}</code> began ${began.slice(0, 19).replace('T', ' ')} UTC, took ${(length / 1000).toFixed(1)} s and ended with exit status ${exit}. Thin: it waited to be looked at; light: it was looked at, and waited for its turn; full: it was made. The critical path is what each next target waited for: ${printable([...path].map(({ id }) => id).join(' → '))}.</p>
!${showBars({ label: 'Targets of the run', headings: ['Target', 'Critical', 'Time'], bars, ticks })}
!${left[0] ? html`<p>And ${left.length} more, none slower than ${Math.round(timeOf(left[0]))} ms.</p>` : ''}`
}

function timeOf({ started, ended }: TargetRecord): number {
  return ended - (started ?? ended)
}
