/** `report`: auth/report.html, one page without a script and without a secret; or the same expiries as metrics. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import type { ClusterNode } from '../../lib/cluster/cluster.ts'
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
import { type ClusterRow, type ClusterRows, endsSoon, type Run } from '../cluster-target.ts'
import { isStale, type UnitCheck } from '../install/check-units.ts'
import { type InstallLook, needReload } from '../install/install.ts'
import { localHolder, nodeFiles, nodeUnits } from '../layouts/tables.ts'
import type { ListLook } from '../revoked/revoked.ts'
import { rotations } from '../rotations/rotations.ts'
import { type CommandRun, writeAuth } from '../run/command-run.ts'
import { causesOf, type ExitCause, pathOf } from '../run/host.ts'
import { usage } from '../run/options.ts'
import {
  adviseOnRotations,
  findBeside,
  findExpiries,
  observe,
  rotationsUnderWay,
  takeInventory,
  wholeCluster,
} from '../views/observe.ts'

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
      const text = format === 'html' ? await formatPage(seen) : await formatMetrics(seen)
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

/** https://prometheus.io/docs/instrumenting/exposition_formats/ */
export async function formatMetrics({ run, rows }: Seen): Promise<string> {
  const { name: cluster, nodes, revoked } = run.cluster
  const items = [...takeInventory(run, rows).values()].map((item) => {
    const { id, node = '', purpose = '' } = item.row.target
    return [{ cluster, id, node, purpose }, item] as const
  })
  const each = nodes.flatMap((node) => {
    const state = stateOf(run, rows, node)
    return state ? [[{ cluster, node: node.name }, state] as const] : []
  })
  const underWay = new Map((await rotationsUnderWay(run)).map(({ name, stage }) => [name, stage]))
  const stages = rotations.map(({ name }) => [{ cluster, rotation: name }, underWay.get(name) ?? 0] as const)
  const lines = [
    ...family('not_after_timestamp_seconds', items, ({ certificate }) => certificate?.notAfter),
    ...family('end_timestamp_seconds', items, ({ end }) => end),
    ...family('fresh', items, ({ row }) => row.state === 'fresh'),
    ...family('node_inspected', each, ({ inspected }) => inspected),
    ...family('node_deployed', each, ({ deployed }) => deployed),
    ...family('node_installed', each, ({ installed }) => installed),
    ...family('node_loaded', each, ({ loaded }) => loaded),
    ...family('node_api_server_end_timestamp_seconds', each, ({ until }) => until),
    ...family('revoked_entries', revoked ? [[{ cluster }, revoked.length]] : []),
    ...family('revoked_in_force', each, ({ revokedInForce }) => revokedInForce),
    ...family('rotation_stage', stages),
    ...family('report_timestamp_seconds', [[{ cluster }, run.now]]),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

function stateOf({ cluster }: Run, rows: ClusterRows, node: ClusterNode) {
  const [deploy, install, list] = ['deploy', 'install', 'revoked'].map((phase) => rows.get(`${phase}/${node.name}`))
  if (!deploy) return undefined
  const units = install?.findings as InstallLook | undefined
  const checks = units?.checks ?? []
  // Where no unit is due, nothing is there to be installed or loaded.
  const due = cluster.install !== false && nodeUnits(cluster, node).length > 0 ? install : undefined
  const have = (isWrong: (check: UnitCheck) => boolean) =>
    answerOf(due, () => checks.length > 0 && !checks.some(isWrong))
  const isReloaded = (units === undefined || needReload(units).length === 0) && !list?.todo?.length
  const deployed = answerOf(deploy, ({ diffs }) => diffs.length === 0)
  return {
    deployed,
    inspected: deployed !== undefined && ![deploy, install, list].some((row) => row && isUnknown(row)),
    installed: have(({ places }) => places.length > 0),
    // What is not installed yet is loaded by nobody.
    loaded: units && checks.length === 0 ? undefined : have(isStale) && isReloaded,
    revokedInForce: (list?.findings as ListLook | undefined)?.revokedInForce,
    until: install?.until ?? deploy.until,
  }
}

const isUnknown = ({ state, failure }: ClusterRow) => state === 'failed' && failure?.kind !== 'refused'

/** A refusal is an answer: the files there are not ours. So is that they are newer. */
function answerOf(row: ClusterRow | undefined, isSo: (row: ClusterRow) => boolean): boolean | undefined {
  if (row?.state === 'fresh' || row?.state === 'stale') return isSo(row)
  return row?.failure?.kind === 'refused' || row?.failure?.code === 'newer-on-node' ? false : undefined
}

type MetricValue = number | boolean | Date | undefined

/** The HELP of each, in which the label `cluster` needs no word. */
const help = {
  not_after_timestamp_seconds: 'Expiry of the certificate, or of the one in the kubeconfig.',
  end_timestamp_seconds: 'Effective expiry: the earliest along the chain.',
  fresh: '1 if it is up to date, else 0.',
  node_inspected: '1 if the node was inspected, else 0.',
  node_deployed: '1 if the node has the files of auth/, else 0.',
  node_installed: '1 if these files are where its units read them, else 0.',
  node_loaded: '1 if its units have loaded them, else 0.',
  node_api_server_end_timestamp_seconds: 'Expiry of the loopback certificate of its API server.',
  revoked_entries: 'Number of entries of revoked in cluster.yaml.',
  revoked_in_force: 'Number of these entries that its API server denies; 0 if it does not run.',
  rotation_stage: 'Stage of the rotation in progress, else 0.',
  report_timestamp_seconds: 'Time of this report.',
}

function family<T = MetricValue>(
  name: keyof typeof help,
  samples: readonly (readonly [labels: Readonly<Record<string, string>>, T])[],
  read: (of: T) => MetricValue = (of) => of as MetricValue,
): string[] {
  const lines = samples.flatMap(([labels, of]) => {
    // JSON escapes what Prometheus does, and no label here has more.
    const pairs = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`)
    const value = read(of)
    const number = value instanceof Date ? Math.floor(value.getTime() / 1000) : Number(value)
    return value === undefined ? [] : [`harderway_${name}{${pairs}} ${number}`]
  })
  return lines.length === 0
    ? []
    : [`# HELP harderway_${name} ${help[name]}`, `# TYPE harderway_${name} gauge`, ...lines]
}
