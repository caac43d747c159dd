/** The page of `report`: one file, without a script or a style from elsewhere, and without a secret. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import type { FileNames } from '../../../lib/files/auth-dir.ts'
import { attributesIn, keyKindOf } from '../../../lib/pki/certificate.ts'
import { formatFinding } from '../../../lib/results.ts'
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
import { phaseTitles } from '../../bootstrap.ts'
import { certTable, encryptionConfig, keysIn, layoutOf, localHolder, nodeFiles } from '../../layouts/tables.ts'
import { causesOf } from '../../run/exit-status.ts'
import type { Run } from '../../target.ts'
import {
  fold,
  formatTotals,
  type Inventory,
  type Item,
  isRight,
  type NodeItem,
  waysOut,
} from '../../views/inventory.ts'
import { adviseOnRotations, findBeside } from '../../views/notices.ts'

const asset = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')

export async function formatPage(data: Inventory): Promise<string> {
  const { run, items, nodes } = data
  const { name } = run.cluster
  const sections = [
    { id: 'wrong', title: 'Problems', content: showWrong(data) },
    { id: 'known', title: 'Notices', content: showKnown(data) },
    { id: 'ends', title: 'Expiry', content: showTimeline(items, run) + showSelfMade(nodes, run.now) },
    { id: 'keys', title: 'Who holds which private key', content: showKeys(run, nodes) },
    { id: 'certificates', title: 'Certificates', content: showCertificates(run.auth.files, items) },
  ].filter(({ content }) => content !== '')
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${name}: certificates and keys</title>
<style>!${asset('page.css')}</style>
</head>
<body>
<header>
<h1>${name}</h1>
!${showNext(data)}!${await showRotations(data)}
<nav aria-label="Sections">!${sections.map(({ id, title }) => html`<a href="#${id}">${title}</a> `)}</nav>
</header>
<main>
!${sections.map(
    ({ id, title, content }) => html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
!${content}
</section>
`,
  )}</main>
</body>
</html>
`
}

/** What expires next, and whether all is well. */
function showNext({ run, items, nodes, rows }: Inventory): string {
  const { now, cluster } = run
  const { wrong, first } = fold(items, now)
  const state = wrong.length + causesOf(rows.values()).length > 0 ? 'bad' : 'good'
  const read = `read on ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  const left = Number(first?.end) - now.getTime()
  const urgency = left <= 0 ? 'bad' : left <= cluster.certificates.renewBefore ? 'soon' : 'good'
  return html`<div class="next ${state}">
!${first ? html`<p class="${urgency}"><b>${formatLeftInWords(left)}</b> <span>${left <= 0 ? 'on' : 'until the next expiry, on'} <time>${formatDate(first.end, now)}</time>: ${formatNames(first.names)}</span></p>` : ''}
<p>${joinClauses(formatTotals({ items, nodes }, now), read)}.</p>
</div>`
}

async function showRotations({ run }: Inventory): Promise<string> {
  const notes = await adviseOnRotations(run)
  return notes.length === 0
    ? ''
    : html`<ul class="rotations">!${notes.map((note) => html`<li>${formatFinding(note)}</li>`)}</ul>`
}

/** Empty if there are no problems. */
function showWrong({ run, items, nodes, rows }: Inventory): string {
  const isFailed = (id: string) => rows.get(id)?.kind === 'failed'
  const alike = foldAlike(
    fold(items, run.now).wrong.filter(({ id }) => !isFailed(id)),
    ({ name }) => name,
    ({ phase, why }) => `${phase}\n${why}`,
  )
  const folded = alike.map(({ group, shared }) => `${formatNames(group.map(({ id }) => id))}: ${shared(group[0].why)}`)
  const onNodes = nodes
    .filter((each) => !isRight(each) && !isFailed(`deploy/${each.node}`) && !isFailed(`install/${each.node}`))
    .map(({ node, why }) => `${node}: ${why}`)
  const lines = [...folded, ...onNodes, ...formatFailures(rows)]
  if (lines.length === 0) return ''
  const { plan, repair } = waysOut(run, { items, rows })
  return html`!${listLines('wrong', lines)}
<p><code>${plan}</code> shows the changes; <code>${repair}</code> makes them.</p>`
}

/** Notices, what is left to do first. */
function showKnown({ run, rows }: Inventory): string {
  const findings = findBeside(run, rows)
  const notes = findings.filter(({ owner }) => owner === 'run')
  const lines = [...[...toDoOf({ rows, findings }), ...notes].map(formatFinding), ...warningsOf(rows)]
  return lines.length === 0 ? '' : listLines('known', lines)
}

function listLines(kind: string, lines: readonly string[]): string {
  return html`<ul class="${kind}">!${lines.map((line) => html`<li>${printable(line)}</li>`)}</ul>`
}

/** With its certificate, if that is a file of its own: a kubeconfig's is listed with it. */
function certified(files: FileNames, items: readonly Item[]) {
  return items.flatMap(({ certificate, ...item }) =>
    certificate && item.files.some((file) => files.parse(file)?.kind === 'certificate')
      ? [{ ...item, certificate }]
      : [],
  )
}

function showCertificates(files: FileNames, items: readonly Item[]): string {
  return html`<div id="list">
!${certified(files, items).map((item) => showCertificate(files, item))}</div>`
}

/** RFC 5280, 4.2.1.12. */
const usageNames: Readonly<Record<string, string>> = { '1.3.6.1.5.5.7.3.1': 'server', '1.3.6.1.5.5.7.3.2': 'client' }

function showCertificate(
  files: FileNames,
  { name, purpose, certificate, issuer, end, state, why }: ReturnType<typeof certified>[number],
): string {
  const { x509, attributes, sans, isCa, publicKey, notBefore, notAfter } = certificate
  const usages = x509.keyUsage?.map((oid) => usageNames[oid] ?? oid) ?? []
  const facts: [string, string][] = [
    ['Subject', attributes.join(', ')],
    ['Issuer', issuer === 'itself' ? 'itself' : attributesIn(x509.issuer).join(', ')],
    ['Valid', [notBefore, notAfter].map((time) => time.toISOString().replace('.000Z', 'Z')).join(' to ')],
    ['Names and addresses', sans.join(', ')],
    ['Use', isCa ? 'signs certificates' : usages.join(', ')],
    ['Key', keyKindOf(publicKey)],
    ['Serial number', x509.serialNumber],
    ['Fingerprint (SHA-256)', x509.fingerprint256],
    ['State', state === 'fresh' ? 'up to date' : why],
  ]
  return html`<details id="certificate-${name}" class="${state}"><summary><b>${files.certificate(name)}</b> ${purpose} <time>${end ? formatDate(end) : ''}</time></summary>
<dl>!${facts.filter(([, value]) => value !== '').map(([term, value]) => html`<dt>${term}</dt><dd>${printable(value)}</dd>`)}</dl>
<pre>${x509.toString()}</pre></details>
`
}

const own = 'its own node'

/** The critical ones first, then a node's own, then the rest, in the order of the tables. */
function keyColumns(cluster: Cluster) {
  const keys = certTable(cluster).map(({ power, isCritical, opensEtcd, node, name }) => ({
    power,
    isCritical,
    isRed: isCritical || opensEtcd,
    name: node ? own : name,
  }))
  const all = [...keys, { name: encryptionConfig.label, power: encryptionConfig.power, isCritical: true, isRed: true }]
  const unique = [...new Map(all.map((key) => [key.name, key])).values()]
  const rank = ({ name, isCritical }: (typeof all)[number]) => (isCritical ? 0 : name === own ? 1 : 2)
  return unique.sort((a, b) => rank(a) - rank(b))
}

function holders(run: Run, found: readonly NodeItem[], all: readonly string[]) {
  const { cluster } = run
  const local = cluster.localKubeconfig ? localHolder(cluster)?.name : undefined
  const nodes = cluster.nodes.map((node) => {
    const { holds = nodeFiles(cluster, node) } = found.find((each) => each.node === node.name) ?? {}
    const names = keysIn(cluster, holds).map(({ name }) => (name === node.name ? own : name))
    return { name: node.name, keys: new Set(names) }
  })
  const alike = groupAlike(nodes, ({ keys }) => [...keys].sort().join(' '))
  const folded = alike.map((group) => ({ name: formatNames(group.map(({ name }) => name)), keys: group[0].keys }))
  return [
    { name: 'auth/ on this machine', keys: new Set(all) },
    ...(local === undefined ? [] : [{ name: 'your kubeconfig', keys: new Set([local]) }]),
    ...folded,
  ]
}

function showKeys(run: Run, found: readonly NodeItem[]): string {
  const columns = keyColumns(run.cluster)
  const names = columns.map(({ name }) => name)
  const rows = holders(run, found, names).map(({ name, keys }) => {
    const worst = columns.find((key) => keys.has(key.name))?.power ?? 'nothing'
    const cells = columns.map((key) =>
      keys.has(key.name)
        ? html`<td class="${key.isRed ? 'critical' : 'limited'}"><span aria-hidden="true">●</span><span class="spoken">holds</span></td>`
        : '<td></td>',
    )
    return html`<tr><th scope="row">${name}<small>${worst}</small></th>!${cells}</tr>
`
  })
  const seen = found.flatMap(({ node, holds }) => (holds ? [node] : []))
  const by = seen.length > 0 ? `As found on ${formatNames(seen)}; for the rest by` : 'By'
  return html`<p>${by} the roles in cluster.yaml. Below each machine: the most an attacker gains with it; each key adds to that. Red: the whole cluster is lost.</p>
<div class="scroll" role="region" aria-label="Keys by machine" tabindex="0">
<table class="keys">
<thead><tr><th scope="col">Machine</th>!${names.map((name) => html`<th scope="col"><span>${name}</span></th>`)}</tr></thead>
<tbody>
!${rows}</tbody>
</table>
</div>
<details><summary>What an attacker gains with each key</summary>
<dl>!${columns.map(({ name, power }) => html`<dt>${name}</dt><dd>${power}</dd>`)}</dl>
</details>`
}

function showTimeline(items: readonly Item[], { now, cluster }: Run): string {
  const bars = barsOf(layoutOf(cluster).files, items, cluster.certificates.renewBefore)
  if (bars.length === 0) return '<p>No certificates.</p>'
  const times = [now, ...bars.flatMap(({ begin, end }) => [begin, end])].map((date) => date.getTime())
  const first = Math.min(...times)
  const span = Math.max(...times) - first
  const scale = (date: Date) => (date.getTime() - first) / span
  // There is room for three dates.
  const marks = [0, 1 / 3, 2 / 3].map(
    (part) => html`<span style="left:${percent(part)}">${formatDate(new Date(first + part * span))}</span>`,
  )
  const headings = ['Certificates', 'Effective expiry', 'Left']
  // The roles are for narrow pages, whose CSS lays rows out as blocks: a browser would drop their table meaning.
  return html`<p class="legend"><span><i class="today"></i> today</span> <span><i class="valid"></i> valid</span> <span><i class="renewal"></i> less than <code>renewBefore</code> left</span> <span><i class="expired"></i> expired</span></p><div class="scroll" role="region" aria-label="Expiry of certificates" tabindex="0">
<table class="bars" role="table" style="--line:${percent(scale(now))}">
<thead role="rowgroup"><tr role="row">!${headings.map((heading) => html`<th scope="col" role="columnheader">${heading}</th>`)}<td class="axis" aria-hidden="true">!${marks}</td></tr></thead>
<tbody role="rowgroup">
!${bars.map((bar) => showBar(bar, scale, now))}</tbody>
</table>
</div>`
}

/** What API servers made themselves at their start, where nodes were looked at. */
function showSelfMade(nodes: readonly NodeItem[], now: Date): string {
  const dated = nodes.flatMap(({ node, until }) => (until ? [{ node, date: formatDate(until, now) }] : []))
  const rows = groupAlike(dated, ({ date }) => date).map(
    (group) => html`<time>${group[0].date}</time> (${formatNames(group.map(({ node }) => node))})`,
  )
  return rows.length === 0
    ? ''
    : html`<p>Loopback certificates of API servers, which only a restart renews, expire: !${rows.join(', ')}</p>`
}

/** By the effective expiry, the earliest first. */
function barsOf(files: FileNames, items: readonly Item[], renewBefore: number) {
  const bars = certified(files, items).map(
    ({ phase, name, certificate: { notBefore: begin, notAfter }, end = notAfter }) => ({
      ...{ phase, name, begin, end },
      renewal: new Date(Math.max(end.getTime() - renewBefore, begin.getTime())),
    }),
  )
  return groupAlike(bars, ({ phase, begin, end }) => [phase, formatDate(begin), formatDate(end)].join(' '))
    .map((group) => ({ ...group[0], names: group.map(({ name }) => name) }))
    .sort((a, b) => a.end.getTime() - b.end.getTime())
}

function showBar(
  { phase, names, begin, end, renewal }: ReturnType<typeof barsOf>[number],
  scale: (date: Date) => number,
  now: Date,
): string {
  const cells = [formatDate(end, now), formatLeft(end.getTime() - now.getTime())]
  // As narrow as 4px, and within the track even where it begins at its end.
  const segment = (kind: string, from: number, to: number) =>
    html`<i class="${kind}" style="left:min(${percent(from)},100% - 4px);width:${percent(to - from)}"></i>`
  const segments = [segment('valid', scale(begin), scale(renewal)), segment('renewal', scale(renewal), scale(end))]
  const state = end <= now ? ' class="over"' : renewal <= now ? ' class="marked"' : ''
  return html`<tr role="row"!${state}><th scope="row" role="rowheader">${phaseTitles.get(phase) ?? phase}<small>${formatNames(names)}</small></th>!${cells.map(
    (cell) => html`<td role="cell">${cell}</td>`,
  )}<td class="track" aria-hidden="true">!${segments}</td></tr>
`
}

function percent(part: number): string {
  return `${(Math.min(Math.max(part, 0), 1) * 100).toFixed(2)}%`
}
