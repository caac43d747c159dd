/** The page of `report`: one file, without a script or a style from elsewhere, and without a secret. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import { formatCaEnds, formatFailures, warningsOf } from '../../../lib/show/words.ts'
import { foldAlike, formatDate, formatLeftInWords, formatNames, printable } from '../../../lib/wording.ts'
import { adviseOnCa, noteOnValidity } from '../../request/expiry.ts'
import { noteOnFormerHolders } from '../../request/former-holders.ts'
import { fold, formatTotals, type Inventory, isRight, waysOut } from '../../request/inventory.ts'
import { notesOnFolder } from '../../request/walk.ts'
import { formatUnderWay, rotationsUnderWay } from '../../rotations/under-way.ts'
import { showCertificates, showKeys, showSelfMade, showTimeline } from './sections.ts'

const asset = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')

export async function formatPage(data: Inventory): Promise<string> {
  const { run, items, nodes } = data
  const { name } = run.cluster
  const sections = [
    { id: 'wrong', title: 'Problems', content: showWrong(data) },
    { id: 'known', title: 'Notices', content: showKnown(data) },
    { id: 'ends', title: 'What expires when', content: showTimeline(items, run) + showSelfMade(nodes, run.now) },
    { id: 'keys', title: 'Who holds which private key', content: showKeys(run.cluster, nodes) },
    { id: 'certificates', title: 'Certificates', content: showCertificates(run.auth.files, items) },
  ].filter(({ content }) => content !== '')
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
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
<script>!${asset('browser.js')}</script>
</body>
</html>
`
}

/** What expires next, and whether all is well. */
function showNext({ run, items, nodes }: Inventory): string {
  const { now, cluster } = run
  const { wrong, first } = fold(items, now)
  const state = wrong.length > 0 || nodes.some((node) => !isRight(node)) ? 'bad' : 'good'
  const read = `read on ${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  const left = Number(first?.end) - now.getTime()
  const urgency = left <= 0 ? 'bad' : left <= cluster.certificates.renewBefore ? 'soon' : 'good'
  return html`<div class="next ${state}">
!${first ? html`<p class="${urgency}"><b>${formatLeftInWords(left)}</b> <span>${left <= 0 ? 'on' : 'until the next expiry, on'} <time>${formatDate(first.end, now)}</time>: ${formatNames(first.names)}</span></p>` : ''}
<p>${formatTotals({ items, nodes }, now)}; ${read}.</p>
</div>`
}

async function showRotations({ run }: Inventory): Promise<string> {
  const texts = (await rotationsUnderWay(run)).map((each) => formatUnderWay(each, run))
  return texts.length === 0 ? '' : html`<ul class="rotations">!${texts.map((text) => html`<li>${text}</li>`)}</ul>`
}

/** Empty if there are no problems. */
function showWrong({ run, items, nodes, outcomes }: Inventory): string {
  const isFailed = (id: string) => outcomes.get(id)?.kind === 'failed'
  const alike = foldAlike(
    fold(items, run.now).wrong.filter(({ id }) => !isFailed(id)),
    ({ name }) => name,
    ({ phase, why }) => `${phase}\n${why}`,
  )
  const folded = alike.map(({ group, shared }) => `${formatNames(group.map(({ id }) => id))}: ${shared(group[0].why)}`)
  const onNodes = nodes
    .filter((each) => !isRight(each) && !isFailed(`deploy/${each.node}`) && !isFailed(`install/${each.node}`))
    .map(({ node, why }) => `${node}: ${why}`)
  const lines = [...notesOnFolder(run.auth), ...folded, ...onNodes, ...formatFailures(outcomes)]
  if (lines.length === 0) return ''
  const { plan, repair } = waysOut(run, { items, nodes })
  return html`!${listLines('wrong', lines)}
<p><code>${plan}</code> says what would be done, and <code>${repair}</code> does it.</p>`
}

/** Notices about things that no run changes. */
function showKnown({ run, outcomes }: Inventory): string {
  const caEnds = adviseOnCa(run)
  const lines = [
    ...(caEnds ? [formatCaEnds(caEnds, run.now)] : []),
    ...warningsOf(outcomes),
    ...noteOnFormerHolders(run),
    ...noteOnValidity(run, outcomes),
  ]
  return lines.length === 0 ? '' : listLines('known', lines)
}

function listLines(kind: string, lines: readonly string[]): string {
  return html`<ul class="${kind}">!${lines.map((line) => html`<li>${printable(line)}</li>`)}</ul>`
}
