/** The table of docs/performance.md, whose rows `npm run bench` writes. Pure. */

/** A row as it stands there. */
export interface PageRow {
  readonly what: string
  readonly ours: string
  readonly theirs: string
  readonly ratio: string
  readonly goal: string
  readonly isMet: boolean
}

const [begin, end] = ['<!-- figures: begin -->', '<!-- figures: end -->']

/** With the rows that were measured in the place of those of the same name; in order, and without any that is not in it. */
export function updatePage(page: string, rows: readonly PageRow[], measured: string, order: readonly string[]): string {
  const [before, inside, after] = splitPage(page)
  const lines = new Map(inside.split('\n').flatMap((line) => (line.startsWith('| ') ? [[nameIn(line), line]] : [])))
  for (const row of rows) lines.set(row.what, formatRow(row, measured))
  const head = ['| what | ours | beside | ratio | goal | measured |', '| --- | --- | --- | --- | --- | --- |']
  const table = [...head, ...order.flatMap((what) => lines.get(what) ?? [])]
  return `${before}${begin}\n${table.join('\n')}\n${end}${after}`
}

function splitPage(page: string): [string, string, string] {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no ${begin} and ${end}`)
  return [page.slice(0, from), page.slice(from + begin.length, to), page.slice(to + end.length)]
}

function nameIn(line: string): string {
  return line.split(' | ')[0]?.slice('| '.length).trimEnd() ?? ''
}

/** A goal that is missed is bold. */
function formatRow({ what, ours, theirs, ratio, goal, isMet }: PageRow, measured: string): string {
  return `| ${[what, ours, theirs, ratio, isMet ? goal : `**${goal}**`, measured].join(' | ')} |`
}
