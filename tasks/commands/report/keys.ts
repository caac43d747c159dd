/** Who holds which private key, and what an attacker who has it can do. */
import { html } from 'ghtml'
import type { Cluster } from '../../../lib/cluster/cluster.ts'
import { parseFileName } from '../../../lib/files/names.ts'
import { formatNames, groupAlike } from '../../../lib/wording.ts'
import { certTable } from '../../tables/certs.ts'
import { encryptionConfig, nodeFiles } from '../../tables/files.ts'

const own = 'its own node'
const encryption = encryptionConfig.label

interface Key {
  readonly name: string
  readonly power: string
  readonly isCritical?: boolean
}

/** The critical ones first, then a node's own, then the rest, in the order of the tables. */
function keyColumns(cluster: Cluster): Key[] {
  const keys: Key[] = certTable(cluster).map((row) => ({ ...row, name: row.node ? own : row.name }))
  const all = [...keys, { name: encryption, power: 'reads the Secrets in a copy of etcd', isCritical: true }]
  const unique = [...new Map(all.map((key) => [key.name, key])).values()]
  const rank = ({ name, isCritical }: Key) => (isCritical ? 0 : name === own ? 1 : 2)
  return unique.sort((a, b) => rank(a) - rank(b))
}

interface Holder {
  readonly name: string
  readonly keys: ReadonlySet<string>
}

function keysIn(files: readonly string[], node: string): Set<string> {
  const names = files.flatMap((file) => {
    const { kind, name = '' } = parseFileName(file) ?? {}
    if (kind === 'encryption-config') return [encryption]
    return kind === 'key' || kind === 'kubeconfig' ? [name] : []
  })
  return new Set(names.map((name) => (name === node ? own : name)))
}

function holders(cluster: Cluster, columns: readonly Key[]): Holder[] {
  const all = new Set(columns.map(({ name }) => name))
  const local = cluster.localKubeconfig ? [{ name: 'your kubeconfig', keys: new Set(['admin']) }] : []
  const nodes = cluster.nodes.map((node) => ({ name: node.name, keys: keysIn(nodeFiles(node), node.name) }))
  const alike = groupAlike(nodes, ({ keys }) => [...keys].sort().join(' '))
  const folded = alike.map((group) => ({ name: formatNames(group.map(({ name }) => name)), keys: group[0].keys }))
  return [{ name: 'auth/ on this machine', keys: all }, ...local, ...folded]
}

export function showKeys(cluster: Cluster): string {
  const columns = keyColumns(cluster)
  const rows = holders(cluster, columns).map(({ name, keys }) => {
    const worst = columns.find((key) => keys.has(key.name))?.power ?? 'nothing'
    const cells = columns.map((key) =>
      keys.has(key.name)
        ? html`<td class="${key.isCritical ? 'critical' : 'limited'}"><span aria-hidden="true">●</span><span class="spoken">holds</span></td>`
        : '<td></td>',
    )
    return html`<tr><th scope="row">${name}<small>${worst}</small></th>!${cells}</tr>
`
  })
  return html`<p>By the roles in cluster.yaml. Below each machine is the worst that an attacker who has it could do; each key that it holds adds to that. Red: the whole cluster is lost.</p>
<div class="scroll" role="region" aria-label="Keys by machine" tabindex="0">
<table class="keys">
<thead><tr><th scope="col">Machine</th>!${columns.map(({ name }) => html`<th scope="col"><span>${name}</span></th>`)}</tr></thead>
<tbody>
!${rows}</tbody>
</table>
</div>
<details><summary>What each key lets a thief do</summary>
<dl>!${columns.map(({ name, power }) => html`<dt>${name}</dt><dd>${power}</dd>`)}</dl>
</details>`
}
