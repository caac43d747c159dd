/** The page of `report`: one file, without a script or a style from elsewhere, and without a secret. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import { kubeconfigFile } from '../../../lib/files/auth-dir.ts'
import { formatFailures, toDoOf, warningsOf } from '../../../lib/show/rows.ts'
import {
  foldAlike,
  formatDate,
  formatLeft,
  formatLeftInWords,
  formatNames,
  groupAlike,
  joinClauses,
  printable,
} from '../../../lib/wording.ts'
import { holdersOf } from '../../auth/accepted.ts'
import { phaseTitles } from '../../bootstrap.ts'
import { localHolder, nodeFiles } from '../../layouts/tables.ts'
import { causesOf } from '../../run/exit-status.ts'
import { endsSoon, type Run } from '../../target.ts'
import { fold, formatTotals, type Inventory, isRight, waysOut } from '../../views/inventory.ts'
import { adviseOnRotations, findBeside } from '../../views/notices.ts'

const style = readFileSync(new URL('page.css', import.meta.url), 'utf8')

export async function formatPage(inventory: Inventory): Promise<string> {
  const { run } = inventory
  const sections = [
    { title: 'Problems', content: showProblems(inventory) },
    { title: 'Notices', content: showList(await noticesIn(inventory)) },
    { title: 'Expiry', content: showExpiry(inventory) },
    { title: 'Who may still be let in', content: showAccepted(run) },
    { title: 'Who holds which file', content: showHolders(inventory) },
  ].filter(({ content }) => content !== '')
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${run.cluster.name}: certificates and keys</title>
<style>!${style}</style>
</head>
<body>
!${showHeadline(inventory)}
<main>
!${sections.map(
    ({ title, content }) => html`<h2>${title}</h2>
!${content}
`,
  )}</main>
</body>
</html>
`
}

/** What expires next, and whether all is well. */
function showHeadline({ run, items, nodes, rows }: Inventory): string {
  const { now, cluster } = run
  const { wrong, first } = fold(items, now)
  const isGood = wrong.length === 0 && causesOf(rows.values()).length === 0
  const left = Number(first?.end) - now.getTime()
  const next =
    first &&
    html`<p><b>${formatLeftInWords(left)}</b> ${left > 0 ? 'until the next expiry, on' : 'on'} ${formatDate(first.end, now)}: ${formatNames(first.names)}</p>`
  const read = `read on ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return html`<header class="${isGood ? 'good' : 'bad'}">
<h1>${cluster.name}</h1>
!${next ?? ''}
<p>${joinClauses(formatTotals({ items, nodes }, now), read)}.</p>
</header>`
}

function showProblems({ run, items, nodes, rows }: Inventory): string {
  const isFailed = (id: string) => rows.get(id)?.state === 'failed'
  const alike = foldAlike(
    items.filter((item) => !isRight(item) && !isFailed(item.id)),
    ({ name }) => name,
    ({ phase, why }) => `${phase}\n${why}`,
  )
  const wrongNodes = nodes.filter(
    (each) => !isRight(each) && !isFailed(`deploy/${each.node}`) && !isFailed(`install/${each.node}`),
  )
  const lines = [
    ...alike.map(({ group, shared }) => `${formatNames(group.map(({ id }) => id))}: ${shared(group[0].why)}`),
    ...wrongNodes.map(({ node, why }) => `${node}: ${why}`),
    ...formatFailures(rows),
  ]
  if (lines.length === 0) return ''
  const { plan, repair } = waysOut(run, { items, rows })
  return html`!${showList(lines)}
<p><code>${plan}</code> shows the changes; <code>${repair}</code> makes them.</p>`
}

/** Rotations, what is left to do, and warnings, as `status` prints them. */
async function noticesIn({ run, rows }: Inventory): Promise<string[]> {
  const beside = [...(await adviseOnRotations(run)), ...findBeside(run, rows)]
  const notes = beside.flatMap(({ kind, text }) => (kind === 'note' ? text : []))
  return [...toDoOf({ rows, notices: beside }), ...notes, ...warningsOf(rows)]
}

function showList(lines: readonly string[]): string {
  return lines.length === 0 ? '' : html`<ul>!${lines.map((line) => html`<li>${printable(line)}</li>`)}</ul>`
}

function showTable(headings: readonly string[], rows: readonly string[]): string {
  return html`<table>
<thead><tr>!${headings.map((heading) => html`<th scope="col">${heading}</th>`)}</tr></thead>
<tbody>
!${rows}</tbody>
</table>`
}

/** What expires on the same day is one row, the earliest first. */
function showExpiry({ run, items, nodes }: Inventory): string {
  const { now } = run
  const selfMade = 'Loopback certificates of API servers, which only a restart renews'
  const all = [
    ...items.flatMap(({ phase, name, certificate, end }) =>
      certificate && end ? [{ title: phaseTitles.get(phase) ?? phase, name, begin: certificate.notBefore, end }] : [],
    ),
    ...nodes.flatMap(({ node, until }) => (until ? [{ title: selfMade, name: node, begin: now, end: until }] : [])),
  ]
  if (all.length === 0) return '<p>No certificates.</p>'
  const times = [now, ...all.flatMap(({ begin, end }) => [begin, end])].map(Number)
  const [first, last] = [Math.min(...times), Math.max(...times)]
  const percent = (date: Date) => `${(((Number(date) - first) / (last - first)) * 100).toFixed(2)}%`
  const groups = groupAlike(all, ({ title, begin, end }) => [title, formatDate(begin), formatDate(end)].join('\n'))
  const rows = groups
    .sort(([a], [b]) => Number(a.end) - Number(b.end))
    .map((group) => {
      const [{ title, begin, end }] = group
      const state = end <= now ? 'expired' : endsSoon(run, end) ? 'soon' : 'valid'
      return html`<tr class="${state}"><th scope="row">${title}<small>${formatNames(group.map(({ name }) => name))}</small></th>
<td>${formatDate(end, now)}<small>${formatLeft(Number(end) - Number(now))}</small></td>
<td class="bar" style="--from:${percent(begin)};--to:${percent(end)};--today:${percent(now)}"></td></tr>
`
    })
  const axis = `${formatDate(new Date(first))} to ${formatDate(new Date(last))}; the line is today`
  return showTable(['Certificates', 'Expires', axis], rows)
}

function showAccepted(run: Run): string {
  const rows = holdersOf(run).map(
    ({ name, until, why }) =>
      html`<tr><th scope="row">${printable(name)}</th><td>${formatDate(until)}</td><td>${why}</td></tr>
`,
  )
  return rows.length === 0 ? '' : showTable(['Name', 'Until', 'Why'], rows)
}

/** Nodes as they were found, if they were inspected; else by cluster.yaml, as users. */
function showHolders({ run, nodes }: Inventory): string {
  const { cluster, auth } = run
  const found = new Map(nodes.flatMap(({ node, holds }) => (holds ? [[node, holds] as const] : [])))
  const local = cluster.localKubeconfig ? localHolder(cluster) : undefined
  const holders = [
    ...(local ? [{ name: 'your kubeconfig', files: [kubeconfigFile(local.name)] }] : []),
    ...cluster.users.map(({ name }) => ({ name, files: [kubeconfigFile(name)] })),
    ...cluster.nodes.map((node) => ({ name: node.name, files: found.get(node.name) ?? nodeFiles(cluster, node) })),
  ]
  const hasKey = (file: string) =>
    ['key', 'kubeconfig', 'encryption-config'].includes(auth.files.parse(file)?.kind ?? '')
  const alike = foldAlike(
    holders,
    ({ name }) => name,
    ({ files }) => files.join(' '),
  )
  const rows = alike.map(({ group, shared }) => {
    const files = group[0].files.map((file) => (hasKey(file) ? html`<b>${shared(file)}</b>` : html`${shared(file)}`))
    return html`<tr><th scope="row">${formatNames(group.map(({ name }) => name))}</th><td>!${files.join(', ')}</td></tr>
`
  })
  const source = found.size > 0 ? `As found on ${formatNames([...found.keys()])}; else by` : 'By'
  return html`<p>${source} cluster.yaml. Files in bold have a private key. auth/ on this machine has all of them, and the keys of the CAs.</p>
!${showTable(['Holder', 'Files'], rows)}`
}
