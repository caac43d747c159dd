/** Bars along an axis, in a table that reads well without them. */
import { html } from 'ghtml'

export interface Bar {
  /** Cells of the row: its name, then what the bar shows as text. */
  readonly name: string
  /** Under the name, less loud. */
  readonly detail: string
  readonly cells: readonly string[]
  /** Along the axis, from 0 to 1. */
  readonly segments: readonly { readonly from: number; readonly to: number; readonly kind: string }[]
  readonly isMarked: boolean
}

export interface BarTable {
  readonly label: string
  readonly headings: readonly string[]
  readonly bars: readonly Bar[]
  readonly ticks: readonly { readonly at: number; readonly text: string }[]
  /** Where a line is drawn down all bars. */
  readonly line?: number
}

/** The roles are for narrow pages, where rows are no table rows to the eye: a browser would take that for their meaning. */
export function showBars({ label, headings, bars, ticks, line }: BarTable): string {
  // Further to the right there is no room for a text.
  const marks = ticks
    .filter(({ at }) => at < 0.88)
    .map(({ at, text }) => html`<span style="left:${percent(at)}">${text}</span>`)
  const style = line === undefined ? '' : html` style="--line:${percent(line)}"`
  return html`<div class="scroll" role="region" aria-label="${label}" tabindex="0">
<table class="bars" role="table"!${style}>
<thead role="rowgroup"><tr role="row">!${headings.map((heading) => html`<th scope="col" role="columnheader">${heading}</th>`)}<td class="axis" aria-hidden="true">!${marks}</td></tr></thead>
<tbody role="rowgroup">
!${bars.map(showBar)}</tbody>
</table>
</div>`
}

function showBar({ name, detail, cells, segments, isMarked }: Bar): string {
  const spans = segments.map(
    // As narrow as 2px, and within the track even where it begins at its end.
    ({ from, to, kind }) =>
      html`<i class="${kind}" style="left:min(${percent(from)},100% - 2px);width:${percent(to - from)}"></i>`,
  )
  return html`<tr role="row"!${isMarked ? ' class="marked"' : ''}><th scope="row" role="rowheader">${name}!${detail && html`<small>${detail}</small>`}</th>!${cells.map(
    (cell) => html`<td role="cell">${cell}</td>`,
  )}<td class="track" aria-hidden="true">!${spans}</td></tr>
`
}

function percent(part: number): string {
  return `${(Math.min(Math.max(part, 0), 1) * 100).toFixed(2)}%`
}
