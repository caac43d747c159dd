/** Each certificate with its content, and the tree of who signed whom. Only certificates: the page has no key. */
import { html } from 'ghtml'
import { certificateFile, kubeconfigFile, parseFileName } from '../../../lib/files/names.ts'
import { attributesIn, type Certificate } from '../../../lib/pki/certificate.ts'
import { keyKindOf } from '../../../lib/pki/profile.ts'
import { formatDate, printable } from '../../../lib/wording.ts'
import type { Item } from '../../request/inventory.ts'
import { phases } from '../../tables/phases.ts'

/** With more leaves than this in a phase, they are folded away. */
const mostLeaves = 20

type Certified = Item & { readonly certificate: Certificate }

export function certified(items: readonly Item[]): Certified[] {
  return items.filter(
    (item): item is Certified =>
      item.certificate !== undefined && item.files.some((file) => parseFileName(file)?.kind === 'certificate'),
  )
}

export function showChain(items: readonly Item[]): string {
  const all = certified(items)
  const kubeconfigs = new Set(
    items.filter(({ phase, certificate }) => phase === 'kubeconfigs' && certificate).map(({ name }) => name),
  )
  // The CA may be signed by another, above it.
  const isRoot = ({ phase, issuer }: Item) => phase === 'ca' || issuer === 'itself'
  const roots = all.filter(isRoot)
  const signed = all.filter((item) => !isRoot(item))
  const leaf = (item: Certified) =>
    html`<li>!${link(item)} <small>${item.purpose}</small>!${kubeconfigs.has(item.name) ? html`<ul><li>${kubeconfigFile(item.name)}</li></ul>` : ''}</li>`
  const branches = phases.flatMap(({ name, title }) => {
    const leaves = signed.filter(({ phase, issuer }) => phase === name && issuer === 'ca')
    if (leaves.length === 0) return []
    return [
      html`<li><details!${leaves.length > mostLeaves ? '' : ' open'}><summary>${title} (${leaves.length})</summary><ul>!${leaves.map(leaf)}</ul></details></li>`,
    ]
  })
  const others = signed.filter(({ issuer }) => issuer !== 'ca')
  const strangers = others.length > 0 ? html`<p>Signed by none of these:</p><ul>!${others.map(leaf)}</ul>` : ''
  return html`<ul class="chain">!${roots.map((root) => html`<li>!${link(root)} <small>${root.purpose}</small><ul>!${root.name === 'ca' ? branches : ''}</ul></li>`)}</ul>!${strangers}`
}

function link({ name }: Item): string {
  return html`<a href="#certificate-${name}">${certificateFile(name)}</a>`
}

export function showCertificates(items: readonly Item[]): string {
  return html`<p class="search"><label for="search">Search names, subjects, SANs, serial numbers</label>
<input type="search" id="search" autocomplete="off" aria-describedby="found"> <output id="found" for="search"></output></p>
<div id="list">
!${certified(items).map(showCertificate)}</div>`
}

/** RFC 5280, 4.2.1.12. */
const usageNames: Readonly<Record<string, string>> = { '1.3.6.1.5.5.7.3.1': 'server', '1.3.6.1.5.5.7.3.2': 'client' }

function showCertificate({ name, purpose, certificate, issuer, end, state, why }: Certified): string {
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
    ['SHA-256', x509.fingerprint256],
    ['State', state === 'fresh' ? 'fresh' : why],
  ]
  return html`<details id="certificate-${name}" class="${state}"><summary><b>${certificateFile(name)}</b> ${purpose} <time>${end ? formatDate(end) : ''}</time></summary>
<dl>!${facts.filter(([, value]) => value !== '').map(([term, value]) => html`<dt>${term}</dt><dd>${printable(value)}</dd>`)}</dl>
<pre>${x509.toString()}</pre></details>
`
}
