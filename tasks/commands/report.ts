/** `report`: auth/report.html, one page without a script and without a secret; or the same expiries as metrics. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import { Failure } from '../../lib/failure.ts'
import { kubeconfigFile, metricsFile } from '../../lib/files/auth-dir.ts'
import { checkOutput, publicMode, writeOutput } from '../../lib/files/plain-file.ts'
import { nameInPhase } from '../../lib/graph/target.ts'
import { formatJsonLine } from '../../lib/show/lines.ts'
import { formatCounts, formatFailures, textOf, toDoOf, warningsOf } from '../../lib/show/rows.ts'
import {
  foldAlike,
  formatDate,
  formatLeft,
  formatLeftInWords,
  formatNames,
  groupAlike,
  printable,
} from '../../lib/wording.ts'
import { phaseTitles } from '../bootstrap.ts'
import { localHolder, nodeFiles } from '../layouts/tables.ts'
import { type CommandRun, writeAuth } from '../run/command-run.ts'
import { causesOf, type ExitCause, pathOf } from '../run/host.ts'
import { usage } from '../run/options.ts'
import { type ClusterRows, endsSoon, type Run } from '../target.ts'
import { adviseOnRotations, findBeside, findExpiries, observe, takeInventory, wholeCluster } from '../views/observe.ts'

/** Throws a usage Failure for an unknown format, and a Failure if auth/ does not exist. */
export async function report(given: CommandRun): Promise<readonly ExitCause[]> {
  const { auth, command, host, options, print, signal } = given
  const { format = 'html' } = options
  if (format !== 'html' && format !== 'prometheus')
    throw usage(`--format ${format}: expected html or prometheus`, 'report')
  const file = format === 'html' ? 'report.html' : metricsFile
  if (!auth.hasFiles())
    throw new Failure(`nothing to report: ${auth.path} has no files yet`, {
      remedy: `create them:\n    ${command('bootstrap')}`,
    })
  const graph = await wholeCluster(given)
  const copy = options.output === undefined ? undefined : pathOf(host, options.output)
  if (copy !== undefined) checkOutput(copy, auth.path)
  return writeAuth(given, {
    graph,
    work: async (run) => {
      const seen = await observe(run, graph)
      const text =
        format === 'html' ? await formatPage(seen) : await (await import('./report-metrics.ts')).formatMetrics(seen)
      if (!signal.aborted) {
        auth.write(file, text, publicMode)
        if (copy !== undefined) writeOutput(copy, text)
        for (const path of [`${auth.path}/${file}`, copy ?? []].flat())
          print(options.json ? formatJsonLine({ type: 'report', path }) : printable(path))
      }
      return { rows: seen.rows, causes: [] }
    },
  })
}

const style = readFileSync(new URL('report.css', import.meta.url), 'utf8')

interface Seen {
  readonly run: Run
  readonly rows: ClusterRows
}

type Items = ReturnType<typeof takeInventory>

export async function formatPage(seen: Seen): Promise<string> {
  const { run, rows } = seen
  const items = takeInventory(run, rows)
  const problems = await problemsIn(seen)
  const list = html`<ul>!${problems.map((line) => html`<li>${printable(line)}</li>`)}</ul>`
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
!${showHeadline(seen, items)}
<main>
!${problems.length > 0 ? list : ''}
<h2>Expiry</h2>
!${showExpiry(seen, items)}
<h2>Who holds which file</h2>
!${showHolders(run)}
</main>
</body>
</html>
`
}

function showHeadline({ run, rows }: Seen, items: Items): string {
  const { now, cluster } = run
  const { expired, next } = findExpiries(items, now)
  const isGood = causesOf(rows.values()).length === 0 && expired.length === 0
  const left = next && formatLeftInWords(next.end.getTime() - now.getTime())
  const read = `read on ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  return html`<header class="${isGood ? 'good' : 'bad'}">
<h1>${cluster.name}</h1>
!${next ? html`<p><b>${left}</b> until the next expiry, on ${formatDate(next.end, now)}: ${formatNames(next.names)}</p>` : ''}
<p>${formatCounts(rows, { isLook: true })}; ${read}.</p>
</header>`
}

/** Rows that are not up to date, those of equal text as one; failures with their remedies; and what `status` tells. */
async function problemsIn({ run, rows }: Seen): Promise<string[]> {
  const wrong = [...rows.values()].filter(({ state, failure }) => state !== 'fresh' && !failure)
  const alike = foldAlike(wrong, ({ target }) => nameInPhase(target), textOf)
  const notices = [...(await adviseOnRotations(run)), ...findBeside(run, rows)]
  return [
    ...alike.map(({ group, shared }) => `${formatNames(group.map(({ id }) => id))}: ${shared(textOf(group[0]))}`),
    ...formatFailures(rows),
    ...toDoOf({ rows, notices }),
    ...notices.flatMap(({ kind, text }) => (kind === 'note' ? text : [])),
    ...warningsOf(rows),
  ]
}

function showTable(headings: readonly string[], rows: readonly string[]): string {
  return html`<table>
<thead><tr>!${headings.map((heading) => html`<th scope="col">${heading}</th>`)}</tr></thead>
<tbody>
!${rows}</tbody>
</table>`
}

/** What expires on the same day is one row, the earliest first. */
function showExpiry({ run, rows }: Seen, items: Items): string {
  const { now } = run
  const selfMade = 'Loopback certificates of API servers, which only a restart renews'
  const all = [
    ...[...items.values()].flatMap(({ row, name, certificate, end }) => {
      const { phase } = row.target
      return certificate && end
        ? [{ title: phaseTitles.get(phase) ?? phase, name, begin: certificate.notBefore, end }]
        : []
    }),
    ...[...rows.values()].flatMap(({ target: { where, node = '' }, until }) =>
      where === 'node' && until ? [{ title: selfMade, name: node, begin: now, end: until }] : [],
    ),
  ]
  if (all.length === 0) return '<p>No certificates.</p>'
  const times = [now, ...all.flatMap(({ begin, end }) => [begin, end])].map(Number)
  const [first, last] = [Math.min(...times), Math.max(...times)]
  const percent = (date: Date) => `${(((Number(date) - first) / (last - first)) * 100).toFixed(2)}%`
  const groups = groupAlike(all, ({ title, begin, end }) => [title, formatDate(begin), formatDate(end)].join('\n'))
  const lines = groups
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
  return showTable(['Certificates', 'Expires', axis], lines)
}

function showHolders({ cluster, auth }: Run): string {
  const local = cluster.localKubeconfig ? localHolder(cluster) : undefined
  const holders = [
    ...(local ? [{ name: 'your kubeconfig', files: [kubeconfigFile(local.name)] }] : []),
    ...cluster.users.map(({ name }) => ({ name, files: [kubeconfigFile(name)] })),
    ...cluster.nodes.map((node) => ({ name: node.name, files: nodeFiles(cluster, node) })),
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
  return html`<p>By cluster.yaml. Files in bold have a private key. auth/ on this machine has all of them, and the keys of the CAs.</p>
!${showTable(['Holder', 'Files'], rows)}`
}
