/** The page of `report`: one file, without a script or a style from elsewhere, and without a secret. */
import { readFileSync } from 'node:fs'
import { html } from 'ghtml'
import { warningsOf } from '../../../lib/show/reporter.ts'
import { formatDate, formatLeft, formatNames, groupAlike, printable, withoutOwnName } from '../../../lib/wording.ts'
import { formatFormer, formerHolders } from '../../looks/former-holders.ts'
import { firstEnd, type Item, isOurs, isRight, type ReportData, waysOut } from '../../looks/inventory.ts'
import { notesOnFolder } from '../../looks/walk.ts'
import { formatUnderWay, rotationsIn } from '../../rotations/table.ts'
import { showCertificates, showChain } from './certificates.ts'
import { showKeys } from './keys.ts'
import { showTimeline } from './timeline.ts'

const asset = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')

export function formatPage(data: ReportData): string {
  const { workspace, items } = data
  const { name } = workspace.cluster
  const sections = [
    { id: 'wrong', title: 'What is not right', content: showWrong(data) },
    { id: 'known', title: 'What else is to be known', content: showKnown(data) },
    { id: 'ends', title: 'What expires when', content: showTimeline(items, workspace) },
    { id: 'keys', title: 'Who holds which private key', content: showKeys(workspace.cluster) },
    { id: 'chain', title: 'Who signed what', content: showChain(items) },
    { id: 'certificates', title: 'Certificates', content: showCertificates(items) },
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
!${showNext(data)}!${showRotations(data)}
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
function showNext({ workspace, items, nodes }: ReportData): string {
  const { now, cluster } = workspace
  const ours = items.filter(isOurs)
  const wrong = ours.filter((item) => !isRight(item)).length
  const end = firstEnd(ours)
  const time = `${now.toISOString().slice(0, 16).replace('T', ' ')} UTC`
  const sentences = [
    wrong === 0
      ? `All ${ours.length} items are as cluster.yaml asks`
      : `${wrong} of ${ours.length} items are not right`,
    ...(nodes.length > 0 ? [`${nodes.filter(isRight).length} of ${nodes.length} nodes have loaded what is due`] : []),
    `read on ${time}`,
  ]
  const state = wrong > 0 || nodes.some((node) => !isRight(node)) ? 'bad' : 'good'
  return html`<div class="next ${state}">
!${end ? showEnd(ours, end, now, cluster.certificates.renewBefore) : ''}<p>${sentences.join('; ')}.</p>
</div>`
}

function showEnd(items: readonly Item[], end: Date, now: Date, renewBefore: number): string {
  const names = items.filter((item) => item.end?.getTime() === end.getTime()).map(({ name }) => name)
  const isOver = end <= now
  const urgency = isOver ? 'bad' : end.getTime() - now.getTime() <= renewBefore ? 'soon' : 'good'
  const left = isOver ? 'expired' : inWords(formatLeft(end.getTime() - now.getTime()))
  return html`<p class="${urgency}"><b>${left}</b> <span>${isOver ? 'on' : 'until the next expiry, on'} <time>${formatDate(end)}</time>: ${formatNames([...new Set(names)])}</span></p>
`
}

/** "3649 days", of "3649d". */
function inWords(left: string): string {
  return left.replace(/h$/, ' hours').replace(/d$/, ' days')
}

function showRotations({ workspace }: ReportData): string {
  const all = rotationsIn(workspace).map((each) => formatUnderWay(each, workspace))
  return all.length === 0 ? '' : html`<ul class="rotations">!${all.map((text) => html`<li>${text}</li>`)}</ul>`
}

/** Empty where all is well. */
function showWrong({ workspace, items, nodes }: ReportData): string {
  const wrong = items.filter((item) => isOurs(item) && !isRight(item))
  const alike = groupAlike(wrong, ({ phase, name, why }) => `${phase} ${withoutOwnName(why, name)}`)
  const folded = alike.map((group) => {
    const [{ name, why }] = group
    return `${formatNames(group.map(({ id }) => id))}: ${group.length > 1 ? withoutOwnName(why, name) : why}`
  })
  const onNodes = nodes.filter((node) => !isRight(node)).map(({ node, why }) => `${node}: ${why}`)
  const lines = [...notesOnFolder(workspace.auth), ...folded, ...onNodes]
  if (lines.length === 0) return ''
  return html`!${listLines('wrong', lines)}
<p><code>${waysOut(workspace, items).plan}</code> says what would be done.</p>`
}

/** What no run changes. */
function showKnown({ workspace, outcomes }: ReportData): string {
  const lines = [...warningsOf(outcomes), ...formerHolders(workspace).map((former) => formatFormer(former))]
  return lines.length === 0 ? '' : listLines('known', lines)
}

function listLines(kind: string, lines: readonly string[]): string {
  return html`<ul class="${kind}">!${lines.map((line) => html`<li>${printable(line)}</li>`)}</ul>`
}
