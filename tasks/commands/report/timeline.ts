/** What expires when: one bar for all certificates with the same dates, in a table that is readable without its bars. */
import { html } from 'ghtml'
import type { Workspace } from '../../../lib/graph/workspace.ts'
import { formatDate, formatLeft, formatNames, groupAlike } from '../../../lib/wording.ts'
import type { Item } from '../../request/inventory.ts'
import { phaseTitles } from '../../tables/phases.ts'
import { certified } from './certificates.ts'

interface Bar {
  readonly phase: string
  readonly names: readonly string[]
  readonly begin: Date
  readonly ownEnd: Date
  /** The effective expiry: the earliest along the chain. */
  readonly end: Date
  readonly renewal: Date
}

type Scale = (date: Date) => number

export function showTimeline(items: readonly Item[], { now, cluster }: Workspace): string {
  const bars = barsOf(items, cluster.certificates.renewBefore)
  if (bars.length === 0) return '<p>There is no certificate.</p>'
  const times = [now, ...bars.flatMap(({ begin, ownEnd }) => [begin, ownEnd])].map((date) => date.getTime())
  const first = Math.min(...times)
  const span = Math.max(...times) - first
  const scale = (date: Date) => (date.getTime() - first) / span
  // There is room for three dates.
  const marks = [0, 1 / 3, 2 / 3].map(
    (part) => html`<span style="left:${percent(part)}">${formatDate(new Date(first + part * span))}</span>`,
  )
  const headings = ['Certificates', 'Effective expiry', 'Left']
  // The roles are for narrow pages, whose CSS lays rows out as blocks: a browser would drop their table meaning.
  return html`<p class="legend"><span><i class="today"></i> today</span> <span><i class="valid"></i> valid</span> <span><i class="renewal"></i> less than <code>renewBefore</code> left</span></p><div class="scroll" role="region" aria-label="Expiry of certificates" tabindex="0">
<table class="bars" role="table" style="--line:${percent(scale(now))}">
<thead role="rowgroup"><tr role="row">!${headings.map((heading) => html`<th scope="col" role="columnheader">${heading}</th>`)}<td class="axis" aria-hidden="true">!${marks}</td></tr></thead>
<tbody role="rowgroup">
!${bars.map((bar) => showBar(bar, scale, now))}</tbody>
</table>
</div>`
}

/** Earliest expiry first. */
function barsOf(items: readonly Item[], renewBefore: number): Bar[] {
  const alike = groupAlike(certified(items), ({ phase, certificate: { notBefore, notAfter }, end = notAfter }) =>
    [phase, ...[notBefore, notAfter, end].map((date) => formatDate(date))].join(' '),
  )
  return alike
    .map((group) => {
      const [{ phase, certificate, end = certificate.notAfter }] = group
      const { notBefore: begin, notAfter: ownEnd } = certificate
      const renewal = new Date(Math.max(end.getTime() - renewBefore, begin.getTime()))
      return { phase, names: group.map(({ name }) => name), begin, ownEnd, end, renewal }
    })
    .sort((a, b) => a.end.getTime() - b.end.getTime())
}

function showBar({ phase, names, begin, ownEnd, end, renewal }: Bar, scale: Scale, now: Date): string {
  const own = ownEnd > end ? `\n(its own is ${formatDate(ownEnd)})` : ''
  const cells = [formatDate(end, now) + own, formatLeft(end.getTime() - now.getTime())]
  // As narrow as 4px, and within the track even where it begins at its end.
  const segment = (kind: string, from: number, to: number) =>
    html`<i class="${kind}" style="left:min(${percent(from)},100% - 4px);width:${percent(to - from)}"></i>`
  const segments = [
    segment('valid', scale(begin), scale(renewal)),
    segment('renewal', scale(renewal), scale(end)),
    own && segment('worthless', scale(end), scale(ownEnd)),
  ]
  const state = end <= now ? ' class="over"' : renewal <= now ? ' class="marked"' : ''
  return html`<tr role="row"!${state}><th scope="row" role="rowheader">${phaseTitles.get(phase) ?? phase}<small>${formatNames(names)}</small></th>!${cells.map(
    (cell) => html`<td role="cell">${cell}</td>`,
  )}<td class="track" aria-hidden="true">!${segments}</td></tr>
`
}

function percent(part: number): string {
  return `${(Math.min(Math.max(part, 0), 1) * 100).toFixed(2)}%`
}
